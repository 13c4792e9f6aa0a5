import type { Socket } from 'node:net'
import type { AsyncMessage, Channel } from 'rabbitmq-client'
import type { Logger } from '../logger.ts'
import type { Consumer, Delivery, DeliveryHandler } from './queue.ts'
import { declareTopology, type RabbitmqConfig } from './rabbitmq.ts'
import { RabbitmqLink } from './rabbitmq-link.ts'
import { groupOfMessage } from './rabbitmq-message.ts'

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

interface RabbitmqDelivery extends Delivery {
  readonly deliveryTag: number
  /** Delivery tags count from 1 on every channel, so a tag means something on its own channel alone. */
  readonly channel: Channel
}

/**
 * Consumes with manual acknowledgement on a connection of its own, so that its back-pressure, which
 * stops reading from the socket, holds up no publisher confirms.
 */
export class RabbitmqConsumer implements Consumer {
  readonly #config: RabbitmqConfig
  readonly #log: Logger
  readonly #handler: DeliveryHandler
  readonly #stopped: () => void
  readonly #link: RabbitmqLink
  #gate: SocketGate | undefined
  /** Set while the consumer is paused. */
  #pause: NodeJS.Timeout | undefined
  #isStopping = false

  constructor(config: RabbitmqConfig, log: Logger, handler: DeliveryHandler, stopped: () => void) {
    this.#config = config
    this.#log = log
    this.#handler = handler
    this.#stopped = stopped
    this.#link = new RabbitmqLink({
      url: config.amqpUrl,
      name: `frequency ${config.role}: consumer`,
      log,
      setUp: channel => this.#consumeOn(channel),
      lost: () => handler.lost(),
    })
    // The queue was opened before anything consumes from it: a refusal now is retried like any trouble.
    this.#link.firstAnswer().catch(error => log.error({ err: error }, 'RabbitMQ turns the consumer away.'))
  }

  /** What is stopped on purpose is no trouble of the broker's. */
  get trouble(): string | undefined {
    return this.#isStopping ? undefined : this.#link.trouble
  }

  ackThrough(delivery: Delivery): void {
    const { channel, deliveryTag } = delivery as RabbitmqDelivery
    if (channel.active) channel.basicAck({ deliveryTag, multiple: true })
  }

  dead(delivery: Delivery): void {
    const { channel, deliveryTag } = delivery as RabbitmqDelivery
    if (channel.active) channel.basicNack({ deliveryTag, requeue: false })
  }

  pause(): void {
    if (this.#pause !== undefined) return
    this.#pause = setInterval(() => this.#link.excuseSilence(), EXCUSE_MS)
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
    await this.#link.close()
    this.#stopped()
  }

  async #consumeOn(channel: Channel): Promise<void> {
    await declareTopology(channel, this.#config.amqpQueue)
    handOutBytes(channel)
    await channel.basicQos({ prefetchCount: this.#config.amqpPrefetch })
    channel.on('basic.cancel', () => {
      this.#log.warn('RabbitMQ cancelled the consumer: its queue was deleted, or moved.')
      void channel.close()
    })
    const socket = this.#link.socket
    this.#gate = socket === undefined ? undefined : new SocketGate(socket)
    if (this.#pause !== undefined) this.#gate?.shut()
    await channel.basicConsume({ queue: this.#config.amqpQueue }, message => this.#deliver(channel, message))
  }

  #deliver(channel: Channel, message: AsyncMessage): void {
    if (this.#isStopping || !channel.active) return
    const body = bodyBytes(message.body)
    const delivery: RabbitmqDelivery = {
      body,
      redelivered: message.redelivered,
      group: groupOfMessage(message, body),
      deliveryTag: message.deliveryTag,
      channel,
    }
    this.#handler.delivery(delivery)
  }
}

/** Nothing is decoded: see `handOutBytes`. */
export function bodyBytes(body: unknown): Buffer {
  if (!Buffer.isBuffer(body)) throw new TypeError('The client library has decoded a body.')
  return body
}

interface HeaderFrame {
  readonly fields: { contentEncoding?: string }
}

/**
 * The client library decodes a body that has a content type and no content encoding, and JSON loses digits
 * in that. It looks at the encoding when the body is complete, so one is put there when the header comes.
 */
export function handOutBytes(channel: Channel): void {
  const internals = channel as unknown as { _onHeader(frame: HeaderFrame): void }
  const onHeader = internals._onHeader.bind(channel)
  internals._onHeader = frame => {
    frame.fields.contentEncoding ||= 'identity'
    onHeader(frame)
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
