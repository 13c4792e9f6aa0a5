/** The ids that are not in runs yet: in a table that is filled, in full ones, and as they were added. */

import { ID_BYTES } from '../event/message-id.ts'
import type { IdRange, LogPosition } from './id-index.ts'
import { ID_WORDS, IdBlock, type IdMixer } from './id-mixer.ts'
import type { IdSource } from './id-partition.ts'
import { IdTable } from './id-table.ts'

/** Ids of one `add` that are put into the table at once; more are left for `drain`. */
export const DRAINED_AT_ONCE = 32_768
/** More than so many full tables, of one addition, need not go into tables; at most so many are a run at once. */
const BULK_TABLES_MIN = 2
const BULK_TABLES_MAX = 4
/** Ids that are mixed at once. */
const BLOCK_IDS = 64
/** Empty tables that keep their memory. */
const SPARES_MAX = 2

export interface IdMemoryOptions {
  readonly mixer: IdMixer
  /** Ids of a full table. */
  readonly tableIds: number
  /** From the first to the last record of a table: less than this. */
  readonly partitionMs: number
}

/** A table, and where its ids are from. */
export interface FilledTable {
  readonly table: IdTable
  /** Undefined where there are none. */
  source: IdSource | undefined
  /** How far the log was read by additions that are in here, or before, as a whole. */
  position: LogPosition | undefined
}

interface Pending {
  readonly ids: Buffer
  readonly range: IdRange
  readonly position: LogPosition
  /** Bytes of `ids` that are in a table. */
  done: number
}

/** Some of the ids of one addition, of which none is in a table. */
export interface IdsInBulk {
  readonly ids: Buffer
  readonly source: IdSource
}

export class IdMemory {
  readonly #options: IdMemoryOptions
  readonly #block: IdBlock
  readonly #spares: IdTable[] = []
  #active: FilledTable
  /** Full, or closed; the oldest first. */
  #full: FilledTable[] = []
  #pending: Pending[] = []
  #bulk: IdsInBulk | undefined
  #storedThrough = Number.NEGATIVE_INFINITY

  constructor(options: IdMemoryOptions, active: FilledTable) {
    this.#options = options
    this.#block = new IdBlock(options.mixer, BLOCK_IDS)
    this.#active = active
  }

  /** When the newest record was stored; a clock that steps back does not count. */
  get storedThrough(): number {
    return this.#storedThrough
  }

  set storedThrough(time: number) {
    this.#storedThrough = time
  }

  get active(): FilledTable {
    return this.#active
  }

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
   * Whether an id is in a table. What is pending is not.
   *
   * @param from where it begins in `ids`, which are in mixed form
   */
  has(ids: Uint32Array, from: number): boolean {
    if (this.#active.table.has(ids, from)) return true
    for (const { table } of this.#full) if (table.has(ids, from)) return true
    return false
  }

  /** Whether this is one of the tables. */
  holds(table: IdTable): boolean {
    return this.#active.table === table || this.#full.some(each => each.table === table)
  }

  add(ids: Buffer, range: IdRange, position: LogPosition): void {
    this.#pending.push({ ids, range, position, done: 0 })
    const isFew = ids.length <= DRAINED_AT_ONCE * ID_BYTES && ids.length < this.#bulkMin * ID_BYTES
    if (isFew) this.drain()
  }

  /**
   * Pending ids that are so many that they are better written as a run as they are, once the table that is filled is
   * empty. They may go into tables nonetheless: see `isInBulk`.
   */
  nextBulk(): IdsInBulk | undefined {
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

  /** Whether all of it is still pending. */
  isInBulk(bulk: IdsInBulk): boolean {
    return this.#bulk === bulk
  }

  /** It is on disk. */
  releaseBulk({ ids, source }: IdsInBulk): void {
    const next = this.#pending[0] as Pending
    this.#bulk = undefined
    this.#storedThrough = source.storedThrough
    next.done += ids.length
    if (next.done < next.ids.length) return
    this.#pending.shift()
    this.#active.position = next.position
  }

  /** Puts pending ids into tables: at most so many. */
  drain(idsMax = Number.POSITIVE_INFINITY): void {
    this.#bulk = undefined
    let left = idsMax
    for (let next = this.#pending[0]; next !== undefined && left > 0; next = this.#pending[0]) {
      this.#receive(next)
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

  /** Lets the table that is filled count as full, and begins another. */
  closeTable(): void {
    const { position, table } = this.#active
    if (table.size === 0) return
    this.#full.push(this.#active)
    this.#active = { table: this.#spares.pop() ?? new IdTable(), source: undefined, position }
  }

  /** Forgets the oldest full table. */
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

  /** Notes where the ids are from that the table gets. */
  #receive({ range }: Pending): void {
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
