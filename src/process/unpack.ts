/**
 * Writes files of the executable to disk, for what can be loaded only from there.
 *
 *     <parent>/<prefix>-<digest>/<name>   a file; only its owner may enter the directory
 *
 * Every use compares each file with its SHA-256, and writes it again if it differs. A file is written under another name
 * and renamed, so any number of processes may do the same at once, and none ever sees a part of a file.
 */

import { createHash, randomUUID } from 'node:crypto'
import { constants, createWriteStream, type Stats } from 'node:fs'
import { lstat, mkdir, open, readdir, realpath, rename, rm, utimes } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createBrotliDecompress } from 'node:zlib'
import { DigestStream } from './digest-stream.ts'

/** Directories of other versions, and files whose writer was killed, are removed when they were not used for this long. */
const UNUSED_MS_MAX = 60 * 60 * 1000
const CHUNK_BYTES = 256 * 1024
/** Write permission of the group and of others. */
const SHARED_WRITE = 0o022
const OTHERS_WRITE = 0o002
const STICKY = 0o1000

export interface PackedFile {
  readonly name: string
  /** Of the file as it is on disk, in hexadecimal. */
  readonly sha256: string
  /** The file, compressed with Brotli. */
  readonly packed: () => Uint8Array
}

/**
 * Makes sure that the files are on disk, whole and unchanged.
 *
 * @returns their directory
 * @throws Error if another user could change the files, or they cannot be written
 */
export async function unpack(files: readonly PackedFile[], parent: string, prefix: string): Promise<string> {
  const directory = join(parent, `${prefix}-${digestOf(files)}`)
  await mkdir(directory, { recursive: true, mode: 0o700 })
  await requireOwn(directory)
  for (const file of files) {
    const path = join(directory, file.name)
    if (!(await isUnchanged(path, file.sha256))) await write(file, directory)
  }
  const now = new Date()
  await utimes(directory, now, now)
  await removeUnused(parent, name => name.startsWith(`${prefix}-`) && join(parent, name) !== directory)
  await removeUnused(directory, name => name.startsWith('.'))
  return directory
}

function digestOf(files: readonly PackedFile[]): string {
  const hash = createHash('sha256')
  for (const { name, sha256 } of files) hash.update(`${name}\n${sha256}\n`)
  return hash.digest('hex').slice(0, 16)
}

/** @throws Error if another user could change the directory, or put another one in its place */
async function requireOwn(directory: string): Promise<void> {
  const stats = await lstat(directory)
  if (!stats.isDirectory()) throw new Error(`${directory} is not a directory. Remove it.`)
  if (!isOwn(stats) || (stats.mode & SHARED_WRITE) !== 0)
    throw new Error(`Other users may write ${directory}. Remove it.`)
  for (let path = dirname(await realpath(directory)); ; path = dirname(path)) {
    if (isExposed(await lstat(path)))
      throw new Error(`Other users may rename what is in ${path}. Take that permission from them.`)
    if (path === dirname(path)) return
  }
}

/** A group is trusted if it is that of this process, and not of root: Kubernetes gives volumes to such a group. */
function isExposed(stats: Stats): boolean {
  if (!isOwn(stats) && stats.uid !== 0) return true
  if ((stats.mode & STICKY) !== 0) return false
  const isOwnGroup = stats.gid === process.getegid?.() && process.geteuid?.() !== 0
  return (stats.mode & (isOwnGroup ? OTHERS_WRITE : SHARED_WRITE)) !== 0
}

function isOwn({ uid }: Stats): boolean {
  return uid === process.geteuid?.()
}

async function isUnchanged(path: string, sha256: string): Promise<boolean> {
  let file: Awaited<ReturnType<typeof open>>
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW)
  } catch {
    return false
  }
  try {
    const stats = await file.stat()
    // A hard link to a file of another user could be changed later.
    if (!stats.isFile() || !isOwn(stats) || stats.nlink !== 1 || (stats.mode & SHARED_WRITE) !== 0)
      return false
    const hash = createHash('sha256')
    const buffer = Buffer.allocUnsafe(CHUNK_BYTES)
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, CHUNK_BYTES)
      if (bytesRead === 0) return hash.digest('hex') === sha256
      hash.update(buffer.subarray(0, bytesRead))
    }
  } finally {
    await file.close()
  }
}

async function write({ name, sha256, packed }: PackedFile, directory: string): Promise<void> {
  const temporary = join(directory, `.${name}-${randomUUID()}`)
  const hashed = new DigestStream()
  try {
    await pipeline(
      Readable.from(chunksOf(packed())),
      createBrotliDecompress({ chunkSize: CHUNK_BYTES }),
      hashed,
      createWriteStream(temporary, { flags: 'wx', mode: 0o500 }),
    )
    if (hashed.sha256() !== sha256)
      throw new Error(`${name} in this executable is damaged. Install the executable again.`)
    await rename(temporary, join(directory, name))
  } finally {
    await rm(temporary, { force: true })
  }
}

function* chunksOf(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += CHUNK_BYTES) yield bytes.subarray(at, at + CHUNK_BYTES)
}

/** Failures have no effect: the next use tries again. */
async function removeUnused(directory: string, isCandidate: (name: string) => boolean): Promise<void> {
  for (const name of await readdir(directory).catch(() => [])) {
    if (!isCandidate(name)) continue
    const path = join(directory, name)
    const { mtimeMs } = await lstat(path).catch(() => ({ mtimeMs: Date.now() }))
    if (Date.now() - mtimeMs > UNUSED_MS_MAX) await rm(path, { recursive: true, force: true }).catch(() => {})
  }
}
