/**
 * An index of ids on local disk. Ids are collected in a table in memory. A full table is written as a run of sorted ids
 * (id-run.ts), and runs are merged into fewer. A look-up asks the tables, then one filter in memory for all runs
 * (id-filter.ts). It reads runs only if the filter says "maybe".
 *
 * Each run belongs to a partition, which covers at most a sixth of the dedupe window and is dropped as a whole.
 *
 * One loop does the work on disk, one step at a time, the most urgent step first. A step blocks the event loop for a
 * few milliseconds at most. A step that fails changes nothing, and is tried again.
 */

import { setImmediate as nextTurn } from 'node:timers/promises'
import { ID_BYTES } from '../event/message-id.ts'
import { createDeferred, type Deferred } from '../process/deferred.ts'
import type { DirectoryLock } from '../process/directory-lock.ts'
import type { Logger } from '../process/logger.ts'
import { BulkSorter } from './id-bulk.ts'
import type { IdDisk } from './id-disk.ts'
import type { IdIndex, IdRange, LogPosition } from './id-index.ts'
import {
  type BulkIds,
  DRAINED_AT_ONCE,
  type FilledTable,
  IdMemory,
  type IdMemoryOptions,
} from './id-memory.ts'
import { MERGE_SLICE_IDS } from './id-merge.ts'
import { ID_WORDS, IdBlock } from './id-mixer.ts'
import type { IdSource } from './id-partition.ts'
import { RunUnreadable } from './id-run.ts'
import { IdTable } from './id-table.ts'
import { IdsAhead } from './ids-ahead.ts'

export interface IdIndexConfig {
  /** An id is remembered for at least this long after its record was stored, unless `dedupeIdsMax` is reached. */
  readonly dedupeWindowMs: number
  /** Most ids that are remembered. The oldest are forgotten first. */
  readonly dedupeIdsMax: number
}

/** A table that is not full is written to disk this long after an addition. */
const TAIL_MS = 10_000
const RETRY_MS = 2_000
/** Full tables in memory for which `ready` does not wait. */
const FULL_MAX = 1
/** Ids to merge for each new id: an id is merged at most three times. */
const MERGED_FOR_EACH = 3
/** Merging and rebuilding that may be left to do, in ids of full tables, before `ready` waits for it. */
const OWED_TABLES_MAX = 4

export interface DiskIdIndexParts extends IdMemoryOptions {
  readonly config: IdIndexConfig
  readonly log: Logger
  readonly lock: DirectoryLock
  readonly disk: IdDisk
  /** The table to fill. It has the ids of the tail on disk. */
  readonly table: IdTable
}

export class DiskIdIndex implements IdIndex {
  readonly #parts: DiskIdIndexParts
  readonly #disk: IdDisk
  readonly #memory: IdMemory
  readonly #ahead: IdsAhead
  /** Exists only while there are bulk additions, since it keeps much memory. */
  #bulkSorter: BulkSorter | undefined
  #position: LogPosition | undefined
  /** Requested by `remove` and `reset`. They go before all other steps. */
  #tasks: (() => Promise<void>)[] = []
  #isTailDue = false
  /** Ids in the tail on disk. All are in the active table too. */
  #tailSize: number
  /** The sorted ids of the table that is being written. The memory is used again. */
  #sorted: Uint32Array = new Uint32Array(0)
  /** Ids that are still to be merged. */
  #mergeOwed = 0
  #timer: NodeJS.Timeout | undefined
  #working: Promise<void> | undefined
  /** The error that ended the last run of the loop; undefined while it runs again. */
  #failure: unknown
  /** Settles at the end of the next step. */
  #step: Deferred<void> = createStep()
  #isClosing = false
  /** Keeps the result of `touch`, so that the compiler cannot drop the call. */
  #touched = 0

  constructor(parts: DiskIdIndexParts) {
    const { disk, table } = parts
    const { position, tail } = disk
    this.#parts = parts
    this.#disk = disk
    this.#memory = new IdMemory(parts, { table, source: tail?.source, position })
    const newest = tail?.source ?? disk.partitions.at(-1)?.source
    if (newest !== undefined) this.#memory.storedThrough = newest.storedThrough
    this.#ahead = new IdsAhead(parts.mixer)
    this.#position = position
    this.#tailSize = table.size
  }

  get position(): LogPosition | undefined {
    return this.#position
  }

  get remembersFrom(): number {
    return this.#disk.remembersFrom
  }

  get size(): number {
    return this.#disk.size + this.#memory.size
  }

  has(ids: Buffer, at = 0): boolean {
    if (this.#memory.hasPending) this.#memory.drain()
    const ahead = this.#ahead
    const from = ahead.find(ids, at)
    if (ahead.isNew) this.#touched ^= this.#disk.filter.touch(ahead.mixed)
    return this.#memory.has(ahead.mixed, from) || this.#disk.has(ahead.mixed, from)
  }

  add(ids: Buffer, range: IdRange, position: LogPosition): void {
    this.#memory.add(ids, range, position)
    this.#position = position
    const isUrgent = this.#memory.hasPending || this.#memory.full.length > 0
    if (isUrgent && this.#failure === undefined) this.#kick()
    else this.#wakeIn(TAIL_MS)
  }

  expect(ids: number): void {
    this.#disk.filter.expect(Math.min(ids, this.#parts.config.dedupeIdsMax))
  }

  async remove(ids: Buffer): Promise<void> {
    const memory = this.#memory
    memory.drain()
    memory.closeTable()
    const last = memory.full.at(-1)
    const removed = new IdTable()
    const block = new IdBlock(this.#parts.mixer, ids.length / ID_BYTES)
    const length = block.take(ids, 0, ids.length)
    for (let at = 0; at < length; at += ID_WORDS) removed.add(block.mixed, at)
    await this.#do(async () => {
      while (last !== undefined && memory.full.includes(last)) await this.#flush()
      await this.#removeFromRuns(removed)
    })
  }

  async ready(): Promise<void> {
    while (this.#isBehind) {
      this.#kick()
      await this.#step.promise
    }
  }

  async reset(begin: number): Promise<void> {
    this.#memory.reset()
    this.#position = undefined
    this.#tailSize = 0
    this.#disk.reset(begin)
    await this.#do(() => this.#disk.save())
  }

  async close(): Promise<void> {
    this.#memory.drain()
    this.#isClosing = true
    this.#isTailDue = true
    try {
      if (this.#working !== undefined) await this.#working
      this.#kick()
      await this.#working
      if (this.#failure !== undefined) throw this.#failure
    } finally {
      clearTimeout(this.#timer)
      await this.#disk.close()
      await this.#parts.lock.release()
    }
  }

  get #isBehind(): boolean {
    const { full, hasPending } = this.#memory
    return hasPending || full.length > FULL_MAX || this.#mergeOwed > this.#owedMax || this.#owesRebuild
  }

  get #owesRebuild(): boolean {
    return this.#disk.filter.rebuildOwed > this.#owedMax
  }

  get #owedMax(): number {
    return OWED_TABLES_MAX * this.#parts.tableIds
  }

  /** Runs a task as a step of the loop. Resolves, or rejects, as the task does. */
  async #do(task: () => Promise<void>): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#tasks.push(() => task().then(resolve, reject))
      this.#kick()
    })
  }

  #kick(): void {
    this.#working ??= this.#work()
  }

  async #work(): Promise<void> {
    this.#failure = undefined
    try {
      for (;;) {
        await nextTurn()
        const step = this.#nextStep()
        if (step === undefined) break
        await step().catch(error => this.#forgetUnreadable(error))
        this.#settle()
      }
    } catch (error) {
      this.#failure = error
      if (!this.#isClosing) this.#wakeIn(RETRY_MS)
    }
    this.#working = undefined
    this.#settle()
  }

  /** An unreadable run is forgotten: trying again would fail again. */
  #forgetUnreadable(error: unknown): void {
    if (!(error instanceof RunUnreadable)) throw error
    this.#disk.forget(error)
  }

  #settle(): void {
    const step = this.#step
    this.#step = createStep()
    if (this.#failure === undefined) step.resolve()
    else step.reject(this.#failure)
  }

  #nextStep(): (() => Promise<void>) | undefined {
    const disk = this.#disk
    const task = this.#tasks.shift()
    if (task !== undefined) return task
    // All bulk additions are written before the state is saved: one save for all of them.
    if (this.#memory.full.length === 0 && this.#memory.nextBulk() !== undefined) return this.#stepOfPending()
    if (disk.isDirty) return () => disk.save()
    if (this.#memory.full.length > 0) return () => this.#flush()
    if (this.#memory.hasPending) return this.#stepOfPending()
    this.#bulkSorter = undefined
    if (this.#isTailDue) return () => this.#writeTail()
    if (disk.hasDeletable) return () => disk.deleteRetired()
    if (this.#isClosing) return undefined
    if (this.#owesRebuild) return () => disk.filter.rebuildSome()
    const merge = disk.nextMerge()
    if (merge === undefined) this.#mergeOwed = 0
    else return () => disk.merge(merge, undefined, () => this.#afterSlice())
    if (disk.filter.rebuildOwed > 0) return () => disk.filter.rebuildSome()
    if (disk.filter.isSaveDue) return () => disk.filter.save(() => this.#afterPiece())
    return undefined
  }

  #stepOfPending(): () => Promise<void> {
    const memory = this.#memory
    const bulk = memory.nextBulk()
    if (bulk === undefined) return async () => memory.drain(DRAINED_AT_ONCE)
    if (memory.active.table.size === 0) return () => this.#writeBulk(bulk)
    // Earlier additions are in the table. They have to reach the disk first.
    memory.closeTable()
    return () => this.#flush()
  }

  /** Does the work that cannot wait until a merge ends. Returns whether the merge may go on. */
  async #afterSlice(): Promise<boolean> {
    const goesOn = await this.#afterPiece()
    if (goesOn && this.#owesRebuild) await this.#disk.filter.rebuildSome()
    this.#mergeOwed = Math.max(0, this.#mergeOwed - MERGE_SLICE_IDS)
    this.#settle()
    return goesOn
  }

  /**
   * Does the work that cannot wait until a merge, or a save of the filter, ends. It may add ids to the filter, but does
   * not rebuild it. Returns whether the long step may go on.
   */
  async #afterPiece(): Promise<boolean> {
    await nextTurn()
    if (this.#memory.full.length === 0 && this.#memory.hasPending) await this.#stepOfPending()()
    if (this.#memory.full.length > 0) await this.#flush()
    if (this.#disk.isDirty && !this.#memory.hasPending) await this.#disk.save()
    this.#settle()
    return !this.#isClosing
  }

  /** Writes the oldest full table as a run. */
  async #flush(): Promise<void> {
    const filled = this.#memory.full[0] as FilledTable
    const sorted = filled.table.sorted(this.#sorted)
    if (sorted.length > this.#sorted.length) this.#sorted = sorted
    const run = await this.#disk.writeRun(sorted)
    if (this.#memory.full[0] !== filled) {
      // The index was reset meanwhile.
      await run.delete()
      return
    }
    this.#memory.release()
    this.#disk.filter.add(sorted)
    this.#disk.take(run, filled.source as IdSource)
    this.#disk.setPosition(filled.position)
    this.#mergeOwed += run.size * MERGED_FOR_EACH
    // A tail has the ids of the oldest table, which is this one.
    this.#disk.setTail(undefined)
    this.#tailSize = 0
    this.#forgetOld()
  }

  async #writeBulk(bulk: BulkIds): Promise<void> {
    const memory = this.#memory
    this.#bulkSorter ??= new BulkSorter(this.#parts.mixer)
    const slices = this.#bulkSorter.sorted(bulk.ids)
    const run = await this.#disk.writeSlices(bulk.ids.length / ID_BYTES, slices)
    if (!memory.isPending(bulk)) {
      // Its ids were put into tables meanwhile, or the index was reset.
      await run.delete()
      return
    }
    memory.releaseBulk(bulk)
    this.#disk.take(run, bulk.source)
    this.#disk.setPosition(memory.active.position)
    this.#forgetOld()
  }

  #forgetOld(): void {
    const { dedupeWindowMs, dedupeIdsMax } = this.#parts.config
    const { partitions } = this.#disk
    const isOld = (source: IdSource) => source.storedThrough < this.#memory.storedThrough - dedupeWindowMs
    while (partitions[0] !== undefined && isOld(partitions[0].source)) this.#disk.dropOldest()
    while (partitions[0] !== undefined && this.size > dedupeIdsMax) {
      this.#parts.log.warn(
        { ageMs: this.#memory.storedThrough - partitions[0].source.storedThrough, ids: this.size },
        'There are more ids than DEDUPE_IDS_MAX. The oldest are forgotten before DEDUPE_WINDOW_MS has passed.',
      )
      this.#disk.dropOldest()
    }
  }

  /** Writes a copy of the active table, which stays in memory. */
  async #writeTail(): Promise<void> {
    this.#isTailDue = false
    const { table, source, position } = this.#memory.active
    try {
      if (source !== undefined && table.size > this.#tailSize) {
        const tail = { source: { ...source }, size: table.size }
        const run = await this.#disk.writeRun(table.sorted())
        if (!this.#memory.holds(table)) {
          await run.delete()
          return
        }
        this.#disk.setTail({ run, source: tail.source })
        this.#tailSize = tail.size
      }
      if (position !== this.#disk.position) this.#disk.setPosition(position)
    } catch (error) {
      this.#isTailDue = true
      throw error
    }
  }

  async #removeFromRuns(removed: IdTable): Promise<void> {
    const ids = removed.sorted()
    for (const partition of [...this.#disk.partitions]) {
      for (const run of [...partition.runs]) {
        if (!hasAny(run, ids)) continue
        await this.#disk.merge({ partition, runs: [run] }, removed, async () => true)
      }
    }
    await this.#disk.save()
  }

  #wakeIn(ms: number): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.#isTailDue = true
      this.#kick()
    }, ms).unref()
  }
}

function hasAny(run: { has(id: Uint32Array): boolean }, ids: Uint32Array): boolean {
  for (let at = 0; at < ids.length; at += ID_WORDS) if (run.has(ids.subarray(at, at + ID_WORDS))) return true
  return false
}

/** Nobody may wait for the promise. The no-op `catch` keeps a rejection from ending the process. */
function createStep(): Deferred<void> {
  const step = createDeferred()
  step.promise.catch(() => {})
  return step
}
