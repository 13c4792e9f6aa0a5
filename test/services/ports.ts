import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'

// The kernel gives outgoing connections ports above this range. So a stopped server finds its port free when it
// starts again.
const PORT_MIN = 20_000
const PORT_MAX = 30_000
const ATTEMPTS_MAX = 100
const CONNECT_TIMEOUT_MS = 1_000
const ANSWER_TIMEOUT_MS = 5_000
/** Ports that this process was given. */
const given = new Set<number>()

/**
 * Resolves to a TCP port of 127.0.0.1 that is free. No port is given twice in one process.
 * @throws Error if a hundred random ports are in use or given
 */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
    const port = randomInt(PORT_MIN, PORT_MAX)
    if (given.has(port) || !(await isFree(port))) continue
    given.add(port)
    return port
  }
  throw new Error(`No free port found in ${ATTEMPTS_MAX} attempts`)
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer()
  try {
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    return true
  } catch {
    return false
  } finally {
    server.close()
  }
}

/** Resolves to the status of the answer to a GET, or to undefined if none comes within five seconds. */
export async function statusOf(url: string): Promise<number | undefined> {
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) })
    await answer.arrayBuffer()
    return answer.status
  } catch {
    return undefined
  }
}

/** Resolves to whether a server accepts connections on a port of 127.0.0.1. */
export async function acceptsTcp(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect', { signal: AbortSignal.timeout(CONNECT_TIMEOUT_MS) })
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}
