/** Bound on the reads that run at the same time. */
export const READS_AHEAD_MAX = 32

/**
 * Reads what is numbered in order, and reads ahead: 1, then 2, 4 and up to 32 at a time. Without reading ahead, a slow
 * reader would never reach the end of a log that grows.
 */
export class ReadsAhead<T> {
  readonly #read: (number: number) => Promise<T>
  readonly #widthMax: (answer: T) => number
  /** The number of the first read in `#answers`. */
  #next = 0
  #answers: Promise<T>[] = []
  #width = 1

  /** @param widthMax how many reads may run at once, from the last answer: a bound on memory */
  constructor(read: (number: number) => Promise<T>, widthMax: (answer: T) => number) {
    this.#read = read
    this.#widthMax = widthMax
  }

  /**
   * @param number the successor of the last one; any other number drops what was read ahead
   * @throws the error of this read
   */
  async answer(number: number): Promise<T> {
    if (number !== this.#next) {
      await this.settled()
      this.#next = number
      this.#width = 1
    }
    while (this.#answers.length < this.#width) {
      const answer = this.#read(this.#next + this.#answers.length)
      // No unhandled rejection if this answer is never asked for.
      answer.catch(() => {})
      this.#answers.push(answer)
    }
    this.#next++
    const answer = await (this.#answers.shift() as Promise<T>)
    this.#width = Math.max(1, Math.min(this.#width * 2, READS_AHEAD_MAX, Math.floor(this.#widthMax(answer))))
    return answer
  }

  /** Drops what was read ahead. Resolves when no read is under way. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#answers)
    this.#answers = []
  }
}
