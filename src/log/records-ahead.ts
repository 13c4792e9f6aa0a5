import type { RecordAnswer } from './log-reader.ts'

/** Bound on the records that are read at the same time. */
export const READS_AHEAD_MAX = 32
/** Bound on the bytes of their heads, if all heads are as long as the last one. */
const BYTES_AHEAD_MAX = 16 * 1024 * 1024

/**
 * Reads records in order, and reads ahead: 1 record, then 2, 4 and up to 32 at a time. Without reading ahead, a slow
 * reader would never reach the end of a log that grows.
 */
export class RecordsAhead {
  readonly #read: (number: number) => Promise<RecordAnswer>
  /** The number of the first record in `#answers`. */
  #next = 0
  #answers: Promise<RecordAnswer>[] = []
  #width = 1

  constructor(read: (number: number) => Promise<RecordAnswer>) {
    this.#read = read
  }

  /**
   * @param number the successor of the last one; any other number drops what was read ahead
   * @throws the error of reading this record
   */
  async answer(number: number): Promise<RecordAnswer> {
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
    const answer = await (this.#answers.shift() as Promise<RecordAnswer>)
    const fitting = Math.floor(BYTES_AHEAD_MAX / (answer.record?.headBytes ?? 1))
    this.#width = Math.max(1, Math.min(this.#width * 2, READS_AHEAD_MAX, fitting))
    return answer
  }

  /** Drops what was read ahead. Resolves when no read is under way. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#answers)
    this.#answers = []
  }
}
