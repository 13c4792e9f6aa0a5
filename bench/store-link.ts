/**
 * The way from one archiver to its store: of so many bytes a second in each direction, whatever the number of
 * connections (the links of the tests limit each connection), and with answers that come later. Bytes pass as they
 * come: reading whole requests would take more time than some archivers do.
 */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { Transform, type TransformCallback } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'

const SLICE_BYTES = 32 * 1024
const REQUEST_LINE = /^(?:GET|PUT|POST|DELETE|HEAD) \//

export interface StoreLinkOptions {
  /** @default no limit */
  readonly bytesPerSecond?: number
  /** How much later an answer comes. @default 0 */
  readonly delayMs?: number
}

export interface StoreLink {
  /** Of the form http://127.0.0.1:PORT */
  readonly endpoint: string
  /** Requests that have passed. */
  readonly requests: number
  close(): Promise<void>
}

/** @param endpoint of the store, of the form http://127.0.0.1:PORT */
export async function openStoreLink(endpoint: string, options: StoreLinkOptions = {}): Promise<StoreLink> {
  const { bytesPerSecond = Number.POSITIVE_INFINITY, delayMs = 0 } = options
  const port = Number(new URL(endpoint).port)
  const sockets = new Set<Socket>()
  const [up, down] = [new Lane(bytesPerSecond, 0), new Lane(bytesPerSecond, delayMs)]
  const server = createServer({ allowHalfOpen: true, noDelay: true }, client => {
    const far = connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
    for (const [from, to, lane] of [
      [client, far, up],
      [far, client, down],
    ] as const) {
      sockets.add(from)
      from.on('error', () => to.destroy())
      from.once('close', () => {
        sockets.delete(from)
        if (!from.readableEnded) to.destroy()
      })
      from.pipe(lane.passage()).pipe(to)
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get requests() {
      return up.requests
    },
    async close() {
      const closed = once(server, 'close')
      server.close()
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}

/** One direction: what passes is due one after the other. */
class Lane {
  /** Chunks that begin as a request does. */
  requests = 0
  readonly #bytesPerSecond: number
  readonly #delayMs: number
  #freeAt = 0

  constructor(bytesPerSecond: number, delayMs: number) {
    this.#bytesPerSecond = bytesPerSecond
    this.#delayMs = delayMs
  }

  passage(): Transform {
    const passage = new Transform({
      transform: (chunk: Buffer, _: BufferEncoding, done: TransformCallback) => {
        if (REQUEST_LINE.test(chunk.toString('latin1', 0, 8))) this.requests++
        this.#pass(chunk, passage).then(() => done(), done)
      },
      // Behind all that is still delayed: timers of one duration fire in their order.
      flush: done => {
        if (this.#delayMs === 0) done()
        else setTimeout(done, this.#delayMs)
      },
    })
    return passage
  }

  async #pass(chunk: Buffer, to: Transform): Promise<void> {
    if (this.#delayMs > 0) {
      setTimeout(() => to.push(chunk), this.#delayMs)
      return
    }
    if (this.#bytesPerSecond === Number.POSITIVE_INFINITY) {
      to.push(chunk)
      return
    }
    for (let at = 0; at < chunk.length; at += SLICE_BYTES) {
      const slice = chunk.subarray(at, at + SLICE_BYTES)
      const now = performance.now()
      this.#freeAt = Math.max(now, this.#freeAt) + (slice.length / this.#bytesPerSecond) * 1_000
      const ms = this.#freeAt - now
      if (ms >= 1) await sleep(ms)
      to.push(slice)
    }
  }
}
