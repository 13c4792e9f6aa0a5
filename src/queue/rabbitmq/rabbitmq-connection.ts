/**
 * Keeps one channel to RabbitMQ open, on a connection of its own.
 *
 *   connecting ──► setting up ──► open ──► lost ──► connecting …
 *
 * The client library reconnects the connection by itself; the connection opens the channel again and runs
 * `setUp` on it. A connection that was never open and that the broker turns away for good (a wrong password,
 * a queue declared otherwise) is refused, since only a person can mend that; once it has been open,
 * the same is taken for something that may pass, and tried again.
 */

import type { Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { AMQPError, type Channel, Connection } from 'rabbitmq-client'
import { createDeferred } from '../../process/deferred.ts'
import type { Logger } from '../../process/logger.ts'

const RETRY_MS_MIN = 200
const RETRY_MS_MAX = 5_000
const HEARTBEAT_S = 30
/** The frame size that RabbitMQ offers by default; larger bodies are cut into frames of it. */
const FRAME_BYTES_MAX = 131_072
const CLOSE_MS_MAX = 2_000
/** A broker that has just been started may take a declaration, and never answer it. */
const SET_UP_MS_MAX = 15_000
/** The broker's answers to a login or a declaration that no waiting will mend. */
const FINAL_CODES = new Set(['ACCESS_REFUSED', 'NOT_ALLOWED', 'PRECONDITION_FAILED'])

export interface LinkOptions {
  readonly url: string
  /** Shown in RabbitMQ's list of connections. */
  readonly name: string
  readonly log: Logger
  setUp(channel: Channel): Promise<void>
  /** The channel that was open is gone, with all that was under way on it. */
  lost(): void
}

/**
 * What the library marks internal and we reach for: it has no back-pressure for consumers, because a
 * prefetch counts messages and not bytes.
 */
interface ConnectionInternals {
  readonly _socket?: Socket
  /** `hasRead`: whether anything came since the heartbeat timer last looked. */
  readonly _state?: { hasRead: boolean; readonly frameMax: number }
  /** Channels take their frame size from here. */
  readonly _opt?: { frameMax: number }
}

export class RabbitmqConnection {
  readonly #options: LinkOptions
  readonly #connection: Connection
  readonly #closing = new AbortController()
  readonly #running: Promise<void>
  readonly #firstAnswer = createDeferred()
  #channel: Channel | undefined
  #trouble: string | undefined = 'not connected yet'
  #blockedBy: string | undefined
  #hasBeenOpen = false

  constructor(options: LinkOptions) {
    this.#options = options
    this.#connection = new Connection({
      url: options.url,
      connectionName: options.name,
      heartbeat: HEARTBEAT_S,
      frameMax: FRAME_BYTES_MAX,
      acquireTimeout: 3_600_000,
      retryLow: RETRY_MS_MIN,
      retryHigh: RETRY_MS_MAX,
      noDelay: true,
    })
    this.#connection.on('error', error => this.#failed(error))
    this.#connection.on('connection.blocked', reason => {
      this.#blockedBy = `RabbitMQ blocks publishers: ${reason}`
      this.#options.log.warn({ reason }, 'RabbitMQ blocks publishers.')
    })
    this.#connection.on('connection.unblocked', () => {
      this.#blockedBy = undefined
      this.#options.log.info('RabbitMQ takes messages again.')
    })
    this.#connection.on('connection', () => this.#agreeOnFrames())
    this.#running = this.#keepOpen()
  }

  /** The open channel, or undefined while there is none. */
  get channel(): Channel | undefined {
    return this.#channel
  }

  get trouble(): string | undefined {
    return this.#trouble ?? this.#blockedBy
  }

  /** The connection's socket, to stop reading from it. */
  get socket(): Socket | undefined {
    return this.#internals._socket
  }

  /** While nothing is read on purpose, that nothing was read does not mean that the broker is gone. */
  excuseSilence(): void {
    if (this.#internals._state !== undefined) this.#internals._state.hasRead = true
  }

  /** Resolves when the channel is open, or when the broker cannot be reached for now. @throws where it was turned away for good. */
  firstAnswer(): Promise<void> {
    return this.#firstAnswer.promise
  }

  async close(): Promise<void> {
    this.#closing.abort()
    const channel = this.#channel
    await withinMs(CLOSE_MS_MAX, async () => {
      await channel?.close()
      await this.#connection.close()
    })
    this.#connection.unsafeDestroy()
    await this.#running
  }

  get #internals(): ConnectionInternals {
    return this.#connection as unknown as ConnectionInternals
  }

  /**
   * A broker may take smaller frames than were asked for. The client library tells it that they will be,
   * and then cuts bodies, and puts them together, by what was asked for.
   */
  #agreeOnFrames(): void {
    const { _opt, _state } = this.#internals
    if (_opt !== undefined && _state !== undefined) _opt.frameMax = _state.frameMax
  }

  async #keepOpen(): Promise<void> {
    for (let attempt = 1; !this.#closing.signal.aborted; attempt++) {
      try {
        await this.#openOnce()
        attempt = 0
      } catch (error) {
        this.#failed(error)
      }
      await delay(Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** attempt), undefined, {
        signal: this.#closing.signal,
      }).catch(() => {})
    }
  }

  /** Resolves when the channel that it opened is gone. */
  async #openOnce(): Promise<void> {
    const channel = await this.#connection.acquire()
    const closed = new Promise<void>(resolve => channel.once('close', resolve))
    const timeout = setTimeout(
      () => this.socket?.destroy(new Error(`the broker did not answer within ${SET_UP_MS_MAX} ms`)),
      SET_UP_MS_MAX,
    )
    try {
      await this.#options.setUp(channel)
    } catch (error) {
      await channel.close()
      throw error
    } finally {
      clearTimeout(timeout)
    }
    this.#channel = channel
    if (this.#hasBeenOpen) this.#options.log.info('RabbitMQ is there again.')
    this.#hasBeenOpen = true
    this.#trouble = undefined
    this.#firstAnswer.resolve()
    await closed
    this.#channel = undefined
    this.#blockedBy = undefined
    this.#trouble ??= 'the channel was closed'
    this.#options.lost()
  }

  #failed(error: unknown): void {
    if (this.#closing.signal.aborted) return
    const message = error instanceof Error ? error.message : String(error)
    if (message !== this.#trouble)
      this.#options.log.warn({ err: error }, 'RabbitMQ cannot be used; trying again.')
    this.#trouble = message
    if (!this.#hasBeenOpen && error instanceof AMQPError && FINAL_CODES.has(error.code)) {
      this.#firstAnswer.reject(error)
    } else {
      this.#firstAnswer.resolve()
    }
  }
}

async function withinMs(ms: number, work: () => Promise<void>): Promise<void> {
  const timer = new AbortController()
  const timeout = delay(ms, undefined, { signal: timer.signal }).catch(() => {})
  await Promise.race([work(), timeout])
  timer.abort()
}
