/**
 * An exclusive lock on a directory for one process. Works on Linux and macOS, and among containers that share
 * a volume.
 *
 * The holder listens on a Unix socket in the directory. The kernel closes the socket when the process ends,
 * however it ends, so a crash leaves no lock behind. A socket also tells processes of different containers
 * apart, which a file with a process id does not. After a crash the socket's file stays, and refuses
 * connections. Several processes may then want the lock, and only one of them may get it.
 *
 * The lock therefore has numbered places: `lock-1/s`, `lock-2/s`, … The place with the highest number is the
 * lock. The process that listens there holds it. No process ever takes over an existing place. To take the lock:
 *
 *  1. Make a directory `lock~<random>`, and listen on a socket in it.
 *  2. Find the last place, n. If its socket answers, another process holds the lock: give up.
 *  3. Rename the directory to `lock-<n+1>`. The rename fails if that name exists and is not empty, so only one
 *     process succeeds, and its socket listens already. The others remove their directories, and go back to step 1.
 *  4. Look again. If there is a place after n+1, this process is too late: it removes its place, and goes back to
 *     step 1.
 *  5. The process holds the lock. It removes all places before its own. When it ends, its place stays and does
 *     not answer.
 *
 * Why at most one process holds the lock:
 *
 *  - Let M be the last place. A place is removed only by steps 4 and 5, and only while a later place exists. So M
 *    is never removed, it only grows, and a process that looks finds M or a later place.
 *  - Let process P hold the lock at place g. In step 4 of P, no place was after g, so g was M.
 *  - Another process can hold the lock only at a place after g. The process that made g+1 had found place g as
 *    the last one, and g did not answer. That was the place of P, not an earlier place with the same number:
 *    an earlier g would have been removed only while a later place existed, and then g would not have been M
 *    for P.
 *  - The place of P answers from before it gets its name until P ends. So P had ended.
 *
 * What may happen between the steps:
 *
 *  - P sleeps between 2 and 3. Meanwhile others take n+1 and n+2, and remove n+1. P gets the name n+1, finds
 *    n+2 in step 4, and goes back to 1. No process is misled, because all look at the last place only.
 *  - P ends or sleeps between 3 and 4. Its place is the last one, and answers until P ends.
 *  - A process finds the last place, and the place is removed before the process connects to it. The place
 *    counts as not answering. A later place exists then, so step 3 or 4 fails.
 *  - A holder removes the `lock~` directory of a process that is still trying. That process cannot listen there,
 *    or cannot rename it. It goes back to 1, and finds the holder.
 *  - The machine loses power. Whatever is on disk, no process listens any more.
 *
 * A process that is stopped, or too busy to accept, still holds the lock: the kernel accepts for it. If the
 * socket's queue is full, Linux says so with an error of its own (EAGAIN). macOS does not: when 128 connections
 * wait unaccepted, it answers as if no process listened.
 */

import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { connect, createServer, type Server } from 'node:net'
import { hostname } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { ConfigInvalid, DirectoryInUse } from '../errors.ts'

/** Limit of a Unix socket's path (`sun_path`: 108 bytes on Linux, 104 on macOS, both with the final zero byte). */
const SOCKET_PATH_BYTES_MAX = 103
const PLACE = /^lock-(\d{1,15})$/
const ATTEMPT_PREFIX = 'lock~'
const SOCKET = 's'
/** Beside the socket, for people: which process has the lock. */
const HOLDER = 'holder'
/** Each failed attempt means that another process got further. The bound is for a broken file system. */
const ATTEMPTS_MAX = 1_000
/** Errors of `connect` that mean: no process listens at that place. */
const NOT_LISTENING_CODES = new Set<string | undefined>(['ECONNREFUSED', 'ENOENT', 'ENOTDIR', 'ENOTSOCK'])
/** Errors of `rename` that mean: another process was faster, or has removed the source. */
const TOO_LATE_CODES = new Set<string | undefined>(['ENOTEMPTY', 'EEXIST', 'ENOENT', 'ENOTDIR'])

export interface DirectoryLock {
  release(): Promise<void>
}

/**
 * Takes a directory for this process alone, until it is released or the process ends.
 *
 * @throws DirectoryInUse if another process, or this one, holds the directory.
 */
export async function lockDirectory(path: string): Promise<DirectoryLock> {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    const server = await attemptLock(path)
    if (server === undefined) continue
    server.unref()
    return { release: () => closed(server) }
  }
  throw new DirectoryInUse()
}

/**
 * Makes a directory in DATA_DIR, and takes it for this process.
 *
 * @returns undefined if another process holds the directory.
 * @throws ConfigInvalid if the directory cannot be made or written.
 */
export async function lockOwnDirectory(path: string): Promise<DirectoryLock | undefined> {
  requireLockablePath(path)
  try {
    await mkdir(path, { recursive: true })
    return await lockDirectory(path)
  } catch (cause) {
    if (cause instanceof DirectoryInUse) return undefined
    throw new ConfigInvalid(`DATA_DIR: ${path} cannot be used: ${(cause as Error).message}`, { cause })
  }
}

/** The process that holds a directory, for people: `process 4711 on rack-3`, or `another process` if it is not known. */
export async function holderOf(path: string): Promise<string> {
  try {
    const holder = await readFile(join(placePath(path, await lastPlace(path)), HOLDER), 'utf8')
    return holder.trim() || 'another process'
  } catch {
    return 'another process'
  }
}

/** Makes nothing. @throws ConfigInvalid if the directory's path is too long for a lock in it */
export function requireLockablePath(path: string): void {
  try {
    shortest(join(path, `${ATTEMPT_PREFIX}XXXXXX`, SOCKET))
  } catch (cause) {
    throw new ConfigInvalid(`DATA_DIR: ${path} cannot be used: ${(cause as Error).message}.`, { cause })
  }
}

/**
 * Steps 1 to 5, once.
 *
 * @returns undefined if another process was faster. It may have ended since, so try again.
 * @throws DirectoryInUse if another process holds the lock.
 */
async function attemptLock(path: string): Promise<Server | undefined> {
  // A first look before step 1: a process that is refused here leaves no directory behind.
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
      // Not before: a file that comes into an attempt while the holder removes that would make its removal fail. A full disk
      // can be locked, too.
      await writeFile(join(placePath(path, own), HOLDER), `process ${process.pid} on ${hostname()}\n`).catch(
        () => {},
      )
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

/** Steps 2 and 3. @returns the new place; undefined if another process got it */
async function moveBehindLast(path: string, attempt: string): Promise<number | undefined> {
  const last = await lastPlace(path)
  if (await isHeld(path, last)) throw new DirectoryInUse()
  try {
    await rename(attempt, placePath(path, last + 1))
    return last + 1
  } catch (error) {
    if (TOO_LATE_CODES.has((error as NodeJS.ErrnoException).code)) return undefined
    throw error
  }
}

async function removeBefore(path: string, own: number): Promise<void> {
  const names = await readdir(path)
  const obsolete = names.filter(name => {
    const place = placeOf(name)
    return place === undefined ? name.startsWith(ATTEMPT_PREFIX) : place < own
  })
  await Promise.all(obsolete.map(name => rm(join(path, name), { recursive: true, force: true })))
}

/** @returns 0 if there is no place */
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

/** @returns undefined if another process has removed the socket's directory */
function listen(socketPath: string): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer(socket => socket.destroy())
    // Node answers EACCES also if the directory does not exist.
    server.once('error', error => (existsSync(dirname(socketPath)) ? reject(error) : resolve(undefined)))
    // `exclusive`: otherwise the primary of a cluster would own the socket, and share it among the workers.
    server.listen({ path: socketPath, exclusive: true }, () => resolve(server))
  })
}

function closed(server: Server): Promise<void> {
  return new Promise(resolve => server.close(() => resolve()))
}

/** @throws the error of `connect` if it does not tell whether a process listens */
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
    if (NOT_LISTENING_CODES.has(code)) return false
    // The socket's queue of connections is full: a process listens.
    if (code === 'EAGAIN') return true
    throw error
  } finally {
    socket.destroy()
  }
}

/** The absolute or the relative path, whichever is shorter. @throws Error if both are too long for a socket */
function shortest(path: string): string {
  const fromHere = relative(process.cwd(), path)
  const shorter = fromHere.length < path.length ? fromHere : path
  if (Buffer.byteLength(shorter) > SOCKET_PATH_BYTES_MAX) {
    throw new Error(
      `the path of the lock in it would be longer than the ${SOCKET_PATH_BYTES_MAX} bytes that a socket's path may have. Use a shorter path`,
    )
  }
  return shorter
}
