/**
 * An archive in a directory: an object is a file, and its key the path below the directory.
 *
 * An object is written to a file under `.incoming`, fsynced, and linked to its place, which fails where
 * there is something already; then the directory entry is fsynced too. So a file that is seen at its place is whole, and stays after a
 * power cut. What a crash left under `.incoming` is removed a day later.
 */

import { randomUUID } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { access, constants, link, mkdir, open, readdir, rm, stat } from 'node:fs/promises'
import { dirname, join, relative, resolve, sep } from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { ConfigInvalid, ObjectExists, ObjectNotFound, StoreUnavailable } from '../errors.ts'
import type { ObjectStore, StoreReader, StoreStats } from './store.ts'

const INCOMING = '.incoming'
const ABANDONED_MS_MIN = 24 * 60 * 60 * 1000

class DirectoryStore implements ObjectStore {
  readonly description: string
  readonly stats: StoreStats = { retries: 0, failedPuts: 0 }
  readonly #root: string

  constructor(root: string) {
    this.#root = root
    this.description = `directory ${root}`
  }

  async check(): Promise<void> {
    try {
      await mkdir(join(this.#root, INCOMING), { recursive: true })
      await access(join(this.#root, INCOMING), constants.W_OK)
    } catch (cause) {
      throw new StoreUnavailable(`The archive ${this.#root} cannot be written: ${(cause as Error).message}`, {
        cause,
      })
    }
  }

  async put(key: string, body: Readable): Promise<number> {
    const target = this.#pathOf(key)
    const incoming = join(this.#root, INCOMING, randomUUID())
    const file = createWriteStream(incoming, { flags: 'wx', flush: true })
    try {
      await pipeline(body, file)
      await makeDirectory(this.#root, dirname(target))
      await linkNew(incoming, target, key)
      await syncDirectory(dirname(target))
      return file.bytesWritten
    } catch (cause) {
      if (cause instanceof ObjectExists) throw cause
      this.stats.failedPuts++
      throw new StoreUnavailable(`${key} was not stored: ${(cause as Error).message}`, { cause })
    } finally {
      body.destroy()
      // A stream that was destroyed while its file was being opened makes the file nonetheless.
      if (!file.closed) await new Promise<void>(resolve => file.once('close', resolve))
      await rm(incoming, { force: true }).catch(() => {})
    }
  }

  async get(key: string): Promise<Readable> {
    const path = this.#pathOf(key)
    try {
      const file = await open(path)
      if ((await file.stat()).isFile()) return file.createReadStream()
      await file.close()
    } catch (cause) {
      const { code, message } = cause as NodeJS.ErrnoException
      if (code !== 'ENOENT' && code !== 'ENOTDIR')
        throw new StoreUnavailable(`${key} cannot be read: ${message}`, { cause })
    }
    throw new ObjectNotFound(key)
  }

  async *list(prefix: string): AsyncIterable<string> {
    try {
      yield* filesBelow(this.#root, '', prefix)
    } catch (cause) {
      throw new StoreUnavailable(`${this.#root} cannot be listed: ${(cause as Error).message}`, { cause })
    }
  }

  async close(): Promise<void> {}

  /** Clears what crashes left behind, but nothing that another process may still be writing. */
  async removeAbandoned(): Promise<void> {
    const incoming = join(this.#root, INCOMING)
    for (const name of await readdir(incoming)) {
      const path = join(incoming, name)
      const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Number.POSITIVE_INFINITY }))
      if (Date.now() - mtimeMs > ABANDONED_MS_MIN) await rm(path, { force: true })
    }
  }

  #pathOf(key: string): string {
    const path = resolve(this.#root, key)
    const parts = relative(this.#root, path).split(sep)
    // Another spelling of a path (`a//b`, `/a`, `a/../b`) would not be listed as it was stored.
    if (parts.join('/') !== key || ['', '..', INCOMING].includes(parts[0] as string)) {
      throw new StoreUnavailable(`${key} is no key of an object.`)
    }
    return path
  }
}

/** Depth first and sorted, so that keys come in their order; directories that `prefix` rules out are not read. */
async function* filesBelow(root: string, folder: string, prefix: string): AsyncIterable<string> {
  const entries = await readdir(join(root, folder), { withFileTypes: true })
  const names = entries.map(entry => (entry.isDirectory() ? `${entry.name}/` : entry.name))
  for (const name of names.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))) {
    const key = folder + name
    if (key === `${INCOMING}/` || !(key.startsWith(prefix) || prefix.startsWith(key))) continue
    if (name.endsWith('/')) yield* filesBelow(root, key, prefix)
    else if (key.startsWith(prefix)) yield key
  }
}

async function linkNew(from: string, to: string, key: string): Promise<void> {
  try {
    await link(from, to)
  } catch (error) {
    const isThere = (error as NodeJS.ErrnoException).code === 'EEXIST'
    if (isThere && (await stat(to)).isFile()) throw new ObjectExists(key)
    throw error
  }
}

/** Makes the directory, and makes each new entry on the way to it last. */
async function makeDirectory(root: string, path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true })
  if (first === undefined) return
  for (let at = path; at.startsWith(root); at = dirname(at)) {
    await syncDirectory(dirname(at))
    if (at === first) return
  }
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path)
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

/** @throws ConfigInvalid where the directory cannot be made or written. */
export async function openDirectoryStore({ path }: { path: string }): Promise<ObjectStore> {
  const store = new DirectoryStore(path)
  try {
    await store.check()
    await store.removeAbandoned()
  } catch (cause) {
    throw new ConfigInvalid(`ARCHIVE_URL: ${(cause as Error).message}`, { cause })
  }
  return store
}

/** @throws ConfigInvalid where there is no such directory, or none that may be read. */
export async function openDirectoryReader({ path }: { path: string }): Promise<StoreReader> {
  try {
    await readdir(path)
  } catch (cause) {
    throw new ConfigInvalid(`ARCHIVE_URL: the archive ${path} cannot be read: ${(cause as Error).message}`, {
      cause,
    })
  }
  return new DirectoryStore(path)
}
