import type { IdRun } from './id-run.ts'

/** Reads several runs at once. It keeps its memory for the next call. */
export class IdRunsReader {
  #words = new Uint32Array(0)

  /**
   * Reads from each run the ids whose first word is at least `low`, and below `high`.
   *
   * @param high at most 2^32
   * @returns an array for each run, in their order. The next call overwrites the memory.
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
    // Waits for all reads, also after a failure: a pending one would still write into the memory of the next call.
    const results = await Promise.allSettled(reads)
    return results.map(result => {
      if (result.status === 'rejected') throw result.reason
      return result.value
    })
  }
}
