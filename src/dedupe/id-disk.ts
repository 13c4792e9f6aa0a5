/**
 * The ids that are on disk: runs in partitions, the filter for all runs, and the state file that names the runs.
 *
 * A run is synced before a state names it, and deleted only after a state without it is on disk. So after a crash all
 * runs that the state names are whole. A start removes the files that the state does not name.
 */

import { join } from 'node:path'
import { IdDiskFilter, type IdDiskFilterOptions } from './id-disk-filter.ts'
import type { LogPosition } from './id-index.ts'
import { type IdIndexState, writeState } from './id-index-state.ts'
import { RunMerger } from './id-merge.ts'
import { ID_WORDS } from './id-mixer.ts'
import { IdPartition, type IdSource, sizeOf } from './id-partition.ts'
import { createRun, type IdRun, RunUnreadable, type RunWriter, runName } from './id-run.ts'
import type { IdTable } from './id-table.ts'

export interface IdDiskOptions extends IdDiskFilterOptions {
  /** Most ids of a partition. */
  readonly partitionIds: number
  /** Most time between the first and the last record of a partition, in milliseconds of the store's clock. */
  readonly partitionMs: number
}

/** A copy on disk of a table that is not full, so that a crash does not lose its ids. Look-ups use the table. */
export interface IdTail {
  readonly run: IdRun
  readonly source: IdSource
}

export class IdDisk {
  /** The ids of all records up to this position are on disk, if they are still remembered. */
  position: LogPosition | undefined
  remembersFrom = 0
  tail: IdTail | undefined
  /** Oldest first. */
  readonly partitions: IdPartition[] = []
  readonly filter: IdDiskFilter
  readonly #options: IdDiskOptions
  readonly #merger = new RunMerger()
  #nextRun = 1
  #isDirty = false
  /** Runs that are no longer used, but that the state on disk still names. */
  #retired: IdRun[] = []
  /** Runs that no state names. */
  #deletable: IdRun[] = []

  constructor(options: IdDiskOptions) {
    this.#options = options
    this.filter = new IdDiskFilter(options, this.partitions)
  }

  get size(): number {
    return sizeOf(this.partitions)
  }

  /** Whether there are changes that the state on disk does not have. */
  get isDirty(): boolean {
    return this.#isDirty
  }

  get hasDeletable(): boolean {
    return this.#deletable.length > 0
  }

  /**
   * Whether a run has the id. If a run is unreadable, its partition and all older ones are forgotten: `remembersFrom`
   * rises.
   *
   * @param from where the id begins in `id`, in words
   */
  has(id: Uint32Array, from = 0): boolean {
    if (!this.filter.mayHave(id, from)) return false
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

  /** Takes over the opened runs that a state names, and restores the filter. */
  async restore(state: IdIndexState, partitions: IdPartition[], tail: IdTail | undefined): Promise<void> {
    this.position = state.position ?? undefined
    this.remembersFrom = state.remembersFrom
    this.tail = tail
    this.#nextRun = state.nextRun
    this.partitions.push(...partitions)
    for (const partition of partitions.slice(0, -1)) partition.isSealed = true
    await this.filter.restore(error => this.forget(error))
  }

  /** Writes a run. `take` adds it to the index. @param sorted ids in mixed form, in order */
  async writeRun(sorted: Uint32Array): Promise<IdRun> {
    const size = sorted.length / ID_WORDS
    return (await this.#write(size, async writer => {
      await writer.append(sorted)
      return true
    })) as IdRun
  }

  /**
   * As `writeRun`, for ids that come in slices, in order. Each slice is also added to the filter. The caller must not
   * rebuild the filter before it has taken the run: a rebuild reads only the runs of partitions.
   */
  async writeSlices(size: number, slices: AsyncIterable<Uint32Array>): Promise<IdRun> {
    return (await this.#write(size, async writer => {
      for await (const sorted of slices) {
        await writer.append(sorted)
        this.filter.add(sorted)
      }
      return true
    })) as IdRun
  }

  /** Adds a run to the newest partition, or to a new one. Its ids must be in the filter. */
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
    this.filter.noteRun(run.size)
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

  /** Drops the partition of an unreadable run, and all older ones. */
  forget(error: RunUnreadable): void {
    const index = this.partitions.findIndex(({ runs }) => runs.includes(error.run))
    if (index < 0) return
    for (let left = index; left >= 0; left--) this.dropOldest()
    this.#options.log.warn(
      { err: error, remembersFrom: this.remembersFrom },
      'The index of archived ids is damaged. It forgets the ids of records before remembersFrom.',
    )
  }

  /** Drops all ids, and the position. @param begin the new `remembersFrom` */
  reset(begin: number): void {
    while (this.partitions.length > 0) this.dropOldest()
    this.setTail(undefined)
    this.setPosition(undefined)
    this.remembersFrom = begin
    this.filter.reset()
  }

  /** Writes the state. @throws Error of the disk; the next call tries again */
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

  /** Deletes the runs that no state names. Must not run while runs are merged or read. */
  async deleteRetired(): Promise<void> {
    const deletable = this.#deletable
    this.#deletable = []
    for (const run of deletable) await run.delete()
  }

  /** The next runs to merge, if any. */
  nextMerge(): { partition: IdPartition; runs: IdRun[] } | undefined {
    for (const partition of this.partitions) {
      const runs = partition.mergeable(this.#options.runIds)
      if (runs !== undefined) return { partition, runs }
    }
    return undefined
  }

  /**
   * Replaces runs of a partition by one run. Stops without an effect if the partition is dropped meanwhile.
   *
   * @param without ids that are left out
   * @param afterSlice as for RunMerger.merge()
   */
  async merge(
    { partition, runs }: { partition: IdPartition; runs: readonly IdRun[] },
    without: IdTable | undefined,
    afterSlice: () => Promise<boolean>,
  ): Promise<void> {
    const isKept = () => this.partitions.includes(partition)
    const merged = await this.#write(sizeOf(runs), async writer => {
      return await this.#merger.merge(runs, writer, without, async () => (await afterSlice()) && isKept())
    })
    if (merged === undefined) return
    if (!isKept() || merged.size === 0) this.#deletable.push(merged)
    if (!isKept()) return
    partition.replace(runs, merged.size === 0 ? undefined : merged)
    this.#retired.push(...runs)
    this.#isDirty = true
  }

  /** Saves the filter if that is worthwhile, and closes all files. */
  async close(): Promise<void> {
    if (!this.#isDirty && this.filter.isWorthSaving) await this.filter.save(async () => true)
    const tail = this.tail === undefined ? [] : [this.tail.run]
    const runs = [...this.partitions.flatMap(partition => partition.runs), ...tail, ...this.#retired]
    this.partitions.length = 0
    for (const run of [...runs, ...this.#deletable]) await run.close()
  }

  /** As createRun(), with the next number. */
  #write(idsMax: number, fill: (writer: RunWriter) => Promise<boolean>): Promise<IdRun | undefined> {
    const number = this.#nextRun++
    return createRun(number, join(this.#options.directory, runName(number)), idsMax, fill)
  }
}
