import type { IdRun } from './id-run.ts'

/** Reads several runs, with memory that it keeps. */
export class IdRunsReader {
  #words = new Uint32Array(0)

  /**
   * The ids of each run whose first word is at least `low`, and below `high`, in memory that the next call uses
   * again.
   *
   * @throws RunUnreadable
   */
  async read(runs: readonly IdRun[], low: number, high: number): Promise<Uint32Array[]> {
    const lengths = runs.map(run => run.wordsOf(low, high))
    const length = lengths.reduce((sum, each) => sum + each, 0)
    if (this.#words.length < length) this.#words = new Uint32Array(length + length / 4)
    let end = 0
    const reads = runs.map((run, index) => {
      const from = end
      end += lengths[index] as number
      return run.read(low, high, this.#words.subarray(from, end))
    })
    // All of them, so that none still writes to this memory when one has failed.
    const results = await Promise.allSettled(reads)
    return results.map(result => {
      if (result.status === 'rejected') throw result.reason
      return result.value
    })
  }
}
