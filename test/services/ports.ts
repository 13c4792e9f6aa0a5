import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'

// Below the range from which the kernel takes the ports of outgoing connections: a server that is
// stopped for a while finds its port free when it starts again.
const PORT_MIN = 20_000
const PORT_MAX = 30_000
const ATTEMPTS_MAX = 100
const CONNECT_TIMEOUT_MS = 1_000
const taken = new Set<number>()

/**
 * A TCP port that is free on 127.0.0.1, and that this process has not been given before.
 * @throws Error after a hundred ports that are in use
 */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
    const port = randomInt(PORT_MIN, PORT_MAX)
    if (taken.has(port) || !(await isFree(port))) continue
    taken.add(port)
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

/** Whether a server accepts connections on a port of 127.0.0.1. */
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
