import type { IncomingHttpHeaders, ServerResponse } from 'node:http'
import type { Readable } from 'node:stream'
import { BodiesTooMany } from './errors.ts'

/** A smaller body is no matter: there are at most as many as connections. */
const SMALL_BYTES_MAX = 8 * 1024

/** The request bodies that this process has in memory, until each request is answered. */
export class HeldBodies {
  readonly #bytesMax: number
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

  /** Counts what comes, until the response is closed; past the bound the body is destroyed with BodiesTooMany. */
  hold(body: Readable, response: ServerResponse): void {
    let own = 0
    body.on('data', (chunk: Buffer) => {
      own += chunk.length
      this.#bytes += chunk.length
      if (this.#bytes > this.#bytesMax) body.destroy(new BodiesTooMany())
    })
    response.once('close', () => {
      this.#bytes -= own
      own = 0
    })
  }
}
