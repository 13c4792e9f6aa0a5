import type { Readable } from 'node:stream'

/**
 * The store's own time when it answered, in milliseconds since 1970. Undefined where the store has no clock
 * of its own (a directory): whoever needs to know what was true at that time looks again.
 */
export type StoreDate = number | undefined

export interface Created {
  readonly outcome: 'created' | 'exists'
  readonly date: StoreDate
}

export interface StoredObject {
  /** All of it, or the range that was asked for. */
  readonly body: Buffer
  /** Of the whole object, in bytes. */
  readonly size: number
  /** When it was stored, in milliseconds since 1970, by the store's clock; S3 gives whole seconds. */
  readonly modifiedAt: number
}

export interface ReadAnswer {
  /** Undefined where there is no object of that key. */
  readonly object: StoredObject | undefined
  readonly date: StoreDate
}

/** The first `length` bytes from `start`; fewer where the object ends before. */
export interface ByteRange {
  readonly start: number
  readonly length: number
}

/**
 * Keys and what is stored under them. What was written is seen by every later read. Any request that fails
 * may have taken effect, and may still take effect later.
 */
export interface ObjectStore {
  /** What it is and where, in words for a person, without secrets. */
  readonly description: string
  /** What it has counted since this process began. */
  readonly stats: StoreStats
  /** Objects of up to so many bytes travel in a log record before they are stored; 0 where `move` costs nothing. */
  readonly inlineBytesMax: number
  /**
   * Resolves when objects could be written now.
   *
   * @throws StoreUnavailable where they could not, but may be later.
   * @throws ConfigInvalid where a setting has to be mended first.
   */
  check(): Promise<void>
  /**
   * Stores the bytes on condition that there is no object of that key. Of several creators one wins, and the
   * others learn that it exists, which may be their own doing: an answer that was lost looks the same.
   *
   * @throws StoreUnavailable where it is not known whether it was created, or will be.
   */
  create(key: string, body: Buffer): Promise<Created>
  /** Stores the bytes, whatever is there. @throws StoreUnavailable */
  replace(key: string, body: Buffer): Promise<void>
  /** @throws StoreUnavailable */
  read(key: string, range?: ByteRange): Promise<ReadAnswer>
  /**
   * Stores what `body` yields under a key that nobody else uses: all of it becomes visible, or nothing does.
   * Destroying `body` with an error gives it up. `body` is read as it comes, and a bounded part of it held.
   *
   * @returns the object's bytes.
   * @throws StoreUnavailable; the object may be there nonetheless, or may appear later.
   */
  put(key: string, body: Readable): Promise<number>
  /**
   * Makes the object of one key that of another; what is under `to` already is replaced.
   *
   * @returns `gone` where there is no object `from`: it was moved before, or never was.
   * @throws StoreUnavailable; it may have been moved, or copied and not removed.
   */
  move(from: string, to: string): Promise<'moved' | 'gone'>
  /**
   * The same of several, by fewer requests.
   *
   * @throws StoreUnavailable where one was not moved; each of them may have been moved, or copied and not removed.
   */
  moveAll(moves: readonly { readonly from: string; readonly to: string }[]): Promise<('moved' | 'gone')[]>
  /** Removes the objects that are there. @throws StoreUnavailable */
  remove(keys: readonly string[]): Promise<void>
  /** @throws ObjectNotFound, StoreUnavailable */
  get(key: string): Promise<Readable>
  /**
   * The keys that begin with `prefix`, in the order of their UTF-8 bytes.
   *
   * @throws StoreUnavailable
   */
  list(prefix: string): AsyncIterable<string>
  close(): Promise<void>
}

export interface StoreStats {
  /** Requests that were sent again, because the first answer was an error or did not come. */
  retries: number
  /** Objects and records that could not be stored; one that was there already is none of them. */
  failedPuts: number
}

/** What there is of a store for those who only read it, and leave no trace in it. */
export type StoreReader = Pick<ObjectStore, 'description' | 'get' | 'read' | 'list' | 'close'>
