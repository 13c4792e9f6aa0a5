/**
 * What a process remembers of the log: the ids of all records from some number on, and how far it has read the log.
 * The store has all of this too: an index that is lost or behind is read from there again.
 */

/** A batch that was declared void. */
export interface VoidBatch {
  /** The number of its record. */
  readonly number: number
  /** Its place in the record. */
  readonly batch: number
}

/** How far a log was read. */
export interface LogPosition {
  /** The log's id, from record 0. */
  readonly log: string
  /** The last record that was applied. */
  readonly number: number
  /** SHA-256 of that record's head, 64 hexadecimal digits. */
  readonly hash: string
  /** Records that may not be settled, ascending. The objects of all other records are in the store. */
  readonly unsettled: readonly number[]
  /** Void batches of the records that were not folded when the position was taken. */
  readonly voids?: readonly VoidBatch[]
}

/** The ids of a range of records. */
export interface IdRange {
  /** The first record. */
  readonly from: number
  /** The last record. */
  readonly through: number
  /** When the last of these records was stored, in milliseconds since 1970, by the store's clock. */
  readonly storedAt: number
}

export interface IdIndex {
  /** The position of the last addition; undefined if there was none. After a crash it may be that of an earlier one. */
  readonly position: LogPosition | undefined
  /** The ids of all records from this number on are remembered. Ids of earlier records may be forgotten. */
  readonly remembersFrom: number
  /** How many ids are remembered. An id that was added twice may count twice. */
  readonly size: number
  /**
   * Whether the id was added, and is not forgotten. Exact: no false positives.
   *
   * @param at where its 16 bytes begin in `ids`
   */
  has(ids: Buffer, at?: number): boolean
  /**
   * Adds ids, and moves the position. `has` knows the ids at once. Additions reach the disk later, in order, each with
   * its position: a crash loses the last additions, together with their positions.
   *
   * @param ids 16 bytes each, in any order. The index keeps the buffer: the caller must not change it.
   */
  add(ids: Buffer, range: IdRange, position: LogPosition): void
  /** Makes room for about this many ids, which will be added soon. */
  expect(ids: number): void
  /** Removes ids, also on disk. May be slow. @throws Error of the disk */
  remove(ids: Buffer): Promise<void>
  /**
   * Resolves when the ids in memory, and the work that is left to do on disk, are within their bounds. To be awaited
   * between additions (back-pressure).
   *
   * @throws Error of the disk. Nothing is lost, and the next call tries again.
   */
  ready(): Promise<void>
  /** Forgets all ids and the position. @param begin the new `remembersFrom` @throws Error of the disk */
  reset(begin: number): Promise<void>
  /** Writes everything to disk, and closes the index. @throws Error of the disk: an earlier state is on disk then */
  close(): Promise<void>
}
