import { rm } from 'node:fs/promises'
import { connect, createServer, type Server } from 'node:net'
import { join, relative } from 'node:path'
import { DirectoryInUse } from './errors.ts'

/** A Unix socket's path is at most this long (sun_path: 108 bytes on Linux, 104 on macOS, with the final zero). */
const SOCKET_PATH_BYTES_MAX = 103

export interface DirectoryLock {
  release(): Promise<void>
}

/**
 * Takes a directory for this process alone, by listening on a Unix socket in it. The kernel closes the
 * socket with its process, however that ends, so a lock is never left behind by a crash; and it tells
 * processes of different containers apart, as a file with a process id does not.
 *
 * @throws DirectoryInUse where another process holds the directory.
 */
export async function lockDirectory(path: string): Promise<DirectoryLock> {
  const socketPath = shortest(join(path, 'lock'))
  const server = (await listen(socketPath)) ?? (await takeOver(socketPath))
  if (server === undefined) throw new DirectoryInUse()
  server.unref()
  return { release: () => new Promise(resolve => server.close(() => resolve())) }
}

async function takeOver(socketPath: string): Promise<Server | undefined> {
  if (await answers(socketPath)) return undefined
  await rm(socketPath, { force: true })
  return listen(socketPath)
}

/** Resolves to undefined where the path exists already. */
function listen(socketPath: string): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer(socket => socket.destroy())
    server.once('error', (error: NodeJS.ErrnoException) =>
      error.code === 'EADDRINUSE' ? resolve(undefined) : reject(error),
    )
    server.listen(socketPath, () => resolve(server))
  })
}

function answers(socketPath: string): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(socketPath)
    socket.once('connect', () => resolve(true))
    socket.once('error', () => resolve(false))
    socket.once('close', () => socket.destroy())
  })
}

function shortest(path: string): string {
  const fromHere = relative(process.cwd(), path)
  const shorter = fromHere.length < path.length ? fromHere : path
  if (Buffer.byteLength(shorter) > SOCKET_PATH_BYTES_MAX) {
    throw new Error(`its path is longer than ${SOCKET_PATH_BYTES_MAX} bytes, which a lock in it cannot be`)
  }
  return shorter
}
