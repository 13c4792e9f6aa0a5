import { randomInt } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { AMQPError } from 'rabbitmq-client'
import { ConfigInvalid, QueueUnavailable } from '../../errors.ts'
import type { EventGroup } from '../../event/event-group.ts'
import type { Logger } from '../../process/logger.ts'
import type { Consumer, DeliveryHandler, Durability, Part, Transport } from '../queue.ts'
import type { TransportState, Waiting } from '../queue-stats.ts'
import { RabbitmqConnection } from './rabbitmq-connection.ts'
import { RabbitmqConsumer } from './rabbitmq-consumer.ts'
import { RabbitmqPublisher } from './rabbitmq-publisher.ts'
import { deadName, declareTopology, type RabbitmqConfig } from './rabbitmq-topology.ts'

/** How long a start waits for a broker that says nothing. One that is away answers at once, with a refusal. */
const FIRST_ANSWER_MS_MAX = 3_000

/** So many that two processes hardly ever have the same. */
const PRIORITY_MAX = 1_000_000

class RabbitmqQueue implements Transport {
  readonly description: string
  readonly #config: RabbitmqConfig
  readonly #log: Logger
  readonly #connection: RabbitmqConnection
  readonly #publisher: RabbitmqPublisher
  readonly #consumers = new Set<RabbitmqConsumer>()
  /**
   * RabbitMQ delivers to the consumer of the highest priority as long as its prefetch has room. So few
   * events stay with one archiver, and do not become many small objects.
   */
  readonly #priority = randomInt(1, PRIORITY_MAX + 1)

  constructor(config: RabbitmqConfig, log: Logger) {
    this.#config = config
    this.#log = log
    this.description = `RabbitMQ at ${new URL(config.amqpUrl).host}, queue ${config.amqpQueue}`
    this.#connection = new RabbitmqConnection({
      url: config.amqpUrl,
      name: `frequency ${config.role}: publisher`,
      log,
      setUp: async channel => {
        await declareTopology(channel, config.amqpQueue)
        await channel.confirmSelect()
        this.#publisher.watch(channel)
      },
      lost: () => {},
    })
    this.#publisher = new RabbitmqPublisher(this.#connection, config)
  }

  get trouble(): string | undefined {
    return this.#explained(this.#connection.trouble ?? this.#publisher.trouble ?? this.#consumerTrouble)
  }

  get intake(): readonly Part[] {
    const trouble = this.#publisher.refusal ?? this.#connection.trouble ?? this.#publisher.trouble
    return [{ name: 'broker', trouble: this.#explained(trouble) }]
  }

  get outlet(): readonly Part[] {
    return [{ name: 'consumer', trouble: this.#explained(this.#consumerTrouble) }]
  }

  get #consumerTrouble(): string | undefined {
    return [...this.#consumers].map(consumer => consumer.trouble).find(Boolean)
  }

  #explained(trouble: string | undefined): string | undefined {
    return trouble === undefined ? undefined : `${this.description}: ${trouble}`
  }

  get state(): TransportState {
    return { broker: this.#publisher.stats, disks: [] }
  }

  /** Resolves when the broker has answered, or has not in time. @throws where it turns us away for good. */
  async firstAnswer(): Promise<void> {
    const answered = new AbortController()
    const timeout = delay(FIRST_ANSWER_MS_MAX, undefined, { signal: answered.signal }).catch(() => {})
    await Promise.race([this.#connection.firstAnswer(), timeout]).finally(() => answered.abort())
  }

  publish(group: EventGroup): Promise<Durability> {
    return this.#publisher.publish(group)
  }

  consume(handler: DeliveryHandler): Consumer {
    const consumer = new RabbitmqConsumer(
      { ...this.#config, priority: this.#priority },
      this.#log,
      handler,
      () => this.#consumers.delete(consumer),
    )
    this.#consumers.add(consumer)
    return consumer
  }

  depth(): Promise<number> {
    return this.#depthOf(this.#config.amqpQueue)
  }

  async waiting(): Promise<Waiting> {
    const { amqpQueue } = this.#config
    const [messages, dead] = await Promise.all([this.#depthOf(amqpQueue), this.#depthOf(deadName(amqpQueue))])
    return { messages, dead }
  }

  async #depthOf(queue: string): Promise<number> {
    const channel = this.#connection.channel
    if (channel === undefined) throw new QueueUnavailable(`The queue's depth is not known. ${this.trouble}`)
    return (await channel.queueDeclare({ queue, passive: true })).messageCount
  }

  async close(): Promise<void> {
    await Promise.all([...this.#consumers].map(consumer => consumer.stop()))
    await this.#connection.close()
  }
}

/**
 * Resolves when the queue is declared, or when the broker is not there yet: it is waited for.
 *
 * @throws ConfigInvalid where the broker turns us away for good: a wrong login or virtual host, or a
 * queue of that name that was declared with other arguments.
 */
export async function openRabbitmqQueue(config: RabbitmqConfig, log: Logger): Promise<Transport> {
  const queue = new RabbitmqQueue(config, log)
  try {
    await queue.firstAnswer()
  } catch (cause) {
    await queue.close()
    throw new ConfigInvalid(refusal(cause, config.amqpQueue), { cause })
  }
  return queue
}

function refusal(cause: unknown, queue: string): string {
  const message = cause instanceof Error ? cause.message : String(cause)
  if (!(cause instanceof AMQPError && cause.code === 'PRECONDITION_FAILED'))
    return `AMQP_URL: RabbitMQ refuses the connection: ${message}`
  return (
    `AMQP_QUEUE: RabbitMQ has a queue or exchange "${queue}" or "${deadName(queue)}" that was declared with other arguments: ` +
    `use another name, or empty and delete that one. ${howToEmpty(message, queue)}RabbitMQ says: ${message}`
  )
}

/** Versions that let one consumer be active declared the queue so. */
function howToEmpty(message: string, queue: string): string {
  if (!message.includes('x-single-active-consumer')) return ''
  return (
    `An earlier version of frequency declared "${queue}" with x-single-active-consumer: let its archivers empty it ` +
    '(stop ingest meanwhile, or give it another AMQP_QUEUE), stop them, delete the queue, and start this version. '
  )
}
