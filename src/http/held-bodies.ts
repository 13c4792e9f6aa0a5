import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Readable } from 'node:stream'
import { BodiesTooMany } from '../errors.ts'

/** A smaller body is no matter: there are at most as many as connections. */
const SMALL_BYTES_MAX = 8 * 1024

/** The request bodies that this process has in memory, until each request is answered, or its connection is gone. */
export class HeldBodies {
  readonly #bytesMax: number
  /** Of each connection, how its bodies are let go. */
  readonly #releases = new WeakMap<Socket, Set<() => void>>()
  #bytes = 0

  /** @param bytesMax of all together */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  /** Whether a body is too small to be counted, by the headers of its request. */
  isSmall({
    'content-length': length = '0',
    'transfer-encoding': transferEncoding,
  }: IncomingHttpHeaders): boolean {
    return transferEncoding === undefined && Number(length) <= SMALL_BYTES_MAX
  }

  /** Counts what comes; past the bound the body is destroyed with BodiesTooMany. */
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

  /** A response that waits for those before it on its connection is not told when that closes. */
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
