import { ID_WORDS } from './id-mixer.ts'
import { sizeOf } from './id-partition.ts'
import type { IdRun, RunWriter } from './id-run.ts'
import { IdRunsReader } from './id-runs-reader.ts'
import { IdSorter } from './id-sort.ts'
import type { IdTable } from './id-table.ts'

/** Ids that are sorted at once: a few milliseconds. */
export const MERGE_SLICE_IDS = 32_768

/** Merges runs, one merge at a time. It keeps its memory for the next merge. */
export class RunMerger {
  readonly #reader = new IdRunsReader()
  readonly #sorter = new IdSorter()

  /**
   * Writes the ids of all these runs, in order.
   *
   * @param without ids that are left out
   * @param afterSlice is called after each slice. If it resolves to false, the merge stops.
   * @returns whether all ids are written
   * @throws RunUnreadable if a run is damaged, Error if the disk cannot be written
   */
  async merge(
    runs: readonly IdRun[],
    writer: RunWriter,
    without: IdTable | undefined,
    afterSlice: () => Promise<boolean>,
  ): Promise<boolean> {
    const slices = Math.max(1, Math.ceil(sizeOf(runs) / MERGE_SLICE_IDS))
    let low = 0
    for (let slice = 1; slice <= slices; slice++) {
      const high = Math.ceil((2 ** 32 * slice) / slices)
      const sorted = this.#sorter.sort(await this.#reader.read(runs, low, high), low, high - low)
      await writer.append(without === undefined ? sorted : except(sorted, without))
      if (!(await afterSlice())) return false
      low = high
    }
    return true
  }
}

function except(ids: Uint32Array, without: IdTable): Uint32Array {
  const kept = new Uint32Array(ids.length)
  let length = 0
  for (let at = 0; at < ids.length; at += ID_WORDS) {
    const id = ids.subarray(at, at + ID_WORDS)
    if (without.has(id)) continue
    kept.set(id, length)
    length += ID_WORDS
  }
  return kept.subarray(0, length)
}
