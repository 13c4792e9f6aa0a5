/**
 * An archive in a directory. Each object is a file. Its key is the path below the directory.
 *
 * An object is written to a temporary file under `.incoming`, fsynced, and linked or renamed to its path. Then the
 * directory of that path is fsynced. So a file at its path is always complete, and survives a power cut once the
 * call has returned. `.incoming` itself is never fsynced: its entries are not needed after a crash, and leftover
 * files are removed a day later.
 */

import { randomUUID } from 'node:crypto'
import { createWriteStream, type Stats } from 'node:fs'
import {
  access,
  constants,
  type FileHandle,
  link,
  open,
  readdir,
  rename,
  rm,
  stat,
  unlink,
} from 'node:fs/promises'
import { dirname, join, relative, resolve, sep } from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { ConfigInvalid, ObjectNotFound, StoreUnavailable } from '../errors.ts'
import { syncDirectory } from '../process/sync-directory.ts'
import { copySynced, wholeFileOf } from './copy-file.ts'
import { DurableDirectories } from './durable-directories.ts'
import type { ByteRange, Created, ObjectStore, ReadAnswer, StoreReader, StoreStats } from './store.ts'

const TEMPORARY = '.incoming'
const ABANDONED_MS_MIN = 24 * 60 * 60 * 1000
const REMOVALS_AT_ONCE_MAX = 16
const READ_BYTES_MAX = 256 * 1024

interface OpenedFile {
  readonly file: FileHandle
  readonly size: number
  readonly mtimeMs: number
}

class DirectoryStore implements ObjectStore {
  readonly description: string
  readonly stats: StoreStats = { retries: 0, failedPuts: 0 }
  readonly inlineBytesMax = 0
  readonly #root: string
  readonly #directories: DurableDirectories
  readonly #isReader: boolean

  constructor(root: string, { isReader = false } = {}) {
    this.#root = resolve(root)
    this.#directories = new DurableDirectories(this.#root)
    this.#isReader = isReader
    this.description = `directory ${root}`
  }

  async check(): Promise<void> {
    const temporary = join(this.#root, TEMPORARY)
    try {
      await this.#inDirectory(temporary, () => access(temporary, constants.W_OK))
    } catch (cause) {
      throw new StoreUnavailable(`The archive ${this.#root} cannot be written: ${(cause as Error).message}`, {
        cause,
      })
    }
  }

  async create(key: string, body: Buffer): Promise<Created> {
    return this.#store(key, async (temporary, target) => {
      await Promise.all([writeSynced(temporary, body), this.#directories.make(dirname(target))])
      const isCreated = await this.#inDirectory(dirname(target), () => linkNew(temporary, target))
      if (isCreated) await syncDirectory(dirname(target))
      return { outcome: isCreated ? 'created' : 'exists', date: undefined }
    })
  }

  async replace(key: string, body: Buffer): Promise<void> {
    await this.#store(key, async (temporary, target) => {
      await Promise.all([writeSynced(temporary, body), this.#directories.make(dirname(target))])
      await this.#rename(temporary, target)
    })
  }

  async put(key: string, body: Readable): Promise<number> {
    try {
      return await this.#store(key, async (temporary, target) => {
        const file = wholeFileOf(body)
        const bytes =
          file === undefined
            ? await writeStreamSynced(temporary, body)
            : await copySynced(file, temporary, body)
        await this.#rename(temporary, target)
        return bytes
      })
    } finally {
      body.destroy()
    }
  }

  /**
   * Fsyncs only the target's directory. If a power cut brings the source's entry back, the object exists twice,
   * as after a move that failed midway. No object is lost.
   */
  async move(from: string, to: string): Promise<'moved' | 'gone'> {
    const source = this.#pathOf(from)
    const target = this.#pathOf(to)
    try {
      if (!(await isFile(source))) return 'gone'
      await this.#rename(source, target)
      return 'moved'
    } catch (cause) {
      if (isMissing(cause) && !(await isFile(source))) return 'gone'
      throw new StoreUnavailable(`${from} was not moved to ${to}: ${(cause as Error).message}`, { cause })
    }
  }

  moveAll(moves: readonly { readonly from: string; readonly to: string }[]): Promise<('moved' | 'gone')[]> {
    return Promise.all(moves.map(({ from, to }) => this.move(from, to)))
  }

  async remove(keys: readonly string[]): Promise<void> {
    const paths = keys.map(key => this.#pathOf(key))
    try {
      for (let at = 0; at < paths.length; at += REMOVALS_AT_ONCE_MAX)
        await Promise.all(
          paths.slice(at, at + REMOVALS_AT_ONCE_MAX).map(path => unlink(path).catch(ignoreMissing)),
        )
      const directories = new Set(paths.map(path => dirname(path)))
      await Promise.all([...directories].map(path => syncDirectory(path).catch(ignoreMissing)))
    } catch (cause) {
      const { message } = cause as Error
      throw new StoreUnavailable(`Not all ${keys.length} keys from ${keys[0]} on were removed: ${message}`, {
        cause,
      })
    }
  }

  /** A writer fsyncs the directory of the object, in `get` too: another process may have made it, and not fsynced yet. */
  async read(key: string, range?: ByteRange): Promise<ReadAnswer> {
    const path = this.#pathOf(key)
    return this.#reading(key, async () => {
      const opened = await this.#open(path)
      if (opened === undefined) return { object: undefined, date: undefined }
      const { file, size, mtimeMs } = opened
      try {
        const body = await readRange(file, size, range)
        if (!this.#isReader) await syncDirectory(dirname(path))
        return { object: { body, size, modifiedAt: Math.floor(mtimeMs) }, date: undefined }
      } finally {
        await file.close()
      }
    })
  }

  async get(key: string): Promise<Readable> {
    const path = this.#pathOf(key)
    const opened = await this.#reading(key, async () => {
      const found = await this.#open(path)
      if (found !== undefined && !this.#isReader)
        await syncDirectory(dirname(path)).catch(async error => {
          await found.file.close()
          throw error
        })
      return found
    })
    if (opened === undefined) throw new ObjectNotFound(key)
    const { file, size } = opened
    // A file at its path never changes. With its end the stream allocates no more than there is.
    return file.createReadStream({ end: Math.max(1, size) - 1, highWaterMark: READ_BYTES_MAX })
  }

  async *list(prefix: string): AsyncIterable<string> {
    try {
      yield* filesBelow(this.#root, '', prefix)
    } catch (cause) {
      throw new StoreUnavailable(`${this.#root} cannot be listed: ${(cause as Error).message}`, { cause })
    }
  }

  localPath(key: string): string {
    return this.#pathOf(key)
  }

  async close(): Promise<void> {}

  /** Removes temporary files that are older than a day. Younger ones may be in use by another process. */
  async removeAbandoned(): Promise<void> {
    const temporary = join(this.#root, TEMPORARY)
    for (const name of await readdir(temporary)) {
      const path = join(temporary, name)
      const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Number.POSITIVE_INFINITY }))
      if (Date.now() - mtimeMs > ABANDONED_MS_MIN) await rm(path, { force: true })
    }
  }

  /** Calls `work` with the path of a new temporary file, which it writes, and the target path, to which it moves it. */
  async #store<T>(key: string, work: (temporary: string, target: string) => Promise<T>): Promise<T> {
    const target = this.#pathOf(key)
    const temporary = join(this.#root, TEMPORARY, randomUUID())
    try {
      return await work(temporary, target)
    } catch (cause) {
      this.stats.failedPuts++
      throw new StoreUnavailable(`${key} was not stored: ${(cause as Error).message}`, { cause })
    } finally {
      await rm(temporary, { force: true }).catch(() => {})
    }
  }

  /** NFS may answer ENOENT although it has done the rename, if it received the request twice. */
  async #rename(source: string, target: string): Promise<void> {
    const stats = await stat(source)
    await this.#inDirectory(dirname(target), async () => {
      try {
        await rename(source, target)
      } catch (error) {
        if (!isMissing(error) || !(await isSameFile(stats, target))) throw error
      }
    })
    await syncDirectory(dirname(target))
  }

  /** Makes the directory, and calls `work`. If the directory was removed meanwhile, makes it again, and retries once. */
  async #inDirectory<T>(path: string, work: () => Promise<T>): Promise<T> {
    await this.#directories.make(path)
    try {
      return await work()
    } catch (error) {
      if (!isMissing(error)) throw error
      this.#directories.forget()
      await this.#directories.make(path)
      return work()
    }
  }

  /** @returns undefined if there is no such file. @throws the system's error if the archive itself does not exist */
  async #open(path: string): Promise<OpenedFile | undefined> {
    let file: FileHandle
    try {
      file = await open(path)
    } catch (error) {
      if (!isMissing(error)) throw error
      await access(this.#isReader ? this.#root : join(this.#root, TEMPORARY))
      return undefined
    }
    const stats = await file.stat()
    if (stats.isFile()) return { file, size: stats.size, mtimeMs: stats.mtimeMs }
    await file.close()
    return undefined
  }

  async #reading<T>(key: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (cause) {
      throw new StoreUnavailable(`${key} cannot be read: ${(cause as Error).message}`, { cause })
    }
  }

  #pathOf(key: string): string {
    const path = resolve(this.#root, key)
    const parts = relative(this.#root, path).split(sep)
    // Other spellings of a path (`a//b`, `/a`, `a/../b`) are refused: `list` would return another key.
    if (parts.join('/') !== key || key.includes('\0') || ['', '..', TEMPORARY].includes(parts[0] as string)) {
      throw new StoreUnavailable(`${key} is not a valid key of an object.`)
    }
    return path
  }
}

/** Yields keys in the order of their bytes. Does not read directories that cannot have keys with this prefix. */
async function* filesBelow(root: string, folder: string, prefix: string): AsyncIterable<string> {
  const entries = await readdir(join(root, folder), { withFileTypes: true })
  const names = entries.map(entry => (entry.isDirectory() ? `${entry.name}/` : entry.name))
  for (const name of names.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))) {
    const key = folder + name
    if (key === `${TEMPORARY}/` || !(key.startsWith(prefix) || prefix.startsWith(key))) continue
    if (name.endsWith('/')) yield* filesBelow(root, key, prefix)
    else if (key.startsWith(prefix)) yield key
  }
}

async function writeSynced(path: string, body: Buffer): Promise<void> {
  const file = await open(path, 'wx')
  try {
    await file.writeFile(body)
    await file.sync()
  } finally {
    await file.close()
  }
}

async function writeStreamSynced(path: string, body: Readable): Promise<number> {
  const file = createWriteStream(path, { flags: 'wx', flush: true })
  try {
    await pipeline(body, file)
    return file.bytesWritten
  } finally {
    // A stream that is destroyed while its file is being opened still makes the file. The caller removes it then.
    if (!file.closed) await new Promise<void>(resolve => file.once('close', resolve))
  }
}

/** @returns whether the link was made. NFS may answer EEXIST although it has made it, if it received the request twice */
async function linkNew(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    if (await isSameFile(await stat(from), to)) return true
    if (await isFile(to)) return false
    throw error
  }
}

async function readRange(file: FileHandle, size: number, range?: ByteRange): Promise<Buffer> {
  const { start, length } = range ?? { start: 0, length: size }
  const body = Buffer.allocUnsafe(Math.max(0, Math.min(length, size - start)))
  for (let at = 0; at < body.length; ) {
    const { bytesRead } = await file.read(body, at, body.length - at, start + at)
    if (bytesRead === 0) throw new Error(`the file ends ${body.length - at} bytes early`)
    at += bytesRead
  }
  return body
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile()
  } catch (error) {
    if (isMissing(error)) return false
    throw error
  }
}

async function isSameFile({ dev, ino }: Stats, path: string): Promise<boolean> {
  const other = await stat(path).catch(() => undefined)
  return other?.dev === dev && other.ino === ino
}

function isMissing(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException
  return code === 'ENOENT' || code === 'ENOTDIR'
}

function ignoreMissing(error: unknown): void {
  if (!isMissing(error)) throw error
}

interface DirectoryLocation {
  readonly path: string
  /** Named in errors. */
  readonly setting?: string
}

/** Opens a directory for writing, and makes it if it is missing. @throws ConfigInvalid if it cannot be written */
export async function openDirectoryStore({
  path,
  setting = 'ARCHIVE_URL',
}: DirectoryLocation): Promise<ObjectStore> {
  const store = new DirectoryStore(path)
  try {
    await store.check()
    await store.removeAbandoned()
  } catch (cause) {
    throw new ConfigInvalid(`${setting}: ${(cause as Error).message}`, { cause })
  }
  return store
}

/** Opens a directory for reading only. @throws ConfigInvalid if it does not exist or cannot be read */
export async function openDirectoryReader({
  path,
  setting = 'ARCHIVE_URL',
}: DirectoryLocation): Promise<StoreReader> {
  try {
    await readdir(path)
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    const reason =
      code === 'ENOENT'
        ? `there is no directory ${path}${setting === 'DATA_DIR' ? '. Name the archive, or set ARCHIVE_URL' : ''}`
        : `the archive ${path} cannot be read: ${(cause as Error).message}`
    throw new ConfigInvalid(`${setting}: ${reason}.`, { cause })
  }
  return new DirectoryStore(path, { isReader: true })
}
