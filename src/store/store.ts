import type { Readable } from 'node:stream'
import type { Config } from '../config.ts'

export interface ObjectStore {
  /** What it is and where, in words for a person, without secrets. */
  readonly description: string
  /** What it has counted since this process began. */
  readonly stats: StoreStats
  /**
   * Resolves when objects could be written now.
   *
   * @throws StoreUnavailable where they could not, but may be later.
   * @throws ConfigInvalid where a setting has to be mended first.
   */
  check(): Promise<void>
  /**
   * Stores what `body` yields, as one object: all of it becomes visible, or nothing does. Of several
   * writers of one key one wins, and the others learn of it. Destroying `body` with an error gives the
   * object up. `body` is read as it comes, and a bounded part of it held.
   *
   * @param isContested asked once `body` has ended: whether another writer may be at work on this key.
   * A store whose own conditional write is not enough then does more to be sure.
   * @returns the object's bytes.
   * @throws ObjectExists where there is an object of that key already, which is left as it is. It may
   * be the caller's own: an answer that was lost looks the same.
   * @throws StoreUnavailable otherwise. The object may have been stored nonetheless.
   */
  put(key: string, body: Readable, isContested?: () => boolean): Promise<number>
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
  /** Objects that could not be stored; one that was there already is none of them. */
  failedPuts: number
}

/** What there is of a store for those who only read it, and leave no trace in it. */
export type StoreReader = Pick<ObjectStore, 'description' | 'get' | 'list' | 'close'>

/**
 * Opens the store that the config names, and readies it for writing.
 *
 * @throws ConfigInvalid where it can be told already that it will not work.
 */
export async function openStore(config: Config): Promise<ObjectStore> {
  if (config.archive.kind === 's3') {
    const { openS3Store } = await import('./s3.ts')
    return openS3Store(config.archive, config)
  }
  const { openDirectoryStore } = await import('./directory.ts')
  return openDirectoryStore(config.archive)
}

/**
 * Opens the store that the config names, to read it: nothing is made, probed or cleared there.
 *
 * @throws ConfigInvalid where a setting has to be mended first.
 * @throws StoreUnavailable where it cannot be reached now.
 */
export async function openStoreReader(
  config: Pick<Config, 'archive' | 's3ForcePathStyle' | 's3IdleMsMax'>,
): Promise<StoreReader> {
  if (config.archive.kind === 's3') {
    const { openS3Reader } = await import('./s3.ts')
    return openS3Reader(config.archive, config)
  }
  const { openDirectoryReader } = await import('./directory.ts')
  return openDirectoryReader(config.archive)
}
