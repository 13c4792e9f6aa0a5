import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Readable } from 'node:stream'
import { BodiesTooMany } from '../errors.ts'

/** Bodies up to this size are not counted: CONNECTIONS_MAX already limits their number. */
const SMALL_BYTES_MAX = 8 * 1024

/**
 * Counts the bytes of request bodies that this process has in memory, and limits them. A body counts until its request
 * is answered or its connection is closed.
 */
export class HeldBodies {
  readonly #bytesMax: number
  /** For each connection, the functions that stop counting its bodies. */
  readonly #releases = new WeakMap<Socket, Set<() => void>>()
  #bytes = 0

  /** @param bytesMax limit for all bodies together */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  /** Whether the request's headers show a body that is too small to be counted. */
  isSmall({
    'content-length': length = '0',
    'transfer-encoding': transferEncoding,
  }: IncomingHttpHeaders): boolean {
    return transferEncoding === undefined && Number(length) <= SMALL_BYTES_MAX
  }

  /** Counts the bytes of a body as they arrive. Above the limit, destroys the body with BodiesTooMany. */
  hold(body: Readable, { socket }: IncomingMessage, response: ServerResponse): void {
    let own = 0
    let isHeld = true
    body.on('data', (chunk: Buffer) => {
      if (!isHeld) return
      own += chunk.length
      this.#bytes += chunk.length
      if (this.#bytes > this.#bytesMax) body.destroy(new BodiesTooMany())
    })
    const releases = this.#releasesOf(socket)
    const release = (): void => {
      isHeld = false
      this.#bytes -= own
      own = 0
      releases.delete(release)
    }
    releases.add(release)
    response.once('close', release)
  }

  /**
   * Node emits no `close` for a pipelined response that still waits its turn, so the socket's `close` is used as
   * well.
   */
  #releasesOf(socket: Socket): Set<() => void> {
    const known = this.#releases.get(socket)
    if (known !== undefined) return known
    const releases = new Set<() => void>()
    this.#releases.set(socket, releases)
    socket.once('close', () => {
      for (const release of releases) release()
    })
    return releases
  }
}
