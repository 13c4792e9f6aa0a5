/**
 * The network between a process and a server: a TCP proxy that cuts, stalls and throttles connections. It can
 * also hold back the bytes of some connections while others pass.
 *
 * Sent bytes arrive in order, also if the sender dies meanwhile, as packets in a network do. Only cut() loses
 * bytes.
 */
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { Transform, type TransformCallback } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from '../services/ports.ts'

const THROTTLE_SLICE_MS = 20
const CONNECT_MS_MAX = 1_000
/** Delay between the last byte of a stream and its end. In a network they are rarely in one packet. */
const END_DELAY_MS = 100
/** Bytes in transit on a held connection. They arrive also if the sender dies. */
const IN_TRANSIT_BYTES_MAX = 8 * 1024 * 1024

/**
 * Starts a link to the first of `targets` that accepts connections.
 *
 * @param preferred index of the target to try first; default: another one each time
 */
export async function openLink(targets: readonly number[], preferred?: number): Promise<Link> {
  const link = new Link(await freePort(), targets, preferred)
  await link.listen()
  return link
}

export class Link {
  /** The port on 127.0.0.1 that the process connects to. */
  readonly port: number
  readonly #targets: readonly number[]
  readonly #preferred: number | undefined
  readonly #server: Server
  readonly #connections = new Set<Connection>()
  readonly #linkGate = new Gate()
  #bytesPerSecond = Number.POSITIVE_INFINITY
  #turn = 0

  constructor(port: number, targets: readonly number[], preferred: number | undefined) {
    this.port = port
    this.#targets = targets
    this.#preferred = preferred
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, client => void this.#connect(client))
  }

  async listen(): Promise<void> {
    this.#server.listen(this.port, '127.0.0.1')
    await once(this.#server, 'listening')
  }

  /**
   * Resets all connections, on both sides. Bytes in transit are lost.
   *
   * @returns number of connections
   */
  cut(): number {
    for (const connection of this.#connections) connection.reset()
    return this.#connections.size
  }

  /** Forwards no byte, and closes no connection, until the returned function is called. */
  stall(): () => void {
    this.#linkGate.shut()
    return () => this.#linkGate.open()
  }

  /** Like stall(), for the currently open connections only. New connections pass. */
  hold(): () => void {
    const held = [...this.#connections]
    for (const { gate } of held) gate.shut()
    return () => {
      for (const { gate } of held) gate.open()
    }
  }

  /** Limits each direction of each connection. @param bytesPerSecond Infinity for no limit */
  throttle(bytesPerSecond: number): void {
    this.#bytesPerSecond = bytesPerSecond
  }

  async close(): Promise<void> {
    const closed = new Promise(resolve => this.#server.close(resolve))
    this.cut()
    this.#linkGate.open()
    await closed
  }

  async #connect(client: Socket): Promise<void> {
    client.on('error', () => {})
    const server = await this.#reach()
    if (server === undefined || client.destroyed) {
      client.resetAndDestroy()
      server?.destroy()
      return
    }
    const connection = new Connection(client, server)
    this.#connections.add(connection)
    const forward = (from: Socket, to: Socket) => from.pipe(this.#passage(from, connection.gate)).pipe(to)
    forward(client, server)
    forward(server, client)
    await Promise.all([closeOf(client), closeOf(server)])
    this.#connections.delete(connection)
  }

  async #reach(): Promise<Socket | undefined> {
    const first = this.#preferred ?? this.#turn++
    for (let attempt = 0; attempt < this.#targets.length; attempt++) {
      const port = this.#targets[(first + attempt) % this.#targets.length] as number
      const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
      socket.on('error', () => {})
      try {
        await once(socket, 'connect', { signal: AbortSignal.timeout(CONNECT_MS_MAX) })
        return socket
      } catch {
        socket.destroy()
      }
    }
    return undefined
  }

  #passage(from: Socket, gate: Gate): Transform {
    const transform = (chunk: Buffer, _: BufferEncoding, done: TransformCallback) => {
      this.#pass(chunk, gate, passage).then(() => done(), done)
    }
    const flush = (done: TransformCallback) => {
      this.#passEnd(gate).then(() => done(), done)
    }
    const passage = new Transform({ transform, flush, writableHighWaterMark: IN_TRANSIT_BYTES_MAX })
    // If the sender dies, its stream still ends after all bytes that it sent.
    from.once('close', () => passage.end())
    return passage
  }

  async #pass(chunk: Buffer, gate: Gate, to: Transform): Promise<void> {
    for (let offset = 0; offset < chunk.length; ) {
      await this.#opened(gate)
      const bytesMax = Math.max(1, Math.round((this.#bytesPerSecond * THROTTLE_SLICE_MS) / 1_000))
      const slice = chunk.subarray(offset, offset + bytesMax)
      offset += slice.length
      to.push(slice)
      const ms = (slice.length / this.#bytesPerSecond) * 1_000
      if (ms > 0) await sleep(ms)
    }
  }

  async #passEnd(gate: Gate): Promise<void> {
    await this.#opened(gate)
    await sleep(END_DELAY_MS)
  }

  async #opened(gate: Gate): Promise<void> {
    while (gate.isShut || this.#linkGate.isShut) {
      await gate.opened
      await this.#linkGate.opened
    }
  }
}

class Connection {
  readonly gate = new Gate()
  readonly #client: Socket
  readonly #server: Socket

  constructor(client: Socket, server: Socket) {
    this.#client = client
    this.#server = server
  }

  reset(): void {
    this.#client.resetAndDestroy()
    this.#server.resetAndDestroy()
    this.gate.open()
  }
}

/** A gate that is open again after as many open() as shut() calls. */
class Gate {
  #shut = 0
  #opened: Promise<void> | undefined
  #open = () => {}

  get isShut(): boolean {
    return this.#shut > 0
  }

  /** Resolves when the gate is open; undefined if it is open. */
  get opened(): Promise<void> | undefined {
    return this.#opened
  }

  shut(): void {
    this.#shut++
    this.#opened ??= new Promise(resolve => {
      this.#open = resolve
    })
  }

  open(): void {
    this.#shut = Math.max(0, this.#shut - 1)
    if (this.#shut > 0) return
    this.#opened = undefined
    this.#open()
  }
}

function closeOf(socket: Socket): Promise<void> {
  return new Promise(resolve => {
    if (socket.destroyed) resolve()
    else socket.once('close', () => resolve())
  })
}
