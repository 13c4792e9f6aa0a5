import { randomInt } from 'node:crypto'
import { AMQPError } from 'rabbitmq-client'
import { ConfigInvalid, QueueUnavailable } from '../../errors.ts'
import type { EventGroup } from '../../event/event-group.ts'
import type { Logger } from '../../process/logger.ts'
import type { Consumer, DeliveryHandler, Durability, Part, Transport } from '../queue.ts'
import type { TransportState, Waiting } from '../queue-stats.ts'
import { RabbitmqConnection } from './rabbitmq-connection.ts'
import { RabbitmqConsumer } from './rabbitmq-consumer.ts'
import { RabbitmqPublisher } from './rabbitmq-publisher.ts'
import { brokerPlace, brokerReason } from './rabbitmq-refusal.ts'
import { deadName, declareTopology, type RabbitmqConfig } from './rabbitmq-topology.ts'

/** How long a start waits for a silent broker. If no broker listens, the refusal comes at once. */
const FIRST_ANSWER_MS_MAX = 3_000

/** Large enough that two processes rarely choose the same priority. */
const PRIORITY_MAX = 1_000_000

class RabbitmqQueue implements Transport {
  readonly description: string
  readonly #config: RabbitmqConfig
  readonly #log: Logger
  readonly #connection: RabbitmqConnection
  readonly #publisher: RabbitmqPublisher
  readonly #consumers = new Set<RabbitmqConsumer>()
  /**
   * Consumer priority. RabbitMQ delivers to the consumer with the highest priority while its prefetch has room.
   * So at low load one archiver gets all events, and they do not end up in many small objects.
   */
  readonly #priority = randomInt(1, PRIORITY_MAX + 1)

  constructor(config: RabbitmqConfig, log: Logger) {
    this.#config = config
    this.#log = log
    this.description = `RabbitMQ at ${new URL(config.amqpUrl).host}, queue ${config.amqpQueue}`
    this.#connection = new RabbitmqConnection({
      url: config.amqpUrl,
      name: `frequency ${config.role}: publisher`,
      queue: config.amqpQueue,
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

  /** Resolves at the broker's first answer, or after 3 seconds. @throws AMQPError if it refuses for good */
  async firstAnswer(): Promise<void> {
    await this.#connection.firstAnswer(FIRST_ANSWER_MS_MAX)
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
    if (channel === undefined)
      throw new QueueUnavailable(`The depth of the queue is unknown. ${this.trouble}`)
    return (await channel.queueDeclare({ queue, passive: true })).messageCount
  }

  async close(): Promise<void> {
    await Promise.all([...this.#consumers].map(consumer => consumer.stop()))
    await this.#connection.close()
  }
}

/**
 * Opens the queue on RabbitMQ, and declares it. If the broker cannot be reached yet, it resolves nonetheless,
 * and connects later.
 *
 * @throws ConfigInvalid if the broker refuses for good: a wrong login or virtual host, or a queue of that name
 * with other arguments.
 */
export async function openRabbitmqQueue(config: RabbitmqConfig, log: Logger): Promise<Transport> {
  const queue = new RabbitmqQueue(config, log)
  try {
    await queue.firstAnswer()
  } catch (cause) {
    await queue.close()
    throw new ConfigInvalid(refusal(cause, config), { cause })
  }
  return queue
}

function refusal(cause: unknown, { amqpQueue: queue, amqpUrl }: RabbitmqConfig): string {
  const message = brokerReason(cause)
  if (!(cause instanceof AMQPError && cause.code === 'PRECONDITION_FAILED'))
    return `AMQP_URL: ${brokerPlace(amqpUrl)} refuses the connection: ${message}.`
  return (
    `AMQP_QUEUE: RabbitMQ has a queue or exchange "${queue}" or "${deadName(queue)}" with other arguments. ` +
    `Use another name, or empty and delete that one. ${howToEmpty(message, queue)}RabbitMQ says: ${message}`
  )
}

/** frequency 0.1 declared the queue with that argument. */
function howToEmpty(message: string, queue: string): string {
  if (!message.includes('x-single-active-consumer')) return ''
  return (
    `frequency 0.1 declared "${queue}" with x-single-active-consumer. Give this version another AMQP_QUEUE. Let the ` +
    'archivers of 0.1 empty the old queue, then stop them and delete it: docs/upgrading.md. '
  )
}
