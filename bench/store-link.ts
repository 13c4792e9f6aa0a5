/**
 * A TCP proxy between one archiver and its store. It limits the bytes a second in each direction for all connections
 * together (the proxies of the tests limit each connection), and delays answers. It forwards bytes as they come: parsing
 * whole requests would take more CPU time than some archivers.
 */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { Transform, type TransformCallback } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'

const SLICE_BYTES = 32 * 1024
/** The part of a chunk in which a request line and the headers are searched. */
const REQUEST_CHARS_MAX = 2_000
const REQUEST_LINE = /^(GET|PUT|POST|DELETE|HEAD) (\/\S*)/
const COPY_HEADER = /\r\nx-amz-copy-source:/i

export interface StoreLinkOptions {
  /** Limit of each direction. @default none */
  readonly bytesPerSecond?: number
  /** Delay of each answer. @default 0 */
  readonly delayMs?: number
}

/** Number and bytes of the requests of one kind, with headers. */
export interface Traffic {
  requests: number
  bytesUp: number
  bytesDown: number
}

export interface StoreLink {
  /** Of the form http://127.0.0.1:PORT */
  readonly endpoint: string
  /** Number of forwarded requests. */
  readonly requests: number
  /** Traffic by the kind of the request, for example `PUT record`. */
  readonly traffic: ReadonlyMap<string, Traffic>
  close(): Promise<void>
}

/** Starts a proxy on a free port of 127.0.0.1. @param endpoint of the store, of the form http://127.0.0.1:PORT */
export async function openStoreLink(endpoint: string, options: StoreLinkOptions = {}): Promise<StoreLink> {
  const { bytesPerSecond = Number.POSITIVE_INFINITY, delayMs = 0 } = options
  const port = Number(new URL(endpoint).port)
  const sockets = new Set<Socket>()
  const traffic = new Map<string, Traffic>()
  const [up, down] = [new Lane(bytesPerSecond, 0), new Lane(bytesPerSecond, delayMs)]
  const server = createServer({ allowHalfOpen: true, noDelay: true }, client => {
    let current: Traffic = { requests: 0, bytesUp: 0, bytesDown: 0 }
    const countUp = (chunk: Buffer): void => {
      const kind = kindOf(chunk.toString('latin1', 0, REQUEST_CHARS_MAX))
      if (kind !== undefined) {
        current = traffic.get(kind) ?? { requests: 0, bytesUp: 0, bytesDown: 0 }
        traffic.set(kind, current)
        current.requests++
      }
      current.bytesUp += chunk.length
    }
    const countDown = (chunk: Buffer): void => {
      current.bytesDown += chunk.length
    }
    const far = connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
    for (const [from, to, lane, count] of [
      [client, far, up, countUp],
      [far, client, down, countDown],
    ] as const) {
      sockets.add(from)
      from.on('error', () => to.destroy())
      from.once('close', () => {
        sockets.delete(from)
        if (!from.readableEnded) to.destroy()
      })
      from.pipe(lane.passage(count)).pipe(to)
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    traffic,
    get requests() {
      return [...traffic.values()].reduce((sum, { requests }) => sum + requests, 0)
    },
    async close() {
      const closed = once(server, 'close')
      server.close()
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}

/** Returns the kind of the request at the beginning of a chunk, or undefined if no request begins there. */
function kindOf(head: string): string | undefined {
  const [, method, path = ''] = REQUEST_LINE.exec(head) ?? []
  if (method === undefined) return undefined
  const [, kind] = /\/_frequency\/(\w+)/.exec(path) ?? []
  const what = kind ?? (/\/dt(?:=|%3D)/i.test(path) ? 'object' : 'bucket')
  return COPY_HEADER.test(head) ? `COPY to ${what}` : `${method} ${what}`
}

/** The limit and the delay of one direction. The connections share it. */
class Lane {
  readonly #bytesPerSecond: number
  readonly #delayMs: number
  #freeAt = 0

  constructor(bytesPerSecond: number, delayMs: number) {
    this.#bytesPerSecond = bytesPerSecond
    this.#delayMs = delayMs
  }

  /** Returns a stream for one connection. @param count called with each chunk */
  passage(count: (chunk: Buffer) => void): Transform {
    const passage = new Transform({
      transform: (chunk: Buffer, _: BufferEncoding, done: TransformCallback) => {
        count(chunk)
        this.#pass(chunk, passage).then(() => done(), done)
      },
      // The end comes after the delayed chunks: timers of the same duration fire in order.
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
