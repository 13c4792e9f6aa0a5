import type { AsyncMessage, Channel } from 'rabbitmq-client'
import type { Logger } from '../../process/logger.ts'
import type { Delivery } from '../queue.ts'
import { deliverRawBodies, rawBody } from './client-internals.ts'
import { DeliveryTags } from './delivery-tags.ts'
import { Prefetch, type PrefetchOptions } from './prefetch.ts'
import { groupOfMessage } from './rabbitmq-message.ts'

/** How long an acknowledgement waits for earlier deliveries to settle, so that one `multiple` covers many. */
const GAP_MS_MAX = 1_000
const FOLLOW_EVERY_MS = 5_000

export interface RabbitmqDelivery extends Delivery {
  readonly tag: number
  readonly events: number
  /** Delivery tags count from 1 on every channel. So a tag is valid only with the subscription of its channel. */
  readonly subscription: RabbitmqSubscription
}

export interface SubscriptionOptions {
  readonly channel: Channel
  readonly queue: string
  readonly priority: number
  readonly prefetch: PrefetchOptions
  readonly log: Logger
  delivery(delivery: RabbitmqDelivery): void
}

/**
 * Consumes a queue on one channel, until the channel closes. It acknowledges with as few frames as possible, and
 * adapts the prefetch to the number of events per message.
 *
 * RabbitMQ reads the prefetch when a consumer starts (`basic.qos` with `global=false`). To change it, a second
 * consumer is started on the same channel, and then the first one is cancelled. The deliveries of the first one
 * belong to the channel, and are acknowledged as before.
 */
export class RabbitmqSubscription {
  readonly #options: SubscriptionOptions
  readonly #tags = new DeliveryTags()
  readonly #prefetch: Prefetch
  #consumerTag = ''
  #heldMessages = 0
  #heldEvents = 0
  #gapTimer: NodeJS.Timeout | undefined
  #followTimer: NodeJS.Timeout | undefined
  #isChanging = false

  constructor(options: SubscriptionOptions) {
    this.#options = options
    this.#prefetch = new Prefetch(options.prefetch)
  }

  async start(): Promise<void> {
    const { channel } = this.#options
    deliverRawBodies(channel)
    channel.once('close', () => {
      clearTimeout(this.#gapTimer)
      clearInterval(this.#followTimer)
    })
    this.#consumerTag = await this.#consume()
    this.#followTimer = setInterval(() => {
      if (this.#isAlive && !this.#isChanging && this.#prefetch.follow()) this.#change()
    }, FOLLOW_EVERY_MS)
  }

  get #isAlive(): boolean {
    return this.#options.channel.active
  }

  /** Acknowledges the settled prefix at once, and others within GAP_MS_MAX. Ignores deliveries of other channels. */
  ack(deliveries: readonly RabbitmqDelivery[]): void {
    if (!this.#isAlive) return
    for (const delivery of deliveries)
      if (delivery.subscription === this && this.#tags.settle(delivery.tag)) this.#uncount(delivery)
    this.#acknowledgePrefix()
    if (this.#tags.settled > this.#prefetch.messages / 2) this.flush()
    else if (this.#tags.settled > 0) this.#gapTimer ??= setTimeout(() => this.flush(), GAP_MS_MAX)
  }

  dead(delivery: RabbitmqDelivery): void {
    if (!this.#isAlive || delivery.subscription !== this || !this.#tags.reject(delivery.tag)) return
    this.#uncount(delivery)
    this.#options.channel.basicNack({ deliveryTag: delivery.tag, requeue: false })
  }

  /** Acknowledges every settled delivery now. */
  flush(): void {
    clearTimeout(this.#gapTimer)
    this.#gapTimer = undefined
    if (!this.#isAlive) return
    this.#acknowledgePrefix()
    for (const deliveryTag of this.#tags.takeRest()) this.#options.channel.basicAck({ deliveryTag })
  }

  #acknowledgePrefix(): void {
    const deliveryTag = this.#tags.takePrefix()
    if (deliveryTag !== undefined) this.#options.channel.basicAck({ deliveryTag, multiple: true })
  }

  #uncount({ events }: RabbitmqDelivery): void {
    this.#heldMessages--
    this.#heldEvents -= events
  }

  #deliver(message: AsyncMessage): void {
    if (!this.#isAlive) return
    const body = rawBody(message.body)
    const group = groupOfMessage(message, body)
    const { deliveryTag: tag, redelivered } = message
    const events = group?.count ?? 1
    this.#returnAll(this.#tags.delivered(tag))
    this.#heldMessages++
    this.#heldEvents += events
    this.#prefetch.delivered(events)
    this.#options.delivery({ body, redelivered, group, tag, events, subscription: this })
    this.#raiseIfShort()
  }

  /** Returns skipped deliveries: the client library drops a delivery if it does not know its consumer any more. */
  #returnAll(tags: readonly number[]): void {
    if (tags.length > 0)
      this.#options.log.warn(
        { deliveries: tags.length },
        'The client library skipped deliveries. Returning them to the queue.',
      )
    for (const deliveryTag of tags) this.#options.channel.basicNack({ deliveryTag, requeue: true })
  }

  #raiseIfShort(): void {
    if (this.#isChanging || !this.#isAlive || this.#tags.unacknowledged < this.#prefetch.messages) return
    if (this.#prefetch.raiseIfShort({ messages: this.#heldMessages, events: this.#heldEvents }))
      this.#change()
  }

  #change(): void {
    this.#isChanging = true
    const { channel, log, queue } = this.#options
    const previous = this.#consumerTag
    this.#consume()
      .then(async consumerTag => {
        this.#consumerTag = consumerTag
        await channel.basicCancel({ consumerTag: previous })
        log.debug(
          { queue, prefetch: this.#prefetch.messages },
          'The prefetch follows the events per message.',
        )
      })
      .catch(error => {
        // If the channel has closed, RabbitmqConnection logs that and opens another one.
        if (this.#isAlive) log.warn({ err: error }, 'The prefetch could not be changed.')
      })
      .finally(() => (this.#isChanging = false))
  }

  async #consume(): Promise<string> {
    const { channel, queue, priority } = this.#options
    await channel.basicQos({ prefetchCount: this.#prefetch.messages })
    const { consumerTag } = await channel.basicConsume(
      { queue, arguments: { 'x-priority': priority } },
      message => this.#deliver(message),
    )
    return consumerTag
  }
}
