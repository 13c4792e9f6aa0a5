/**
 * Everything that depends on how rabbitmq-client works inside: members that it marks internal, and the order in
 * which it emits events. package.json pins the version. After an update, read each part below against the
 * library's source (https://github.com/cody-greene/node-rabbitmq-client): client-internals.test.ts checks them.
 */

import type { Socket } from 'node:net'
import type { Channel, Connection } from 'rabbitmq-client'

/** The version that this file was written for. */
export const CLIENT_VERSION = '5.0.8'

interface ConnectionInternals {
  readonly _socket: Socket
  /** `hasRead`: whether a frame was read since the heartbeat timer last looked. `frameMax`: as negotiated, in bytes. */
  readonly _state: { hasRead: boolean; readonly frameMax: number }
  /** A new channel takes its frame size from here. */
  readonly _opt: { frameMax: number }
}

function internalsOf(connection: Connection): ConnectionInternals {
  return connection as unknown as ConnectionInternals
}

/** The current socket of a connection. After a reconnect it is another one. */
export function socketOf(connection: Connection): Socket {
  return internalsOf(connection)._socket
}

/**
 * Resets the heartbeat timer, as if a frame had been read. While reading is paused, the timer would otherwise
 * take the silence for a dead broker.
 */
export function resetHeartbeat(connection: Connection): void {
  internalsOf(connection)._state.hasRead = true
}

/**
 * Gives new channels the frame size that was negotiated. A broker may accept only smaller frames than the client
 * asks for. The library agrees to the smaller size, but its channels split and join bodies by the size that it
 * asked for. To be called on each `connection` event.
 */
export function useNegotiatedFrameSize(connection: Connection): void {
  const { _opt, _state } = internalsOf(connection)
  _opt.frameMax = _state.frameMax
}

interface HeaderFrame {
  readonly fields: { contentEncoding?: string }
}

interface ChannelInternals {
  _onHeader(frame: HeaderFrame): void
}

/**
 * Makes a channel deliver bodies as bytes. If a message has a content type and no content encoding, the library
 * parses the body, and JSON numbers lose digits. It reads the encoding after the last body frame, so this sets
 * the encoding `identity` when the header frame arrives.
 */
export function deliverRawBodies(channel: Channel): void {
  const internals = channel as unknown as ChannelInternals
  const onHeader = internals._onHeader.bind(channel)
  internals._onHeader = frame => {
    frame.fields.contentEncoding ||= 'identity'
    onHeader(frame)
  }
}

/** The body of a message from such a channel. @throws TypeError if the library has parsed it */
export function rawBody(body: unknown): Buffer {
  if (!Buffer.isBuffer(body))
    throw new TypeError('rabbitmq-client has parsed a body. Use its pinned version.')
  return body
}

/**
 * Waits for `basic.return` events. RabbitMQ returns a `mandatory` message that no queue takes, and then confirms
 * it. The library resolves the confirm at once, but emits the return by `setImmediate`. So a confirm counts only if
 * the message was not returned by the time `passed()` resolves.
 */
export class ReturnBarrier {
  #passed: Promise<void> | undefined

  /**
   * Resolves once every return is emitted that was read before the last confirm of this turn of the event loop.
   *
   * All confirms of a turn share one promise. It takes two turns, because a return may be read between two of these
   * confirms. It is then emitted after the first `setImmediate` here.
   */
  passed(): Promise<void> {
    this.#passed ??= new Promise(resolve => {
      setImmediate(() => {
        this.#passed = undefined
        setImmediate(resolve)
      })
    })
    return this.#passed
  }
}

/**
 * Bytes that a shut gate lets through at each interval, so that the broker's writes make progress: RabbitMQ closes
 * a connection if one write takes 30 seconds (`send_timeout`). Linux wakes a sender once a third of its send
 * buffer (at most 4 MiB) is free. In 30 seconds about twice that passes.
 */
const TRICKLE_BYTES = 512 * 1024
const TRICKLE_EVERY_MS = 5_000
/** Bytes that pass a gate from `shut` to `open`, at most. After that the broker may close the connection. */
const SHUT_BYTES_MAX = 32 * 1024 * 1024

/**
 * Back-pressure on a socket, which the library lacks: a prefetch counts messages, not bytes. The library reads by
 * `socket.read()` on each `readable` event. While the gate is shut, `read()` answers as if the socket was empty.
 * Then its buffer fills, the kernel's receive window closes, and the broker stops sending.
 *
 * A shut gate lets a few bytes through. The broker closes a connection on which nothing moves, and would redeliver
 * every unacknowledged message; with a slow store no batch would ever complete.
 */
export class SocketGate {
  readonly #socket: Socket
  #isShut = false
  /** Bytes that may still pass in this interval. */
  #allowance = 0
  /** Bytes that were allowed since `shut`. */
  #trickled = 0
  #trickle: NodeJS.Timeout | undefined

  constructor(socket: Socket) {
    this.#socket = socket
    const read = socket.read.bind(socket)
    socket.read = size => {
      if (this.#isShut && socket.readable && this.#allowance <= 0) return null
      const bytes = read(size)
      this.#allowance -= bytes?.length ?? 0
      return bytes
    }
    socket.once('close', () => this.open())
  }

  shut(): void {
    if (this.#isShut) return
    this.#isShut = true
    this.#allowance = 0
    this.#trickled = 0
    this.#trickle = setInterval(() => this.#letThrough(TRICKLE_BYTES), TRICKLE_EVERY_MS)
  }

  open(): void {
    if (!this.#isShut) return
    this.#isShut = false
    clearInterval(this.#trickle)
    this.#socket.emit('readable')
  }

  #letThrough(bytes: number): void {
    if (this.#trickled >= SHUT_BYTES_MAX) return
    this.#trickled += bytes
    this.#allowance = bytes
    this.#socket.emit('readable')
  }
}
