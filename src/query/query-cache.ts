/**
 * Parquet files of the events of raw objects, on local disk, so that an object is fetched and unpacked once.
 *
 *     <directory>/<id>.parquet   the rows of some objects
 *     <directory>/<id>.json      which objects: their keys and digests. Written last, so an entry is whole or absent.
 *     <directory>/run-<id>/      hard links to the entries that a run reads; locked by that run
 *
 * Any number of runs share the directory. An entry never changes. A run reads its own links, so another run may evict
 * an entry while it is read. A link directory whose lock nobody holds is removed by the next run.
 */

import { randomBytes, randomUUID } from 'node:crypto'
import {
  chmod,
  chown,
  link,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { join } from 'node:path'
import { ConfigInvalid, DirectoryInUse } from '../errors.ts'
import { type DirectoryLock, lockDirectory, requireLockablePath } from '../process/directory-lock.ts'
import { NOBODY } from './engine-messages.ts'
import { ROWS_VERSION } from './event-columns.ts'

const RUN_PREFIX = 'run-'
/** Another run may put a lock into a directory that is being removed. */
const REMOVAL = { recursive: true, force: true, maxRetries: 5, retryDelay: 20 } as const
const ENTRY = /^([0-9a-f-]{36})\.json$/
/** An entry that a run is still writing is younger than this. */
const UNFINISHED_MS_MAX = 24 * 60 * 60 * 1000
/** More small entries than this are made anew as larger ones: each costs a query about a millisecond. */
const SMALL_ENTRIES_MAX = 64
const SMALL_BYTES_MAX = 4 * 1024 * 1024

interface EntryIndex {
  readonly rowsVersion: number
  /** Length of the Parquet file. */
  readonly bytes: number
  /** Key and SHA-256 of each object. */
  readonly objects: readonly (readonly [key: string, sha256: string])[]
}

interface Entry extends EntryIndex {
  readonly id: string
  readonly usedAtMs: number
}

/** What an entry holds: an object, or a file of the table. */
export interface Cacheable {
  readonly key: string
  /** Differs if the bytes do. */
  readonly sha256: string
}

export interface CachedFile {
  /** A Parquet file of this run. */
  readonly path: string
  /** Of the objects that it holds. */
  readonly keys: readonly string[]
}

export interface CachePlan<T> {
  /** Of entries that hold wanted objects. */
  readonly files: readonly CachedFile[]
  /** Objects that no entry has. */
  readonly missing: readonly T[]
}

export class QueryCache {
  readonly #directory: string
  readonly #bytesMax: number
  readonly #lock: DirectoryLock
  /** Of this run. */
  readonly runDirectory: string

  private constructor(directory: string, bytesMax: number, runDirectory: string, lock: DirectoryLock) {
    this.#directory = directory
    this.#bytesMax = bytesMax
    this.runDirectory = runDirectory
    this.#lock = lock
  }

  /**
   * @param directory of one archive; it is made if need be
   * @param bytesMax entries are evicted past this size, those first that were not used for longest
   */
  static async open(directory: string, bytesMax: number): Promise<QueryCache> {
    // Others may pass through, and see no names: the engine may be another user. See engine-process.ts.
    await mkdir(directory, { recursive: true, mode: 0o711 }).catch((error: Error) => {
      throw new ConfigInvalid(
        `DATA_DIR: ${directory} cannot be made: ${error.message}. Name another directory: --data-dir=/tmp/frequency`,
      )
    })
    await removeAbandonedRuns(directory)
    for (;;) {
      const runDirectory = join(directory, `${RUN_PREFIX}${randomBytes(4).toString('hex')}`)
      requireLockablePath(runDirectory)
      try {
        await mkdir(runDirectory, { mode: 0o700 })
        const lock = await lockDirectory(runDirectory)
        if (process.getuid?.() === 0) await chown(runDirectory, NOBODY, NOBODY)
        return new QueryCache(directory, bytesMax, runDirectory, lock)
      } catch (error) {
        // Another run found it before it was locked, and removed it as abandoned.
        if (!(error instanceof DirectoryInUse)) ignoreRace(error)
      }
    }
  }

  /**
   * Chooses the entries for these objects, and removes those that are of no use: an object of theirs is not in the
   * archive any more, has changed, or is in another entry too.
   *
   * @param all objects of the archive, as far as their rows count
   * @param isAlone whether an object must not share its file with others
   */
  async plan<T extends Cacheable>(
    wanted: readonly T[],
    all: readonly Cacheable[],
    isAlone: (key: string) => boolean,
  ): Promise<CachePlan<T>> {
    const digests = new Map(all.map(({ key, sha256 }) => [key, sha256]))
    const wantedKeys = new Set(wanted.map(({ key }) => key))
    const covered = new Set<string>()
    const files: CachedFile[] = []
    const entries = await this.#entries()
    const isWanted = (entry: Entry): boolean => entry.objects.some(([key]) => wantedKeys.has(key))
    const small = entries.filter(
      entry =>
        entry.bytes <= SMALL_BYTES_MAX && isWanted(entry) && !entry.objects.some(([key]) => isAlone(key)),
    )
    const isMerging = small.length > SMALL_ENTRIES_MAX
    for (const entry of entries.toSorted((a, b) => b.objects.length - a.objects.length)) {
      const isCurrent = entry.objects.every(
        ([key, sha256]) =>
          digests.get(key) === sha256 && !covered.has(key) && !(entry.objects.length > 1 && isAlone(key)),
      )
      const isSmall = isMerging && small.includes(entry)
      if (!isCurrent || isSmall) {
        await this.#remove(entry.id)
        continue
      }
      if (!isWanted(entry)) continue
      const path = await this.#use(entry.id)
      if (path === undefined) continue
      const keys = entry.objects.map(([key]) => key)
      for (const key of keys) covered.add(key)
      files.push({ path, keys })
    }
    return { files, missing: wanted.filter(({ key }) => !covered.has(key)) }
  }

  /** A name for a file of this run that becomes an entry, or is of no use later. */
  temporaryPath(extension: string): string {
    return join(this.runDirectory, `${randomUUID()}.${extension}`)
  }

  /** Makes an entry of a Parquet file of this run. @returns the path of the run's link to it */
  async add(parquetPath: string, objects: readonly Cacheable[]): Promise<string> {
    const id = randomUUID()
    const bytes = await syncedLength(parquetPath)
    const index: EntryIndex = {
      rowsVersion: ROWS_VERSION,
      bytes,
      objects: objects.map(({ key, sha256 }) => [key, sha256]),
    }
    const indexPath = this.temporaryPath('json')
    await chmod(parquetPath, 0o444)
    await link(parquetPath, this.#parquet(id))
    await writeFile(indexPath, JSON.stringify(index))
    await rename(indexPath, this.#index(id))
    return parquetPath
  }

  /** Links an entry into the directory of this run. @returns the path; undefined if it was evicted meanwhile */
  async #use(id: string): Promise<string | undefined> {
    const path = join(this.runDirectory, `${id}.parquet`)
    try {
      await link(this.#parquet(id), path)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
    const now = new Date()
    await utimes(this.#index(id), now, now).catch(ignoreMissing)
    return path
  }

  /** Removes the links of this run, and entries past the bound. A failure is of no consequence: the next run tries again. */
  async close(): Promise<void> {
    await rm(this.runDirectory, REMOVAL).catch(() => {})
    await this.#lock.release()
    await this.#evict().catch(() => {})
  }

  async #evict(): Promise<void> {
    const entries = (await this.#entries()).toSorted((a, b) => b.usedAtMs - a.usedAtMs)
    let bytes = 0
    for (const entry of entries) {
      bytes += entry.bytes
      if (bytes > this.#bytesMax) await this.#remove(entry.id)
    }
  }

  async #entries(): Promise<Entry[]> {
    const names = await readdir(this.#directory)
    const ids = names.flatMap(name => ENTRY.exec(name)?.[1] ?? [])
    await this.#removeUnfinished(names, new Set(ids))
    const entries = await Promise.all(ids.map(id => this.#entry(id)))
    return entries.filter(entry => entry !== undefined)
  }

  /** Undefined if it was removed meanwhile, cannot be read, or has rows of another version. */
  async #entry(id: string): Promise<Entry | undefined> {
    try {
      const [text, index, parquet] = await Promise.all([
        readFile(this.#index(id), 'utf8'),
        stat(this.#index(id)),
        stat(this.#parquet(id)),
      ])
      const { rowsVersion, objects, bytes } = JSON.parse(text) as EntryIndex
      if (rowsVersion === ROWS_VERSION && bytes === parquet.size)
        return { rowsVersion, id, objects, bytes, usedAtMs: index.mtimeMs }
    } catch (error) {
      if (!(error instanceof SyntaxError)) ignoreMissing(error)
    }
    await this.#remove(id)
    return undefined
  }

  /** A run that was killed may have left a Parquet file without its index. */
  async #removeUnfinished(names: readonly string[], indexed: ReadonlySet<string>): Promise<void> {
    for (const name of names) {
      if (!name.endsWith('.parquet') || indexed.has(name.slice(0, -'.parquet'.length))) continue
      const path = join(this.#directory, name)
      const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Date.now() }))
      if (Date.now() - mtimeMs > UNFINISHED_MS_MAX) await rm(path, { force: true })
    }
  }

  async #remove(id: string): Promise<void> {
    await rm(this.#index(id), { force: true })
    await rm(this.#parquet(id), { force: true })
  }

  #parquet(id: string): string {
    return join(this.#directory, `${id}.parquet`)
  }

  #index(id: string): string {
    return join(this.#directory, `${id}.json`)
  }
}

async function removeAbandonedRuns(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (!name.startsWith(RUN_PREFIX)) continue
    const path = join(directory, name)
    try {
      const lock = await lockDirectory(path)
      await rm(path, REMOVAL).finally(() => lock.release())
    } catch (error) {
      if (!(error instanceof DirectoryInUse)) ignoreRace(error)
    }
  }
}

/** Another run locks or removes the same directory. */
function ignoreRace(error: unknown): void {
  const { code = '' } = error as NodeJS.ErrnoException
  if (!['ENOTEMPTY', 'ECONNRESET', 'ENOTDIR'].includes(code)) ignoreMissing(error)
}

/** Fsyncs a file. @returns its length, in bytes */
async function syncedLength(path: string): Promise<number> {
  const file = await open(path)
  try {
    await file.sync()
    return (await file.stat()).size
  } finally {
    await file.close()
  }
}

function ignoreMissing(error: unknown): void {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
}
