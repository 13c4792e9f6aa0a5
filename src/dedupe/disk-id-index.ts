/**
 * Which ids are in the log, on local disk. Ids are collected in a table in memory; a full one is written as a
 * run of sorted ids (id-run.ts), and runs are merged into fewer. A look-up asks the table, then one filter in
 * memory for all runs (id-filter.ts), and only where that says maybe, the runs.
 *
 * Runs are in partitions of at most a sixth of the window, which are dropped as a whole.
 *
 * The work on disk is done by one loop, a step at a time, the most urgent first; a step keeps the event loop
 * for some milliseconds at a time. A step that fails changes nothing, and is tried again.
 */

import { setImmediate as nextTurn } from 'node:timers/promises'
import { ID_BYTES } from '../event/message-id.ts'
import { createDeferred, type Deferred } from '../process/deferred.ts'
import type { DirectoryLock } from '../process/directory-lock.ts'
import type { Logger } from '../process/logger.ts'
import { IdBulk } from './id-bulk.ts'
import type { IdDisk } from './id-disk.ts'
import type { IdIndex, IdRange, LogPosition } from './id-index.ts'
import {
  DRAINED_AT_ONCE,
  type FilledTable,
  IdMemory,
  type IdMemoryOptions,
  type IdsInBulk,
} from './id-memory.ts'
import { MERGE_SLICE_IDS } from './id-merge.ts'
import { ID_WORDS, IdBlock } from './id-mixer.ts'
import type { IdSource } from './id-partition.ts'
import { RunUnreadable } from './id-run.ts'
import { IdTable } from './id-table.ts'
import { IdsAhead } from './ids-ahead.ts'

export interface IdIndexConfig {
  /** An id is remembered for at least so long after it was stored. */
  readonly dedupeWindowMs: number
  /** Ids that are remembered at most; of more the oldest are forgotten. */
  readonly dedupeIdsMax: number
}

/** How long ids are in memory alone, when there are few. */
const TAIL_MS = 10_000
const RETRY_MS = 2_000
/** Full tables in memory that callers do not wait for. */
const FULL_MAX = 1
/** Ids that are merged for each that is new: each is merged at most three times. */
const MERGED_FOR_EACH = 3
/** How much may be left to be done on disk, in full tables, before callers wait for it. */
const OWED_TABLES_MAX = 4

export interface DiskIdIndexParts extends IdMemoryOptions {
  readonly config: IdIndexConfig
  readonly log: Logger
  readonly lock: DirectoryLock
  readonly disk: IdDisk
  /** Of the tail on disk. */
  readonly table: IdTable
}

export class DiskIdIndex implements IdIndex {
  readonly #parts: DiskIdIndexParts
  readonly #disk: IdDisk
  readonly #memory: IdMemory
  readonly #ahead: IdsAhead
  /** While there is something for it to do. */
  #bulk: IdBulk | undefined
  #position: LogPosition | undefined
  /** Work that runs alone. */
  #tasks: (() => Promise<void>)[] = []
  #isTailDue = false
  /** Ids of the table that is filled that are in the tail on disk. */
  #tailSize: number
  /** What a table is written from. */
  #sorted: Uint32Array = new Uint32Array(0)
  /** Ids that are still to be merged. */
  #mergingOwed = 0
  #timer: NodeJS.Timeout | undefined
  #working: Promise<void> | undefined
  /** Of the last work, until it is tried again. */
  #failure: unknown
  #step: Deferred<void> = createStep()
  #isClosing = false
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
    if (ahead.isNew) this.#touched ^= this.#disk.touch(ahead.mixed)
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
    this.#disk.expect(Math.min(ids, this.#parts.config.dedupeIdsMax))
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
    return hasPending || full.length > FULL_MAX || this.#mergingOwed > this.#owedMax || this.#owesRemaking
  }

  get #owesRemaking(): boolean {
    return this.#disk.remakingOwed > this.#owedMax
  }

  get #owedMax(): number {
    return OWED_TABLES_MAX * this.#parts.tableIds
  }

  /** Runs alone among the steps. */
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
        await step().catch(error => this.#meet(error))
        this.#settle()
      }
    } catch (error) {
      this.#failure = error
      if (!this.#isClosing) this.#wakeIn(RETRY_MS)
    }
    this.#working = undefined
    this.#settle()
  }

  /** What cannot be read is forgotten; there is nothing to be tried again. */
  #meet(error: unknown): void {
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
    // The state is saved when all that comes in bulk is on disk.
    if (this.#memory.full.length === 0 && this.#memory.nextBulk() !== undefined) return this.#stepOfPending()
    if (disk.isDirty) return () => disk.save()
    if (this.#memory.full.length > 0) return () => this.#flush()
    if (this.#memory.hasPending) return this.#stepOfPending()
    this.#bulk = undefined
    if (this.#isTailDue) return () => this.#writeTail()
    if (disk.hasDeletable) return () => disk.deleteRetired()
    if (this.#isClosing) return undefined
    if (this.#owesRemaking) return () => disk.remakeFilter()
    const merge = disk.nextMerge()
    if (merge === undefined) this.#mergingOwed = 0
    else return () => disk.merge(merge, undefined, () => this.#afterSlice())
    if (disk.remakingOwed > 0) return () => disk.remakeFilter()
    if (disk.wantsFilterSaved) return () => disk.saveFilter(() => this.#afterPiece())
    return undefined
  }

  #stepOfPending(): () => Promise<void> {
    const memory = this.#memory
    const bulk = memory.nextBulk()
    if (bulk === undefined) return async () => memory.drain(DRAINED_AT_ONCE)
    if (memory.active.table.size === 0) return () => this.#writeBulk(bulk)
    // What was added before has to be on disk before.
    memory.closeTable()
    return () => this.#flush()
  }

  /** What cannot wait for a merge. Returns whether that is to go on. */
  async #afterSlice(): Promise<boolean> {
    const goesOn = await this.#afterPiece()
    if (goesOn && this.#owesRemaking) await this.#disk.remakeFilter()
    this.#mergingOwed = Math.max(0, this.#mergingOwed - MERGE_SLICE_IDS)
    this.#settle()
    return goesOn
  }

  /** What cannot wait for any long step, and adds to the filter at most. Returns whether that is to go on. */
  async #afterPiece(): Promise<boolean> {
    await nextTurn()
    if (this.#memory.full.length === 0 && this.#memory.hasPending) await this.#stepOfPending()()
    if (this.#memory.full.length > 0) await this.#flush()
    if (this.#disk.isDirty && !this.#memory.hasPending) await this.#disk.save()
    this.#settle()
    return !this.#isClosing
  }

  /** Writes the oldest table that is full. */
  async #flush(): Promise<void> {
    const filled = this.#memory.full[0] as FilledTable
    const sorted = filled.table.sorted(this.#sorted)
    if (sorted.length > this.#sorted.length) this.#sorted = sorted
    const run = await this.#disk.writeRun(sorted)
    if (this.#memory.full[0] !== filled) {
      await run.delete()
      return
    }
    this.#memory.release()
    this.#disk.addToFilter(sorted)
    this.#disk.take(run, filled.source as IdSource)
    this.#disk.setPosition(filled.position)
    this.#mergingOwed += run.size * MERGED_FOR_EACH
    // Had there been one, it was of this table.
    this.#disk.setTail(undefined)
    this.#tailSize = 0
    this.#forgetOld()
  }

  async #writeBulk(bulk: IdsInBulk): Promise<void> {
    const memory = this.#memory
    this.#bulk ??= new IdBulk(this.#parts.mixer)
    const run = await this.#disk.writeSlices(bulk.ids.length / ID_BYTES, this.#bulk.sorted(bulk.ids))
    if (!memory.isInBulk(bulk)) {
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
        'More ids than DEDUPE_IDS_MAX: retries are told from new events for less than DEDUPE_WINDOW_MS.',
      )
      this.#disk.dropOldest()
    }
  }

  /** Writes the table that is being filled, which goes on being filled. */
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

/** Nobody may be waiting for it. */
function createStep(): Deferred<void> {
  const step = createDeferred()
  step.promise.catch(() => {})
  return step
}
