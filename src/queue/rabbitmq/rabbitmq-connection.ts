/**
 * Keeps one channel to RabbitMQ open, on its own connection.
 *
 *   connecting ──► setting up ──► open ──► lost ──► connecting …
 *
 * The client library reconnects by itself. After each reconnect this class opens the channel again, and runs
 * `setUp` on it. If the broker refuses the very first connection for good (a wrong password, a queue with other
 * arguments), `firstAnswer` rejects, because only a person can correct that. After the first success the same
 * refusal counts as temporary, and is retried.
 */

import type { Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { type Channel, Connection } from 'rabbitmq-client'
import { createDeferred } from '../../process/deferred.ts'
import type { Logger } from '../../process/logger.ts'
import { withTimeLimit } from '../../process/time-limit.ts'
import { resetHeartbeat, socketOf, useNegotiatedFrameSize } from './client-internals.ts'
import { brokerPlace, brokerReason, isFinalRefusal, refuseOtherProtocols } from './rabbitmq-refusal.ts'

const RETRY_MS_MIN = 200
const RETRY_MS_MAX = 5_000
const HEARTBEAT_S = 30
/** RabbitMQ's default frame size. Larger bodies are split into frames of this size. */
const FRAME_BYTES_MAX = 131_072
const CLOSE_MS_MAX = 2_000
/** A broker that was just started may receive a declaration and never answer it. */
const SET_UP_MS_MAX = 15_000

export interface RabbitmqConnectionOptions {
  readonly url: string
  /** Shown in RabbitMQ's list of connections, and in the log. */
  readonly name: string
  readonly queue: string
  readonly log: Logger
  /** Prepares each new channel: declares, subscribes. */
  setUp(channel: Channel): Promise<void>
  /** Called when the open channel has closed. All deliveries and publishes on it are void. */
  lost(): void
}

export class RabbitmqConnection {
  readonly #options: RabbitmqConnectionOptions
  readonly #connection: Connection
  readonly #closing = new AbortController()
  readonly #running: Promise<void>
  readonly #firstAnswer = createDeferred()
  /** Somebody waits for the first answer, and reports a refusal. */
  #isFirstAnswerAwaited = true
  #channel: Channel | undefined
  #trouble: string | undefined = 'not connected yet'
  #blockedBy: string | undefined
  #hasBeenOpen = false
  #hasFailed = false

  constructor(options: RabbitmqConnectionOptions) {
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
    if (this.socket !== undefined) refuseOtherProtocols(this.socket)
    this.#connection.on('error', error => this.#failed(error))
    this.#connection.on('connection.blocked', reason => {
      this.#blockedBy = `RabbitMQ blocks publishers: ${reason}`
      this.#options.log.warn({ ...this.#whose, reason }, 'RabbitMQ blocks publishers.')
    })
    this.#connection.on('connection.unblocked', () => {
      this.#blockedBy = undefined
      this.#options.log.info(this.#whose, 'RabbitMQ accepts messages again.')
    })
    this.#connection.on('connection', () => useNegotiatedFrameSize(this.#connection))
    this.#running = this.#keepOpen()
  }

  /** The open channel, or undefined while there is none. */
  get channel(): Channel | undefined {
    return this.#channel
  }

  get trouble(): string | undefined {
    return this.#trouble ?? this.#blockedBy
  }

  /** The current socket. After a reconnect it is another one. */
  get socket(): Socket {
    return socketOf(this.#connection)
  }

  /** To be called again and again while reading is paused: otherwise the broker would count as dead. */
  resetHeartbeat(): void {
    resetHeartbeat(this.#connection)
  }

  /**
   * Resolves once the channel is open, at the first failure that may pass, or after `msMax` milliseconds. A refusal after
   * that is logged.
   *
   * @throws AMQPError if the broker refuses the first connection for good.
   */
  firstAnswer(msMax = Number.POSITIVE_INFINITY): Promise<void> {
    if (msMax === Number.POSITIVE_INFINITY) return this.#firstAnswer.promise
    return withTimeLimit(this.#firstAnswer.promise, msMax, () => this.#answered())
  }

  #answered(): void {
    this.#isFirstAnswerAwaited = false
    this.#firstAnswer.resolve()
  }

  async close(): Promise<void> {
    this.#closing.abort()
    const channel = this.#channel
    const closed = async (): Promise<void> => {
      await channel?.close()
      await this.#connection.close()
    }
    await withTimeLimit(closed(), CLOSE_MS_MAX, () => {})
    this.#connection.unsafeDestroy()
    await this.#running
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

  /** Opens a channel. Resolves when that channel has closed. */
  async #openOnce(): Promise<void> {
    const channel = await this.#connection.acquire()
    const closed = new Promise<void>(resolve => channel.once('close', resolve))
    const timeout = setTimeout(
      () => this.socket.destroy(new Error(`the broker did not answer within ${SET_UP_MS_MAX} ms`)),
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
    if (this.#hasBeenOpen || this.#hasFailed)
      this.#options.log.info(this.#whose, 'RabbitMQ is connected again.')
    this.#hasFailed = false
    this.#hasBeenOpen = true
    this.#trouble = undefined
    this.#answered()
    await closed
    this.#channel = undefined
    this.#blockedBy = undefined
    this.#trouble ??= 'the channel was closed'
    this.#options.lost()
  }

  #failed(error: unknown): void {
    if (this.#closing.signal.aborted) return
    const reason = brokerReason(error)
    const isRefused = !this.#hasBeenOpen && isFinalRefusal(error)
    const isReported = isRefused && this.#isFirstAnswerAwaited
    if (reason !== this.#trouble && !isReported)
      this.#options.log.warn({ ...this.#whose, reason }, 'RabbitMQ cannot be used. Trying again.')
    this.#trouble = reason
    this.#hasFailed = true
    if (isReported) this.#firstAnswer.reject(error)
    this.#answered()
  }

  /** Log fields that name this connection. */
  get #whose(): Record<string, string> {
    const { name, queue, url } = this.#options
    return { connection: name, broker: brokerPlace(url), queue }
  }
}
