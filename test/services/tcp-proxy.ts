/** A TCP proxy between a client and a server, on which a test makes the network fail. */
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { Transform, type TransformCallback } from 'node:stream'
import { freePort } from './ports.ts'

const THROTTLE_SLICE_MS = 20

/** The server to which the proxy connects. */
export interface TcpTarget {
  port: number
  /** @default '127.0.0.1' */
  host?: string
}

/**
 * Starts a proxy on a free port of 127.0.0.1. It does not keep the event loop alive. The port stays the same until
 * close(), also while the proxy refuses connections.
 */
export async function startTcpProxy(target: TcpTarget): Promise<TcpProxy> {
  const proxy = new TcpProxy(await freePort(), target)
  await proxy.accept()
  return proxy
}

export class TcpProxy {
  readonly port: number
  #target: TcpTarget
  #server: Server | undefined
  #sockets = new Set<Socket>()
  #gate = new Gate()

  constructor(port: number, target: TcpTarget) {
    this.port = port
    this.#target = target
  }

  /** Number of open connections from clients. */
  get connections(): number {
    return this.#sockets.size / 2
  }

  /** Resets all connections (RST), on both sides. New ones are still accepted. */
  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy()
  }

  /** Refuses new connections (ECONNREFUSED) from now on. Open connections stay. */
  async refuse(): Promise<void> {
    const server = this.#server
    if (server === undefined) return
    this.#server = undefined
    const handleClosed = new Promise(resolve => setImmediate(resolve))
    server.close()
    await handleClosed
  }

  /** Accepts new connections again. */
  async accept(): Promise<void> {
    if (this.#server !== undefined) return
    const server = createServer({ allowHalfOpen: true, noDelay: true }, client => this.#connect(client))
    server.listen(this.port, '127.0.0.1')
    server.unref()
    this.#server = server
    await once(server, 'listening')
  }

  /** Stops forwarding in both directions, and closes no connection, as if a cable were pulled out. */
  stall(): void {
    this.#gate.shut()
  }

  /** Forwards the bytes that came in since stall(), and then all others. */
  resume(): void {
    this.#gate.open()
  }

  /** Limits each direction of each connection. @param bytesPerSecond Infinity removes the limit @throws RangeError if it is not above 0 */
  throttle(bytesPerSecond: number): void {
    if (!(bytesPerSecond > 0))
      throw new RangeError('bytesPerSecond must be above 0. Use stall() to forward nothing.')
    this.#gate.bytesPerSecond = bytesPerSecond
  }

  /** Resets all connections and closes the port. Can be repeated. */
  async close(): Promise<void> {
    await this.refuse()
    this.cut()
    this.#gate.open()
  }

  #connect(client: Socket): void {
    const { port, host = '127.0.0.1' } = this.#target
    const server = connect({ port, host, allowHalfOpen: true, noDelay: true })
    this.#forward(client, server)
    this.#forward(server, client)
  }

  #forward(from: Socket, to: Socket): void {
    this.#sockets.add(from)
    from.on('error', () => to.resetAndDestroy())
    from.once('close', () => {
      this.#sockets.delete(from)
      if (!from.readableEnded) to.destroy()
    })
    from.pipe(this.#gate.passage()).pipe(to)
  }
}

/** The stall and the limit of all connections of a proxy. */
class Gate {
  bytesPerSecond = Number.POSITIVE_INFINITY
  #opened: Promise<void> | undefined
  #open = () => {}

  shut(): void {
    this.#opened ??= new Promise(resolve => {
      this.#open = resolve
    })
  }

  open(): void {
    this.#opened = undefined
    this.#open()
  }

  /** Returns a stream for one direction of one connection. */
  passage(): Transform {
    const transform = (chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback) => {
      this.#pass(chunk, passage).then(() => done(), done)
    }
    const flush = (done: TransformCallback) => {
      this.#passEnd().then(() => done(), done)
    }
    const passage = new Transform({ transform, flush })
    return passage
  }

  async #pass(chunk: Buffer, to: Transform): Promise<void> {
    for (let offset = 0; offset < chunk.length; ) {
      while (this.#opened !== undefined) await this.#opened
      const slice = chunk.subarray(offset, offset + this.#sliceBytes())
      offset += slice.length
      to.push(slice)
      const ms = (slice.length / this.bytesPerSecond) * 1_000
      if (ms > 0) await new Promise(resolve => setTimeout(resolve, ms).unref())
    }
  }

  async #passEnd(): Promise<void> {
    while (this.#opened !== undefined) await this.#opened
  }

  #sliceBytes(): number {
    return Math.max(1, Math.round((this.bytesPerSecond * THROTTLE_SLICE_MS) / 1_000))
  }
}
