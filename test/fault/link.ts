/**
 * The network between one process and a server: a TCP proxy that cuts, stalls and throttles, and that
 * can hold back what is on its way on some connections while others pass.
 *
 * Bytes that were sent arrive, in order, whatever becomes of the sender meanwhile: as in a network,
 * whose packets outlive who sent them. Only cut() loses bytes.
 */
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { Transform, type TransformCallback } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from '../services/ports.ts'

const THROTTLE_SLICE_MS = 20
const CONNECT_MS_MAX = 1_000
/** A round trip: the end of a stream is seldom in one packet with the last of it. */
const END_BEHIND_MS = 100
/** Of a connection that is held up: so much is on its way, and arrives though the sender is gone. */
const ON_ITS_WAY_BYTES_MAX = 8 * 1024 * 1024

/**
 * Starts a link to the first of `targets` that accepts connections.
 * @param preferred the index of the target to begin with; default: each time another
 */
export async function openLink(targets: readonly number[], preferred?: number): Promise<Link> {
  const link = new Link(await freePort(), targets, preferred)
  await link.listen()
  return link
}

export class Link {
  /** Where the process connects to, on 127.0.0.1. */
  readonly port: number
  readonly #targets: readonly number[]
  readonly #preferred: number | undefined
  readonly #server: Server
  readonly #connections = new Set<Connection>()
  readonly #cable = new Gate()
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
   * Resets all connections, on both sides; what was on its way is lost.
   * @returns how many there were
   */
  cut(): number {
    for (const connection of this.#connections) connection.reset()
    return this.#connections.size
  }

  /** Forwards nothing, and closes nothing, until the function that it returns is called. */
  stall(): () => void {
    this.#cable.shut()
    return () => this.#cable.open()
  }

  /** As stall(), but for the connections that are open now: new ones pass. */
  hold(): () => void {
    const held = [...this.#connections]
    for (const { gate } of held) gate.shut()
    return () => {
      for (const { gate } of held) gate.open()
    }
  }

  /** Limits each direction of each connection. @param bytesPerSecond Infinity ends the limit. */
  throttle(bytesPerSecond: number): void {
    this.#bytesPerSecond = bytesPerSecond
  }

  async close(): Promise<void> {
    const closed = new Promise(resolve => this.#server.close(resolve))
    this.cut()
    this.#cable.open()
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
    const passage = new Transform({ transform, flush, writableHighWaterMark: ON_ITS_WAY_BYTES_MAX })
    // A sender that is gone, however rudely, ends its stream behind what it had sent.
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
    await sleep(END_BEHIND_MS)
  }

  async #opened(gate: Gate): Promise<void> {
    while (gate.isShut || this.#cable.isShut) {
      await gate.opened
      await this.#cable.opened
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

/** Can be shut several times, and then has to be opened as often. */
class Gate {
  #shut = 0
  #opened: Promise<void> | undefined
  #open = () => {}

  get isShut(): boolean {
    return this.#shut > 0
  }

  /** Resolves when it is open. */
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
