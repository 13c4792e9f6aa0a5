/** The ids that are not in runs yet: in the active table, in full tables, or pending (not in a table yet). */

import { ID_BYTES } from '../event/message-id.ts'
import type { IdRange, LogPosition } from './id-index.ts'
import { ID_WORDS, IdBlock, type IdMixer } from './id-mixer.ts'
import type { IdSource } from './id-partition.ts'
import { IdTable } from './id-table.ts'

/** Most ids that `add` puts into the table itself. A larger addition stays pending, for `drain`. */
export const DRAINED_AT_ONCE = 32_768
/** An addition that would fill this many tables may be written as runs directly. */
const BULK_TABLES_MIN = 2
/** Most ids of such a run, in full tables. */
const BULK_TABLES_MAX = 4
/** Ids that are mixed at once. */
const BLOCK_IDS = 64
/** Empty tables that are kept for their memory. */
const SPARES_MAX = 2

export interface IdMemoryOptions {
  readonly mixer: IdMixer
  /** Ids of a full table. */
  readonly tableIds: number
  /** The first and the last record of a table were stored less than this apart, in milliseconds. */
  readonly partitionMs: number
}

/** A table, and which records its ids are from. */
export interface FilledTable {
  readonly table: IdTable
  /** Undefined if the table is empty. */
  source: IdSource | undefined
  /** The position of the last addition that is complete in this table and the ones before it. */
  position: LogPosition | undefined
}

interface PendingAddition {
  readonly ids: Buffer
  readonly range: IdRange
  readonly position: LogPosition
  /** Bytes of `ids` that are in tables or runs. */
  done: number
}

/** Pending ids of one addition, to be written as one run. */
export interface BulkIds {
  readonly ids: Buffer
  readonly source: IdSource
}

export class IdMemory {
  readonly #options: IdMemoryOptions
  readonly #block: IdBlock
  readonly #spares: IdTable[] = []
  #active: FilledTable
  /** Oldest first. */
  #full: FilledTable[] = []
  #pending: PendingAddition[] = []
  /** The last result of `nextBulk`, if its ids are still pending. */
  #bulk: BulkIds | undefined
  #storedThrough = Number.NEGATIVE_INFINITY

  constructor(options: IdMemoryOptions, active: FilledTable) {
    this.#options = options
    this.#block = new IdBlock(options.mixer, BLOCK_IDS)
    this.#active = active
  }

  /** The latest time at which a record was stored, in milliseconds since 1970. Never falls, even if the clock does. */
  get storedThrough(): number {
    return this.#storedThrough
  }

  set storedThrough(time: number) {
    this.#storedThrough = time
  }

  /** The table that is being filled. */
  get active(): FilledTable {
    return this.#active
  }

  /** Tables that are full or closed, the oldest first. */
  get full(): readonly FilledTable[] {
    return this.#full
  }

  get hasPending(): boolean {
    return this.#pending.length > 0
  }

  get size(): number {
    const pending = this.#pending.reduce((sum, { ids, done }) => sum + (ids.length - done) / ID_BYTES, 0)
    return this.#full.reduce((sum, { table }) => sum + table.size, this.#active.table.size) + pending
  }

  /**
   * Whether an id is in a table. Pending ids are not found.
   *
   * @param ids in mixed form
   * @param from where the id begins, in words
   */
  has(ids: Uint32Array, from: number): boolean {
    if (this.#active.table.has(ids, from)) return true
    for (const { table } of this.#full) if (table.has(ids, from)) return true
    return false
  }

  /** Whether this is the active table, or a full one. */
  holds(table: IdTable): boolean {
    return this.#active.table === table || this.#full.some(each => each.table === table)
  }

  add(ids: Buffer, range: IdRange, position: LogPosition): void {
    this.#pending.push({ ids, range, position, done: 0 })
    const isFew = ids.length <= DRAINED_AT_ONCE * ID_BYTES && ids.length < this.#bulkMin * ID_BYTES
    if (isFew) this.drain()
  }

  /**
   * The next pending ids that should be written as a run, without a table; undefined if the next addition is not large
   * enough. Write them only while the active table is empty, so that ids reach the disk in order. They stay pending,
   * and `drain` may put them into tables: see `isPending`.
   */
  nextBulk(): BulkIds | undefined {
    const [next] = this.#pending
    if (next === undefined) return undefined
    const left = (next.ids.length - next.done) / ID_BYTES
    if (left < this.#bulkMin) return undefined
    const count = Math.ceil(left / Math.ceil(left / (BULK_TABLES_MAX * this.#options.tableIds)))
    const stored = Math.max(this.#storedThrough, next.range.storedAt)
    this.#bulk = {
      ids: next.ids.subarray(next.done, next.done + count * ID_BYTES),
      source: { through: next.range.through, storedFrom: stored, storedThrough: stored },
    }
    return this.#bulk
  }

  /** Whether all ids of this result of `nextBulk` are still pending. */
  isPending(bulk: BulkIds): boolean {
    return this.#bulk === bulk
  }

  /** To be called when these ids, which are still pending, are on disk. */
  releaseBulk({ ids, source }: BulkIds): void {
    const next = this.#pending[0] as PendingAddition
    this.#bulk = undefined
    this.#storedThrough = source.storedThrough
    next.done += ids.length
    if (next.done < next.ids.length) return
    this.#pending.shift()
    this.#active.position = next.position
  }

  /** Puts pending ids into tables, the oldest first. */
  drain(idsMax = Number.POSITIVE_INFINITY): void {
    this.#bulk = undefined
    let left = idsMax
    for (let next = this.#pending[0]; next !== undefined && left > 0; next = this.#pending[0]) {
      this.#noteSource(next)
      const { table } = this.#active
      const room = Math.max(1, this.#options.tableIds - table.size)
      const end = Math.min(next.ids.length, next.done + Math.min(left, room) * ID_BYTES)
      left -= (end - next.done) / ID_BYTES
      for (let at = next.done; at < end; at += BLOCK_IDS * ID_BYTES) {
        const length = this.#block.take(next.ids, at, Math.min(end, at + BLOCK_IDS * ID_BYTES))
        for (let id = 0; id < length; id += ID_WORDS) table.add(this.#block.mixed, id)
      }
      next.done = end
      if (end === next.ids.length) {
        this.#pending.shift()
        this.#active.position = next.position
      }
      if (table.size >= this.#options.tableIds) this.closeTable()
    }
  }

  /** Makes the active table a full one, unless it is empty, and begins another. */
  closeTable(): void {
    const { position, table } = this.#active
    if (table.size === 0) return
    this.#full.push(this.#active)
    this.#active = { table: this.#spares.pop() ?? new IdTable(), source: undefined, position }
  }

  /** Drops the oldest full table: its ids are on disk. */
  release(): void {
    const table = this.#full.shift()?.table
    if (table === undefined || this.#spares.length >= SPARES_MAX) return
    table.clear()
    this.#spares.push(table)
  }

  reset(): void {
    this.#pending = []
    this.#bulk = undefined
    this.#full = []
    this.#active = { table: new IdTable(), source: undefined, position: undefined }
    this.#storedThrough = Number.NEGATIVE_INFINITY
  }

  get #bulkMin(): number {
    return BULK_TABLES_MIN * this.#options.tableIds
  }

  /** Adds the records of an addition to the source of the active table. Closes it before if it would cover too long. */
  #noteSource({ range }: PendingAddition): void {
    const stored = Math.max(this.#storedThrough, range.storedAt)
    const { source } = this.#active
    if (source !== undefined && stored - source.storedFrom >= this.#options.partitionMs) this.closeTable()
    this.#storedThrough = stored
    const { through } = range
    const own = this.#active.source
    if (own === undefined) this.#active.source = { through, storedFrom: stored, storedThrough: stored }
    else Object.assign(own, { through: Math.max(own.through, through), storedThrough: stored })
  }
}
