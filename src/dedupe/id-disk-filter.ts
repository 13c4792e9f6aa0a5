/**
 * The filter (id-filter.ts) for all runs of an index: in memory, and as a file that makes the next start faster.
 *
 * A full filter is rebuilt from the runs, with room for more ids and without the ids of dropped runs. The rebuild goes
 * on in small steps while new ids come, and look-ups are right at any time.
 */

import type { Logger } from '../process/logger.ts'
import { IdFilter, RANGES, shapeFor, spanOf } from './id-filter.ts'
import { readFilter, writeFilter } from './id-filter-file.ts'
import { ID_WORDS } from './id-mixer.ts'
import { type IdPartition, sizeOf } from './id-partition.ts'
import { type IdRun, RunUnreadable } from './id-run.ts'
import { IdRunsReader } from './id-runs-reader.ts'

/** Ids that a rebuild reads for each new id. */
const REBUILT_FOR_EACH = 4
/** The filter is saved from this many full tables on. For fewer, a start rebuilds it quickly. */
const SAVED_TABLES_MIN = 16
/** Share of all ids that the saved filter may lack. */
const MISSING_SHARE_MAX = 0.5
/** Capacity of a new filter, as a multiple of the ids that exist. */
const CAPACITY_GROWTH = 1.2
/** Share of its capacity at which the filter is rebuilt. */
const FULL_SHARE = 0.9
/** Ids that are read in one step. */
const STEP_IDS = 65_536

export interface IdDiskFilterOptions {
  readonly directory: string
  /** The key of the mixer, 16 bytes. */
  readonly key: Buffer
  /** Ids of a new run, before runs are merged. */
  readonly runIds: number
  readonly log: Logger
}

export class IdDiskFilter {
  readonly #options: IdDiskFilterOptions
  readonly #partitions: readonly IdPartition[]
  readonly #reader = new IdRunsReader()
  #filter = new IdFilter()
  #isSaved = true
  /** Numbers of the runs whose ids are in the saved filter. */
  #savedRuns: ReadonlySet<number> = new Set()
  /** Upper bound of the ids in the filter, with those of dropped runs. */
  #added = 0
  /** About how many ids will be added soon. */
  #expected = 0
  #rebuildOwed = 0

  /** @param partitions the array of the index; its later changes count */
  constructor(options: IdDiskFilterOptions, partitions: readonly IdPartition[]) {
    this.#options = options
    this.#partitions = partitions
  }

  /** How many ids the rebuild is behind and has to read now; 0 or less if no step is due. */
  get rebuildOwed(): number {
    return this.#rebuildOwed
  }

  /** Whether enough ids are on disk that a saved filter shortens the next start. */
  get isWorthSaving(): boolean {
    return this.#size >= SAVED_TABLES_MIN * this.#options.runIds
  }

  /** Whether `save` would write a better filter than the one on disk. */
  get isSaveDue(): boolean {
    if (!this.isWorthSaving || this.#filter.isRebuilding) return false
    return !this.#isSaved || this.#lacksTooMuch(this.#savedRuns)
  }

  /** Returns false only if no run has the id. */
  mayHave(id: Uint32Array, from: number): boolean {
    return this.#filter.mayHave(id, from)
  }

  /** As IdFilter.touch(). */
  touch(ids: Uint32Array): number {
    return this.#filter.touch(ids)
  }

  /** @param sorted ids in mixed form, in order */
  add(sorted: Uint32Array): void {
    this.#filter.add(sorted)
    this.#added += sorted.length / ID_WORDS
  }

  /** Makes room for this many more ids: at once in an empty filter, else with the next rebuild. */
  expect(ids: number): void {
    this.#expected = ids
    if (this.#added === 0) this.#filter = new IdFilter(shapeFor(ids * CAPACITY_GROWTH))
  }

  /** To be called after a new run of this many ids, which are in the filter, became part of a partition. */
  noteRun(ids: number): void {
    this.#expected = Math.max(0, this.#expected - ids)
    if (!this.#isFull) return
    this.#rebuildOwed = Math.min(this.#rebuildOwed + ids * REBUILT_FOR_EACH, 2 * this.#size)
  }

  /** Removes all ids. */
  reset(): void {
    this.#added = 0
    this.#rebuildOwed = 0
    this.expect(this.#expected)
  }

  /** Does one step of a rebuild, and begins one if none is under way. @throws RunUnreadable */
  async rebuildSome(): Promise<void> {
    if (!this.#filter.isRebuilding) this.#beginRebuild()
    if (!(await this.#rebuildStep())) return
    this.#rebuildOwed = 0
    this.#isSaved = false
  }

  /**
   * Writes the filter for the next start. A failure is logged: the next start takes longer.
   *
   * To be called only if the state on disk names all runs. Otherwise a crash would free the numbers of the newest
   * runs, and the file would claim the ids of other runs that get these numbers.
   *
   * @param afterPiece as for writeFilter()
   */
  async save(afterPiece: () => Promise<boolean>): Promise<void> {
    const { directory, key, log } = this.#options
    this.#isSaved = true
    const runs = this.#partitions.flatMap(({ state }) => state.runs)
    this.#savedRuns = new Set(runs)
    try {
      const head = { key: key.toString('hex'), runs, ids: this.#added }
      await writeFilter(directory, this.#filter, head, afterPiece)
    } catch (error) {
      log.debug({ err: error }, 'The filter of archived ids was not saved. The next start takes longer.')
    }
  }

  /**
   * Reads the saved filter, and adds the ids of the runs that it lacks; rebuilds it if it lacks too many.
   *
   * @param forget is called for an unreadable run; it must drop the run's partition
   */
  async restore(forget: (error: RunUnreadable) => void): Promise<void> {
    const { directory, key } = this.#options
    const saved = await readFilter(directory, key.toString('hex'))
    if (saved === undefined || this.#lacksTooMuch(saved.runs)) {
      this.#beginRebuild()
      await repeat(() => this.#rebuildStep(), forget)
      this.#rebuildOwed = 0
      return
    }
    const size = this.#size
    this.#savedRuns = saved.runs
    this.#filter = saved.filter
    this.#added = saved.ids
    await repeat(() => this.#addRuns(this.#missingIn(saved.runs)), forget)
    if (this.#isFull) this.#rebuildOwed = 2 * size
  }

  get #size(): number {
    return sizeOf(this.#partitions)
  }

  get #runs(): IdRun[] {
    return this.#partitions.flatMap(({ runs }) => runs)
  }

  /** Whether the filter has to be rebuilt, or is being rebuilt. */
  get #isFull(): boolean {
    return this.#filter.isRebuilding || this.#added > FULL_SHARE * this.#filter.idsMax
  }

  #missingIn(saved: ReadonlySet<number>): IdRun[] {
    return this.#runs.filter(({ number }) => !saved.has(number))
  }

  #lacksTooMuch(saved: ReadonlySet<number>): boolean {
    return sizeOf(this.#missingIn(saved)) > this.#size * MISSING_SHARE_MAX
  }

  /** Adds the ids of these runs. Resolves to true. @throws RunUnreadable */
  async #addRuns(runs: readonly IdRun[]): Promise<boolean> {
    const slices = Math.ceil(sizeOf(runs) / STEP_IDS)
    let low = 0
    for (let slice = 1; slice <= slices; slice++) {
      const high = Math.ceil((2 ** 32 * slice) / slices)
      for (const part of await this.#reader.read(runs, low, high)) this.add(part)
      low = high
    }
    return true
  }

  #beginRebuild(): void {
    const size = this.#size
    this.#added = size
    this.#filter.beginRebuild((size + this.#expected) * CAPACITY_GROWTH)
  }

  /** Returns whether the rebuild is complete. */
  async #rebuildStep(): Promise<boolean> {
    const filter = this.#filter
    const size = this.#size
    const count = Math.ceil((RANGES * STEP_IDS) / Math.max(1, size))
    const ranges = filter.nextRanges(count)
    const { low, high } = spanOf(ranges)
    const parts = await this.#reader.read(this.#runs, low, high)
    // An empty filter has replaced this one meanwhile: nothing is left to rebuild.
    if (filter !== this.#filter) return true
    const isDone = filter.rebuild(ranges, parts)
    this.#rebuildOwed -= Math.ceil((size * (ranges.end - ranges.first)) / RANGES)
    return isDone
  }
}

/** Repeats a step until it resolves to true. After an unreadable run it goes on without the runs that `forget` drops. */
async function repeat(step: () => Promise<boolean>, forget: (error: RunUnreadable) => void): Promise<void> {
  for (let isDone = false; !isDone; ) {
    try {
      isDone = await step()
    } catch (error) {
      if (!(error instanceof RunUnreadable)) throw error
      forget(error)
    }
  }
}
