/**
 * The ids that are on disk: runs in partitions, the filter for all of them, and the state that names them.
 *
 * A run is synced before a state names it, and a run that no state names any more is deleted after that. So
 * whatever a crash leaves, the state is one that was true. Files that it does not name are removed at a start.
 */

import { join } from 'node:path'
import type { Logger } from '../process/logger.ts'
import { IdFilter, RANGES, shapeFor, spanOf } from './id-filter.ts'
import { readFilter, writeFilter } from './id-filter-file.ts'
import type { LogPosition } from './id-index.ts'
import { type IdIndexState, writeState } from './id-index-state.ts'
import { RunMerger } from './id-merge.ts'
import { ID_WORDS } from './id-mixer.ts'
import { IdPartition, type IdSource } from './id-partition.ts'
import { createRun, type IdRun, RunUnreadable, type RunWriter, runName } from './id-run.ts'
import { IdRunsReader } from './id-runs-reader.ts'
import type { IdTable } from './id-table.ts'

/** Ids that are added to the filter again for each that is new. */
const REMADE_FOR_EACH = 4
/** Full tables whose ids are on disk when the filter is saved: one for fewer is soon made anew. */
const FILTER_SAVED_TABLES_MIN = 16
/** Of all ids, those that the filter on disk may lack. */
const MISSING_SHARE_MAX = 0.5
/** For how many ids it is made, as a multiple of those that there are. */
const FILTER_GROWTH = 1.2
/** Of the ids that it is made for, those that it has when it is made anew. */
const FILTER_SHARE_MAX = 0.9
const REMADE_AT_ONCE = 65_536

export interface IdDiskOptions {
  readonly directory: string
  readonly key: Buffer
  /** Ids of a run as it is written first, and of a partition. */
  readonly runIds: number
  readonly partitionIds: number
  readonly partitionMs: number
  readonly log: Logger
}

/** Ids of a table, written so that a crash does not lose them. They are looked up in the table. */
export interface IdTail {
  readonly run: IdRun
  readonly source: IdSource
}

export class IdDisk {
  /** How far the log was read when what is on disk was added. */
  position: LogPosition | undefined
  remembersFrom = 0
  tail: IdTail | undefined
  readonly partitions: IdPartition[] = []
  readonly #options: IdDiskOptions
  readonly #reader = new IdRunsReader()
  readonly #merger = new RunMerger()
  #filter = new IdFilter()
  #isFilterSaved = true
  /** Runs that the filter on disk has the ids of. */
  #savedRuns: ReadonlySet<number> = new Set()
  /** Ids that were added to the filter, also those of dropped runs, at most. */
  #filtered = 0
  /** Ids that are to come soon, at the least. */
  #expected = 0
  #owed = 0
  #nextRun = 1
  #isDirty = false
  /** No longer used, and named by the state on disk. */
  #retired: IdRun[] = []
  /** No longer named. */
  #deletable: IdRun[] = []

  constructor(options: IdDiskOptions) {
    this.#options = options
  }

  get size(): number {
    return this.partitions.reduce((sum, { size }) => sum + size, 0)
  }

  /** Whether the state on disk is another. */
  get isDirty(): boolean {
    return this.#isDirty
  }

  get hasDeletable(): boolean {
    return this.#deletable.length > 0
  }

  /** Ids that are still to be added to the filter again. */
  get remakingOwed(): number {
    return this.#owed
  }

  /** As IdFilter has it. */
  touch(ids: Uint32Array): number {
    return this.#filter.touch(ids)
  }

  /** Forgets what cannot be read, and `remembersFrom` says so. */
  has(id: Uint32Array, from = 0): boolean {
    if (!this.#filter.mayHave(id, from)) return false
    for (let index = this.partitions.length - 1; index >= 0; index--) {
      try {
        for (const run of (this.partitions[index] as IdPartition).runs) if (run.has(id, from)) return true
      } catch (error) {
        if (!(error instanceof RunUnreadable)) throw error
        this.forget(error)
        return false
      }
    }
    return false
  }

  /** Takes over what a state names. */
  async restore(state: IdIndexState, partitions: IdPartition[], tail: IdTail | undefined): Promise<void> {
    this.position = state.position ?? undefined
    this.remembersFrom = state.remembersFrom
    this.tail = tail
    this.#nextRun = state.nextRun
    this.partitions.push(...partitions)
    for (const partition of partitions.slice(0, -1)) partition.isSealed = true
    await this.#restoreFilter(state.key)
  }

  /** @param sorted ids in mixed form, in order */
  async writeRun(sorted: Uint32Array): Promise<IdRun> {
    const size = sorted.length / ID_WORDS
    return (await this.#write(size, async writer => {
      await writer.append(sorted)
      return true
    })) as IdRun
  }

  /**
   * The same of ids that come in slices, and into the filter as they come: nothing makes that anew before the run is
   * taken.
   */
  async writeSlices(size: number, slices: AsyncIterable<Uint32Array>): Promise<IdRun> {
    return (await this.#write(size, async writer => {
      for await (const sorted of slices) {
        await writer.append(sorted)
        this.addToFilter(sorted)
      }
      return true
    })) as IdRun
  }

  /** @param sorted ids in mixed form, in order */
  addToFilter(sorted: Uint32Array): void {
    this.#filter.add(sorted)
    this.#filtered += sorted.length / ID_WORDS
  }

  /** So many more ids come soon: the filter has room for them when it is made anew, at once where there are none. */
  expect(ids: number): void {
    this.#expected = ids
    if (this.#filtered === 0) this.#filter = new IdFilter(shapeFor(ids * FILTER_GROWTH))
  }

  /** From now on its ids, which are in the filter, are looked up on disk. */
  take(run: IdRun, source: IdSource): void {
    const { partitionIds, partitionMs } = this.#options
    const last = this.partitions.at(-1)
    const fits =
      last !== undefined &&
      !last.isSealed &&
      source.storedThrough - last.source.storedFrom < partitionMs &&
      last.size + run.size <= partitionIds
    if (fits) last.add(run, source)
    else {
      if (last !== undefined) last.isSealed = true
      this.partitions.push(new IdPartition({ ...source }, [run]))
    }
    this.#expected = Math.max(0, this.#expected - run.size)
    if (this.#isFilterFull) this.#owed = Math.min(this.#owed + run.size * REMADE_FOR_EACH, 2 * this.size)
    this.#isDirty = true
  }

  setTail(tail: IdTail | undefined): void {
    if (this.tail !== undefined) this.#retired.push(this.tail.run)
    this.tail = tail
    this.#isDirty = true
  }

  setPosition(position: LogPosition | undefined): void {
    this.position = position
    this.#isDirty = true
  }

  /** Drops the oldest partition. */
  dropOldest(): void {
    const dropped = this.partitions.shift() as IdPartition
    this.#retired.push(...dropped.runs)
    this.remembersFrom = Math.max(this.remembersFrom, dropped.source.through + 1)
    this.#isDirty = true
  }

  /** Drops the partition that a run is in, and those before. */
  forget({ run, message, cause }: RunUnreadable): void {
    const index = this.partitions.findIndex(({ runs }) => runs.includes(run))
    if (index < 0) return
    for (let left = index; left >= 0; left--) this.dropOldest()
    this.#options.log.warn(
      { err: cause, remembersFrom: this.remembersFrom },
      `The index of archived ids is damaged, and has forgotten a part: ${message}`,
    )
  }

  /** Drops everything. */
  reset(begin: number): void {
    while (this.partitions.length > 0) this.dropOldest()
    this.setTail(undefined)
    this.setPosition(undefined)
    this.remembersFrom = begin
    this.#filtered = 0
    this.#owed = 0
    this.expect(this.#expected)
  }

  async save(): Promise<void> {
    const { directory, key } = this.#options
    const retired = this.#retired
    this.#retired = []
    this.#isDirty = false
    try {
      await writeState(directory, {
        key: key.toString('hex'),
        position: this.position ?? null,
        remembersFrom: this.remembersFrom,
        nextRun: this.#nextRun,
        partitions: this.partitions.map(({ state }) => state),
        tail: this.tail === undefined ? null : { ...this.tail.source, runs: [this.tail.run.number] },
      })
      this.#deletable.push(...retired)
    } catch (error) {
      this.#isDirty = true
      this.#retired.push(...retired)
      throw error
    }
  }

  /** Not while runs are merged or read: they may be among them. */
  async deleteRetired(): Promise<void> {
    const deletable = this.#deletable
    this.#deletable = []
    for (const run of deletable) await run.delete()
  }

  /** The next runs to be merged, if any. */
  nextMerge(): { partition: IdPartition; runs: IdRun[] } | undefined {
    for (const partition of this.partitions) {
      const runs = partition.mergeable(this.#options.runIds)
      if (runs !== undefined) return { partition, runs }
    }
    return undefined
  }

  /**
   * Makes one run of these.
   *
   * @param without ids that are left out
   * @param afterSlice as this.#merger.merge() has it
   */
  async merge(
    { partition, runs }: { partition: IdPartition; runs: readonly IdRun[] },
    without: IdTable | undefined,
    afterSlice: () => Promise<boolean>,
  ): Promise<void> {
    const isThere = () => this.partitions.includes(partition)
    const size = runs.reduce((sum, run) => sum + run.size, 0)
    const merged = await this.#write(size, async writer => {
      return await this.#merger.merge(runs, writer, without, async () => (await afterSlice()) && isThere())
    })
    if (merged === undefined) return
    if (!isThere() || merged.size === 0) this.#deletable.push(merged)
    if (!isThere()) return
    partition.replace(runs, merged.size === 0 ? undefined : merged)
    this.#retired.push(...runs)
    this.#isDirty = true
  }

  /** Makes a part of the filter anew: with room for the ids that there are, and without those of dropped runs. */
  async remakeFilter(): Promise<void> {
    if (!this.#filter.isRemaking) this.#beginRemaking()
    if (!(await this.#remakeSome())) return
    this.#owed = 0
    this.#isFilterSaved = false
  }

  get wantsFilterSaved(): boolean {
    if (!this.#isFilterWorthwhile || this.#filter.isRemaking) return false
    return !this.#isFilterSaved || this.#lacksTooMuch(this.#savedRuns)
  }

  /**
   * Writes the filter, for the next start; where that fails, it takes longer. Only while no state has to be saved.
   *
   * @param afterPiece as writeFilter() has it
   */
  async saveFilter(afterPiece: () => Promise<boolean>): Promise<void> {
    const { directory, key, log } = this.#options
    this.#isFilterSaved = true
    const runs = this.partitions.flatMap(({ state }) => state.runs)
    this.#savedRuns = new Set(runs)
    try {
      await writeFilter(
        directory,
        this.#filter,
        { key: key.toString('hex'), runs, ids: this.#filtered },
        afterPiece,
      )
    } catch (error) {
      log.debug({ err: error }, 'The filter of archived ids was not written: the next start reads all ids.')
    }
  }

  /** Writes the filter where that is worthwhile. */
  async close(): Promise<void> {
    if (!this.#isDirty && this.#isFilterWorthwhile) await this.saveFilter(async () => true)
    const tail = this.tail === undefined ? [] : [this.tail.run]
    const runs = [...this.partitions.flatMap(partition => partition.runs), ...tail, ...this.#retired]
    this.partitions.length = 0
    for (const run of [...runs, ...this.#deletable]) await run.close()
  }

  /** Whether it is to be made anew, or is being so. */
  get #isFilterFull(): boolean {
    return this.#filter.isRemaking || this.#filtered > FILTER_SHARE_MAX * this.#filter.idsMax
  }

  get #isFilterWorthwhile(): boolean {
    return this.size >= FILTER_SAVED_TABLES_MIN * this.#options.runIds
  }

  /** @param saved runs that a filter on disk has the ids of */
  #lacksTooMuch(saved: ReadonlySet<number>): boolean {
    const missing = this.partitions.flatMap(({ runs }) => runs.filter(({ number }) => !saved.has(number)))
    return sizeOf(missing) > this.size * MISSING_SHARE_MAX
  }

  /** The ids of runs that the file does not have are read. */
  async #restoreFilter(key: string): Promise<void> {
    const { size } = this
    const saved = await readFilter(this.#options.directory, key)
    const runs = this.partitions.flatMap(partition => partition.runs)
    if (saved === undefined || this.#lacksTooMuch(saved.runs)) {
      this.#beginRemaking()
      let isDone = false
      while (!isDone) isDone = await this.#forgetting(() => this.#remakeSome(), false)
      this.#owed = 0
      return
    }
    const missing = runs.filter(({ number }) => !saved.runs.has(number))
    const missingSize = sizeOf(missing)
    this.#savedRuns = saved.runs
    this.#filter = saved.filter
    this.#filtered = saved.ids
    await this.#forgetting(() => this.#addRuns(missing, missingSize), undefined)
    if (this.#isFilterFull) this.#owed = 2 * size
  }

  async #addRuns(runs: readonly IdRun[], size: number): Promise<void> {
    const slices = Math.ceil(size / REMADE_AT_ONCE)
    let low = 0
    for (let slice = 1; slice <= slices; slice++) {
      const high = Math.ceil((2 ** 32 * slice) / slices)
      for (const part of await this.#reader.read(runs, low, high)) this.addToFilter(part)
      low = high
    }
  }

  /** Forgets what cannot be read, and resolves to `otherwise` then. */
  async #forgetting<T>(read: () => Promise<T>, otherwise: T): Promise<T> {
    try {
      return await read()
    } catch (error) {
      if (!(error instanceof RunUnreadable)) throw error
      this.forget(error)
      return otherwise
    }
  }

  #beginRemaking(): void {
    const { size } = this
    this.#filtered = size
    this.#filter.beginRemaking((size + this.#expected) * FILTER_GROWTH)
  }

  /** Returns whether all of the filter has been made anew. */
  async #remakeSome(): Promise<boolean> {
    const filter = this.#filter
    const { size } = this
    const count = Math.ceil((RANGES * REMADE_AT_ONCE) / Math.max(1, size))
    const ranges = filter.nextRanges(count)
    const { low, high } = spanOf(ranges)
    const runs = this.partitions.flatMap(partition => partition.runs)
    const parts = await this.#reader.read(runs, low, high)
    if (filter !== this.#filter) return true
    const isDone = filter.remake(ranges, parts)
    this.#owed -= Math.ceil((size * (ranges.end - ranges.first)) / RANGES)
    return isDone
  }

  /** As createRun() has it. */
  #write(idsMax: number, fill: (writer: RunWriter) => Promise<boolean>): Promise<IdRun | undefined> {
    const number = this.#nextRun++
    return createRun(number, join(this.#options.directory, runName(number)), idsMax, fill)
  }
}

function sizeOf(runs: readonly IdRun[]): number {
  return runs.reduce((sum, run) => sum + run.size, 0)
}
