import type { Readable } from 'node:stream'

/**
 * The store's clock at the time of its answer, in milliseconds since 1970. Undefined if the store has no clock of
 * its own (a directory). Then a caller cannot tell how old an earlier answer is, and has to read again.
 */
export type StoreDate = number | undefined

/** `exists`: another writer has created the key, or this one has and lost the answer. */
export interface Created {
  readonly outcome: 'created' | 'exists'
  readonly date: StoreDate
}

export interface StoredObject {
  /** The whole object, or the requested range. */
  readonly body: Buffer
  /** Size of the whole object, in bytes. */
  readonly size: number
  /** When the object was stored, in milliseconds since 1970, by the store's clock. S3 has whole seconds. */
  readonly modifiedAt: number
}

export interface ReadAnswer {
  /** Undefined if no object has that key. */
  readonly object: StoredObject | undefined
  readonly date: StoreDate
}

/** `length` bytes from `start` on, or fewer if the object ends before. */
export interface ByteRange {
  readonly start: number
  readonly length: number
}

/**
 * A store of objects by key. Every read sees all earlier writes. A request that fails may have taken effect, and may
 * still take effect later.
 */
export interface ObjectStore {
  /** What it is and where, as a text for people, without secrets. */
  readonly description: string
  /** Counters since this process began. */
  readonly stats: StoreStats
  /** Objects up to this size travel in a log record before they are stored. 0 if `move` is cheap. */
  readonly inlineBytesMax: number
  /**
   * Resolves if objects can be written now.
   *
   * @throws StoreUnavailable if they cannot, and this may pass.
   * @throws ConfigInvalid if a setting has to be corrected first.
   */
  check(): Promise<void>
  /**
   * Stores the bytes on condition that no object has that key. Exactly one of several creators wins. The others get
   * `exists`. The winner may get `exists` too, if an answer was lost and the request was sent again.
   *
   * @throws StoreUnavailable if it is unknown whether the object was created. It may also be created later.
   */
  create(key: string, body: Buffer): Promise<Created>
  /** Stores the bytes. Replaces an existing object. @throws StoreUnavailable */
  replace(key: string, body: Buffer): Promise<void>
  /** @throws StoreUnavailable */
  read(key: string, range?: ByteRange): Promise<ReadAnswer>
  /**
   * Stores a stream under a key that no other writer uses. The object becomes visible as a whole, or not at all. To
   * cancel, destroy `body` with an error. The stream is read with back-pressure, and memory is bounded.
   *
   * @returns size of the object in bytes.
   * @throws StoreUnavailable. The object may exist nonetheless, or may appear later.
   */
  put(key: string, body: Readable): Promise<number>
  /**
   * Moves an object to another key. Replaces an existing object there.
   *
   * @returns `gone` if no object has the key `from`: it was moved before, or never existed.
   * @throws StoreUnavailable. The object may have been moved, or copied and not removed.
   */
  move(from: string, to: string): Promise<'moved' | 'gone'>
  /**
   * Moves several objects, with fewer requests. Results are in the order of `moves`.
   *
   * @throws StoreUnavailable if one was not moved. Each may have been moved, or copied and not removed.
   */
  moveAll(moves: readonly { readonly from: string; readonly to: string }[]): Promise<('moved' | 'gone')[]>
  /** Removes objects. Ignores keys without an object. @throws StoreUnavailable */
  remove(keys: readonly string[]): Promise<void>
  /** Reads an object as a stream. @throws ObjectNotFound, StoreUnavailable */
  get(key: string): Promise<Readable>
  /**
   * Yields the keys that begin with `prefix`, in the order of their UTF-8 bytes.
   *
   * @throws StoreUnavailable
   */
  list(prefix: string): AsyncIterable<string>
  /** The path of the object's file, whether it exists or not; undefined if objects are not files of this machine. */
  localPath(key: string): string | undefined
  close(): Promise<void>
}

export interface StoreStats {
  /** Requests that were sent again, because the answer was an error or did not come. */
  retries: number
  /** Writes that failed. The outcome `exists` is not a failure. */
  failedPuts: number
}

/** A store for reading only. It leaves no trace in the archive. */
export type StoreReader = Pick<ObjectStore, 'description' | 'get' | 'read' | 'list' | 'localPath' | 'close'>
