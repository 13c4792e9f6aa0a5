/**
 * A directory for one process alone, on Linux and macOS, also among containers that share a volume.
 *
 * The holder listens on a Unix socket in the directory. The kernel closes the socket with its process,
 * however that ends, so no crash leaves a lock behind; and it tells processes of different containers
 * apart, as a file with a process id does not. A socket of a process that is gone stays as a file that
 * refuses connections. Taking its place is what needs care, when several processes want to.
 *
 * So places are numbered, and no place is ever taken over: `lock-1/s`, `lock-2/s`, … The last is the
 * lock, and whoever listens there has it. To take it:
 *
 *  1. Make a directory `lock~<random>`, and listen on a socket in it.
 *  2. Look for the last place, n. If its socket answers, another process has the lock.
 *  3. Rename the directory to `lock-<n+1>`. A name that is there already (and not empty) refuses this, so of
 *     several processes one gets it, with a socket that listens already; the others begin again at 2.
 *  4. Look again. If there is a place behind n+1, this process came too late: it begins again at 1.
 *  5. It has the lock, and removes all before its place. When it ends its place stays, and does not answer.
 *
 * Why that is exclusive: the last place, M, is never removed, since only 5 removes places, and only those
 * before one that is there; so whoever looks sees M or what is behind it, and M only grows. Say that P has
 * the lock, at g. At its step 4 nothing was behind g, so g was M. Somebody else has the lock only at a
 * greater number, and the first who made g+1 had found g, as the last place, not answering. It was P's
 * place that it found, and not an earlier one of the same number: places are removed only when there is
 * one behind them, and then g would not have been M for P. But P's place answers from before it has its
 * name until P ends. So P had ended.
 *
 * What may happen between the steps:
 *
 *  - P sleeps between 2 and 3, and meanwhile others take n+1 and n+2 and remove n+1. P gets the name
 *    n+1, sees n+2 in step 4, and goes. Nobody was misled, as all look at the last place.
 *  - P ends, or sleeps, between 3 and 4. Its place is the last, and answers for as long as P is there.
 *  - Somebody finds the last place, and it is removed before it is asked. It counts as one that does not
 *    answer; then there is a place behind it, and so 3 or 4 fails.
 *  - A holder removes the `lock~` directory of one that still tries. That one cannot listen there, or
 *    cannot rename it, begins again at 1, and finds the holder.
 *  - The machine ends. Whatever of all this was on disk, nobody listens any more.
 *
 * A process that is stopped, or too busy to accept, has the lock: the kernel accepts for it, and says on
 * Linux that the queue is full, and not that nobody is there. (macOS says the same for both: when 128
 * have asked and none was accepted.)
 */

import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises'
import { connect, createServer, type Server } from 'node:net'
import { dirname, join, relative } from 'node:path'
import { ConfigInvalid, DirectoryInUse } from '../errors.ts'

/** A Unix socket's path is at most this long (sun_path: 108 bytes on Linux, 104 on macOS, with the final zero). */
const SOCKET_PATH_BYTES_MAX = 103
const PLACE = /^lock-(\d{1,15})$/
const ATTEMPT_PREFIX = 'lock~'
const SOCKET = 's'
/** Each that fails means that another process got further; this is for a file system that does not keep its word. */
const ATTEMPTS_MAX = 1_000
/** What connecting says of a place where nobody is. */
const NOBODY = new Set<string | undefined>(['ECONNREFUSED', 'ENOENT', 'ENOTDIR', 'ENOTSOCK'])
/** What renaming says where another process was faster, or has removed what was to be renamed. */
const TOO_LATE = new Set<string | undefined>(['ENOTEMPTY', 'EEXIST', 'ENOENT', 'ENOTDIR'])

export interface DirectoryLock {
  release(): Promise<void>
}

/**
 * Takes a directory for this process alone, until it is released or the process ends.
 *
 * @throws DirectoryInUse where another process, or this one, holds the directory.
 */
export async function lockDirectory(path: string): Promise<DirectoryLock> {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    const server = await tryToLock(path)
    if (server === undefined) continue
    server.unref()
    return { release: () => closed(server) }
  }
  throw new DirectoryInUse()
}

/**
 * Makes a directory in DATA_DIR, and takes it for this process. Resolves to undefined where another
 * process has it.
 *
 * @throws ConfigInvalid where it cannot be made or written.
 */
export async function lockOwnDirectory(path: string): Promise<DirectoryLock | undefined> {
  try {
    await mkdir(path, { recursive: true })
    return await lockDirectory(path)
  } catch (cause) {
    if (cause instanceof DirectoryInUse) return undefined
    throw new ConfigInvalid(`DATA_DIR: ${path} cannot be used: ${(cause as Error).message}`, { cause })
  }
}

/** Resolves to undefined where another process has come between, and may be gone again. */
async function tryToLock(path: string): Promise<Server | undefined> {
  // Asked first, so that one who is refused leaves nothing to be removed.
  const last = await lastPlace(path)
  if (await isHeld(path, last)) throw new DirectoryInUse()
  const attempt = await mkdtemp(join(path, ATTEMPT_PREFIX))
  let server: Server | undefined
  try {
    server = await listen(shortest(join(attempt, SOCKET)))
    if (server === undefined) return undefined
    const own = await moveBehindLast(path, attempt)
    if (own !== undefined && (await lastPlace(path)) === own) {
      await removeBefore(path, own)
      return server
    }
    if (own !== undefined) await rm(placePath(path, own), { recursive: true, force: true })
    await abandon(attempt, server)
    return undefined
  } catch (error) {
    await abandon(attempt, server)
    throw error
  }
}

async function abandon(attempt: string, server: Server | undefined): Promise<void> {
  if (server !== undefined) await closed(server)
  await rm(attempt, { recursive: true, force: true })
}

/** Steps 2 and 3. Resolves to the place, or to undefined where another process got it. */
async function moveBehindLast(path: string, attempt: string): Promise<number | undefined> {
  const last = await lastPlace(path)
  if (await isHeld(path, last)) throw new DirectoryInUse()
  try {
    await rename(attempt, placePath(path, last + 1))
    return last + 1
  } catch (error) {
    if (TOO_LATE.has((error as NodeJS.ErrnoException).code)) return undefined
    throw error
  }
}

async function removeBefore(path: string, own: number): Promise<void> {
  const names = await readdir(path)
  const left = names.filter(name => {
    const place = placeOf(name)
    return place === undefined ? name.startsWith(ATTEMPT_PREFIX) : place < own
  })
  await Promise.all(left.map(name => rm(join(path, name), { recursive: true, force: true })))
}

/** 0 where there is none. */
async function lastPlace(path: string): Promise<number> {
  const names = await readdir(path)
  return names.reduce((last, name) => Math.max(last, placeOf(name) ?? 0), 0)
}

function placeOf(name: string): number | undefined {
  const number = PLACE.exec(name)?.[1]
  return number === undefined ? undefined : Number(number)
}

function placePath(path: string, place: number): string {
  return join(path, `lock-${place}`)
}

/** Resolves to undefined where its directory has been removed meanwhile. */
function listen(socketPath: string): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer(socket => socket.destroy())
    // Node says EACCES for a directory that is not there as well.
    server.once('error', error => (existsSync(dirname(socketPath)) ? reject(error) : resolve(undefined)))
    // Not through the primary of a cluster, which would keep it, and share it among the workers.
    server.listen({ path: socketPath, exclusive: true }, () => resolve(server))
  })
}

function closed(server: Server): Promise<void> {
  return new Promise(resolve => server.close(() => resolve()))
}

/** @throws what connecting says, where that leaves open whether somebody listens there. */
async function isHeld(path: string, place: number): Promise<boolean> {
  if (place === 0) return false
  const socket = connect(shortest(join(placePath(path, place), SOCKET)))
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve)
      socket.once('error', reject)
    })
    return true
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (NOBODY.has(code)) return false
    // Its queue of connections is full: somebody listens.
    if (code === 'EAGAIN') return true
    throw error
  } finally {
    socket.destroy()
  }
}

function shortest(path: string): string {
  const fromHere = relative(process.cwd(), path)
  const shorter = fromHere.length < path.length ? fromHere : path
  if (Buffer.byteLength(shorter) > SOCKET_PATH_BYTES_MAX) {
    throw new Error(`its path is longer than ${SOCKET_PATH_BYTES_MAX} bytes, which a lock in it cannot be`)
  }
  return shorter
}
