import type { Channel } from 'rabbitmq-client'
import type { Logger } from '../../process/logger.ts'
import type { Consumer, Delivery, DeliveryHandler } from '../queue.ts'
import { SocketGate } from './client-internals.ts'
import { RabbitmqConnection } from './rabbitmq-connection.ts'
import { brokerReason } from './rabbitmq-refusal.ts'
import { type RabbitmqDelivery, RabbitmqSubscription } from './rabbitmq-subscription.ts'
import { declareTopology, type RabbitmqConfig } from './rabbitmq-topology.ts'

/** Well below the time after which the client library misses a heartbeat. */
const HEARTBEAT_RESET_MS = 1_000

export interface ConsumerConfig extends RabbitmqConfig {
  /** RabbitMQ's consumer priority: a message goes to the highest consumer whose prefetch has room. */
  readonly priority: number
}

/**
 * Consumes with manual acknowledgement, on a connection of its own: back-pressure stops reading from the socket,
 * and must not delay publisher confirms.
 */
export class RabbitmqConsumer implements Consumer {
  readonly #config: ConsumerConfig
  readonly #log: Logger
  readonly #handler: DeliveryHandler
  readonly #stopped: () => void
  readonly #connection: RabbitmqConnection
  #gate: SocketGate | undefined
  /** On the open channel; after it has closed, on the last one. */
  #subscription: RabbitmqSubscription | undefined
  /** Set while the consumer is paused. */
  #heartbeatTimer: NodeJS.Timeout | undefined
  #isStopping = false

  constructor(config: ConsumerConfig, log: Logger, handler: DeliveryHandler, stopped: () => void) {
    this.#config = config
    this.#log = log
    this.#handler = handler
    this.#stopped = stopped
    this.#connection = new RabbitmqConnection({
      url: config.amqpUrl,
      name: `frequency ${config.role}: consumer`,
      queue: config.amqpQueue,
      log,
      setUp: channel => this.#consumeOn(channel),
      lost: () => handler.lost(),
    })
    // The publisher's connection was accepted before. So a refusal now is retried, like any other failure.
    this.#connection
      .firstAnswer()
      .catch(error =>
        log.error(
          { queue: config.amqpQueue, reason: brokerReason(error) },
          'RabbitMQ refuses the consumer. Trying again.',
        ),
      )
  }

  /** Undefined while the consumer stops on purpose. */
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
    if (this.#heartbeatTimer !== undefined) return
    this.#heartbeatTimer = setInterval(() => this.#connection.resetHeartbeat(), HEARTBEAT_RESET_MS)
    this.#gate?.shut()
  }

  resume(): void {
    clearInterval(this.#heartbeatTimer)
    this.#heartbeatTimer = undefined
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
      this.#log.warn('RabbitMQ cancelled the consumer: its queue was deleted or moved. Subscribing again.')
      void channel.close()
    })
    this.#gate = new SocketGate(this.#connection.socket)
    if (this.#heartbeatTimer !== undefined) this.#gate.shut()
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
