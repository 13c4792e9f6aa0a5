import type { Socket } from 'node:net'
import type { Channel } from 'rabbitmq-client'
import type { Logger } from '../../process/logger.ts'
import type { Consumer, Delivery, DeliveryHandler } from '../queue.ts'
import { RabbitmqConnection } from './rabbitmq-connection.ts'
import { type RabbitmqDelivery, RabbitmqSubscription } from './rabbitmq-subscription.ts'
import { declareTopology, type RabbitmqConfig } from './rabbitmq-topology.ts'

/**
 * What still comes through in a pause, so that the broker's writes get on: it closes a connection on which
 * one takes 30 seconds (`send_timeout`). Linux wakes a sender once a third of its send buffer (which grows
 * to 4 MiB) is free, so twice that is let through in that time.
 */
const TRICKLE_BYTES = 512 * 1024
const TRICKLE_EVERY_MS = 5_000
/** What comes through in one pause at the most; after that the broker may close the connection. */
const PAUSE_BYTES_MAX = 32 * 1024 * 1024
/** Well below the time in which the client library misses a heartbeat. */
const EXCUSE_MS = 1_000

export interface ConsumerConfig extends RabbitmqConfig {
  /** As RabbitMQ has it: of the consumers that have room, the highest one gets a message. */
  readonly priority: number
}

/**
 * Consumes with manual acknowledgement on a connection of its own, so that its back-pressure, which
 * stops reading from the socket, holds up no publisher confirms.
 */
export class RabbitmqConsumer implements Consumer {
  readonly #config: ConsumerConfig
  readonly #log: Logger
  readonly #handler: DeliveryHandler
  readonly #stopped: () => void
  readonly #connection: RabbitmqConnection
  #gate: SocketGate | undefined
  /** Of the channel that is open, or was last. */
  #subscription: RabbitmqSubscription | undefined
  /** Set while the consumer is paused. */
  #pause: NodeJS.Timeout | undefined
  #isStopping = false

  constructor(config: ConsumerConfig, log: Logger, handler: DeliveryHandler, stopped: () => void) {
    this.#config = config
    this.#log = log
    this.#handler = handler
    this.#stopped = stopped
    this.#connection = new RabbitmqConnection({
      url: config.amqpUrl,
      name: `frequency ${config.role}: consumer`,
      log,
      setUp: channel => this.#consumeOn(channel),
      lost: () => handler.lost(),
    })
    // The queue was opened before anything consumes from it: a refusal now is retried like any trouble.
    this.#connection
      .firstAnswer()
      .catch(error => log.error({ err: error }, 'RabbitMQ turns the consumer away.'))
  }

  /** What is stopped on purpose is no trouble of the broker's. */
  get trouble(): string | undefined {
    return this.#isStopping ? undefined : this.#connection.trouble
  }

  ack(deliveries: readonly Delivery[]): void {
    this.#subscription?.ack(deliveries as readonly RabbitmqDelivery[])
  }

  dead(delivery: Delivery): void {
    this.#subscription?.dead(delivery as RabbitmqDelivery)
  }

  pause(): void {
    if (this.#pause !== undefined) return
    this.#pause = setInterval(() => this.#connection.excuseSilence(), EXCUSE_MS)
    this.#gate?.shut()
  }

  resume(): void {
    clearInterval(this.#pause)
    this.#pause = undefined
    this.#gate?.open()
  }

  async stop(): Promise<void> {
    this.#isStopping = true
    this.resume()
    this.#subscription?.flush()
    await this.#connection.close()
    this.#stopped()
  }

  async #consumeOn(channel: Channel): Promise<void> {
    await declareTopology(channel, this.#config.amqpQueue)
    channel.on('basic.cancel', () => {
      this.#log.warn('RabbitMQ cancelled the consumer: its queue was deleted, or moved.')
      void channel.close()
    })
    const socket = this.#connection.socket
    this.#gate = socket === undefined ? undefined : new SocketGate(socket)
    if (this.#pause !== undefined) this.#gate?.shut()
    this.#subscription = new RabbitmqSubscription({
      channel,
      queue: this.#config.amqpQueue,
      priority: this.#config.priority,
      prefetch: { events: this.#config.prefetchEvents, messagesMax: this.#config.amqpPrefetch },
      log: this.#log,
      delivery: delivery => {
        if (!this.#isStopping) this.#handler.delivery(delivery)
      },
    })
    await this.#subscription.start()
  }
}

/**
 * Makes a socket that is read by `socket.read()` look empty while it is shut: its buffer fills, the
 * kernel's receive window closes, and the sender waits.
 *
 * A little is let through all the same. The broker drops a connection that takes nothing; all that is not
 * acknowledged would then come again, and a store that is merely slow would never see a batch to its end.
 */
class SocketGate {
  readonly #socket: Socket
  #isShut = false
  #allowance = 0
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
    if (this.#trickled >= PAUSE_BYTES_MAX) return
    this.#trickled += bytes
    this.#allowance = bytes
    this.#socket.emit('readable')
  }
}
