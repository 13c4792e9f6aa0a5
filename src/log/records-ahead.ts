import type { RecordAnswer } from './log-reader.ts'

/** Records that are read at once. */
export const READS_AHEAD_MAX = 32
/** Of their heads, where all are as long as the last one. */
const BYTES_AHEAD_MAX = 16 * 1024 * 1024

/**
 * Reads records one after another, and the more at once the further it comes: one that is slow would never come to
 * an end that moves.
 */
export class RecordsAhead {
  readonly #read: (number: number) => Promise<RecordAnswer>
  /** The number that comes next, and those behind it. */
  #next = 0
  #answers: Promise<RecordAnswer>[] = []
  #width = 1

  constructor(read: (number: number) => Promise<RecordAnswer>) {
    this.#read = read
  }

  /**
   * @param number behind the one before; any other begins anew
   * @throws what reading it throws
   */
  async answer(number: number): Promise<RecordAnswer> {
    if (number !== this.#next) {
      await this.settled()
      this.#next = number
      this.#width = 1
    }
    while (this.#answers.length < this.#width) {
      const answer = this.#read(this.#next + this.#answers.length)
      // It is waited for when it is its turn, or never.
      answer.catch(() => {})
      this.#answers.push(answer)
    }
    this.#next++
    const answer = await (this.#answers.shift() as Promise<RecordAnswer>)
    const fitting = Math.floor(BYTES_AHEAD_MAX / (answer.record?.headBytes ?? 1))
    this.#width = Math.max(1, Math.min(this.#width * 2, READS_AHEAD_MAX, fitting))
    return answer
  }

  /** Resolves when nothing is being read; what was read ahead is dropped. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#answers)
    this.#answers = []
  }
}
