/**
 * What a process remembers of the log: which ids are in records from some number on, and how far it has
 * read. It holds nothing that the store does not; where it is lost or behind, it is read from there again.
 */

/** A batch that is void, by the number of its record and its place there. */
export interface VoidBatch {
  readonly number: number
  readonly batch: number
}

/** A place in a log. */
export interface LogPosition {
  /** The log's id, from record 0. */
  readonly log: string
  /** The last record that was applied. */
  readonly number: number
  /** Of that record's head: SHA-256, 64 hexadecimal digits. */
  readonly hash: string
  /** Numbers of the records that were not known to be settled, ascending; of all others the objects are there. */
  readonly unsettled: readonly number[]
  /** Batches that are void, of records that were not folded when it was made. */
  readonly voids?: readonly VoidBatch[]
}

/** The ids of a range of records. */
export interface IdRange {
  /** The first and the last record they are from. */
  readonly from: number
  readonly through: number
  /** When the last of these records was stored, in milliseconds since 1970, by the store's clock. */
  readonly storedAt: number
}

export interface IdIndex {
  /** How far it has read, undefined where it has read nothing. Behind what was added at most by what a crash loses. */
  readonly position: LogPosition | undefined
  /** All ids of records from this number on are remembered; those before it may be forgotten. */
  readonly remembersFrom: number
  /** How many ids are remembered; an id that was added twice may count twice. */
  readonly size: number
  /**
   * Whether the id was added. Never wrong, in either direction.
   *
   * @param at where its 16 bytes begin in `ids`
   */
  has(ids: Buffer, at?: number): boolean
  /**
   * Adds ids, which `has` knows from now on, and moves the position. Both reach the disk together, later and in
   * this order; a crash loses some of the last additions together with their positions.
   *
   * @param ids 16 bytes each, in any order; kept, and not to be changed afterwards
   */
  add(ids: Buffer, range: IdRange, position: LogPosition): void
  /** So many ids will be added soon, about: room is made for all of them at once. */
  expect(ids: number): void
  /** Takes ids out again. Rare, and may be slow. */
  remove(ids: Buffer): Promise<void>
  /**
   * Resolves when what is in memory and not on disk is within its bound.
   *
   * @throws Error of the disk where it cannot be written now; nothing is lost, and the next call tries again.
   */
  ready(): Promise<void>
  /** Forgets everything. `remembersFrom` is what `begin` says from then on. */
  reset(begin: number): Promise<void>
  /** Writes all to disk. */
  close(): Promise<void>
}
