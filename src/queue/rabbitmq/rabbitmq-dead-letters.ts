/**
 * Dead letters on RabbitMQ. They are fetched one by one (`basic.get`) and stay unacknowledged, so that no other
 * consumer gets them meanwhile. Letters that are neither retried nor dropped return to the queue on `close`, or
 * when the connection ends.
 */

import { createHash } from 'node:crypto'
import type { Channel, Envelope, SyncMessage } from 'rabbitmq-client'
import { ConfigInvalid, QueueUnavailable } from '../../errors.ts'
import { withTimeLimit } from '../../process/time-limit.ts'
import type { DeadLetter, DeadLetterCause, DeadLetters } from '../dead-letters.ts'
import { deliverRawBodies, ReturnBarrier, rawBody } from './client-internals.ts'
import { type CommandConnection, connectForCommand, isCode } from './rabbitmq-command-connection.ts'
import { groupOfMessage } from './rabbitmq-message.ts'

import { deadName, type RabbitmqConfig } from './rabbitmq-topology.ts'

type Config = Pick<RabbitmqConfig, 'amqpUrl' | 'amqpQueue' | 'publishMsMax'>

const ID_DIGITS = 12
/** Headers that are not published again: those of the broker, and `CC` and `BCC`, which would route copies elsewhere. */
const OMITTED_HEADERS = /^(?:x-(?:first-|last-)?death|x-delivery-count|x-acquired-count|CC$|BCC$)/

interface RabbitmqDeadLetter extends DeadLetter {
  readonly message: SyncMessage
}

class RabbitmqDeadLetters implements DeadLetters {
  readonly description: string
  readonly count: number
  readonly #config: Config
  readonly #connection: CommandConnection
  readonly #channel: Channel
  readonly #returns = new ReturnBarrier()
  #fetched = 0
  #unsettled = 0
  #hasSettled = false
  #hasReturned = false

  constructor(config: Config, connection: CommandConnection, channel: Channel, count: number) {
    this.#config = config
    this.#connection = connection
    this.#channel = channel
    this.count = count
    this.description = `RabbitMQ at ${new URL(config.amqpUrl).host}, queue ${deadName(config.amqpQueue)}`
    channel.on('basic.return', () => {
      this.#hasReturned = true
    })
  }

  async next(): Promise<DeadLetter | undefined> {
    // Later ones are not read: they may be letters that were retried here, and dead-lettered again.
    if (this.#fetched === this.count) return undefined
    const queue = deadName(this.#config.amqpQueue)
    const message = await this.#request(() => this.#channel.basicGet({ queue }))
    if (message === undefined) return undefined
    this.#fetched++
    this.#unsettled++
    return letterOf(message)
  }

  async retry(letter: DeadLetter): Promise<void> {
    const { message, body } = letter as RabbitmqDeadLetter
    const { amqpQueue, publishMsMax } = this.#config
    const envelope = { ...envelopeOf(message), routingKey: amqpQueue, mandatory: true, durable: true }
    const late = (): never => {
      throw new QueueUnavailable(`RabbitMQ did not confirm within ${publishMsMax} ms.`)
    }
    await this.#request(() => withTimeLimit(this.#channel.basicPublish(envelope, body), publishMsMax, late))
    await this.#returns.passed()
    if (this.#hasReturned) throw new QueueUnavailable(`The queue ${amqpQueue} does not exist any more.`)
    await this.drop(letter)
  }

  async drop(letter: DeadLetter): Promise<void> {
    const { deliveryTag } = (letter as RabbitmqDeadLetter).message
    await this.#request(async () => this.#channel.basicAck({ deliveryTag }))
    this.#unsettled--
    this.#hasSettled = true
  }

  async close(): Promise<void> {
    const queue = deadName(this.#config.amqpQueue)
    try {
      if (!this.#channel.active && !this.#hasSettled) return
      if (this.#unsettled > 0)
        await this.#request(async () => this.#channel.basicNack({ deliveryTag: 0, multiple: true }))
      // The broker reads frames in order. Once it has answered this one, it has read all acknowledgements.
      await this.#request(() => this.#channel.queueDeclare({ queue, passive: true }))
    } finally {
      await this.#connection.close()
    }
  }

  async #request<T>(ask: () => Promise<T>): Promise<T> {
    try {
      return await ask()
    } catch (cause) {
      if (cause instanceof QueueUnavailable) throw cause
      const reason = isCode(cause, 'NACK') ? 'the queue is full, or has no leader' : (cause as Error).message
      throw new QueueUnavailable(`${this.description}: ${reason}`, { cause })
    }
  }
}

function letterOf(message: SyncMessage): RabbitmqDeadLetter {
  const body = rawBody(message.body)
  const { contentEncoding, ...envelope } = envelopeOf(message)
  return {
    id: idOf(message, body),
    body,
    group: groupOfMessage(message, body),
    cause: causeOf(message.headers?.['x-death']),
    properties: { ...envelope, ...(contentEncoding && { contentEncoding }), headers: message.headers ?? {} },
    message,
  }
}

/** A digest of parts that do not change while the letter exists. The broker has no message id of its own. */
function idOf({ messageId = '', headers }: SyncMessage, body: Buffer): string {
  const death = causeOf(headers?.['x-death'])
  const hash = createHash('sha256').update(`${messageId}\n${death?.at?.getTime()}\n`).update(body)
  return hash.digest('hex').slice(0, ID_DIGITS)
}

/** The latest entry of `x-death` is the first one: https://www.rabbitmq.com/docs/dlx#effects */
function causeOf(deaths: unknown): DeadLetterCause | undefined {
  if (!Array.isArray(deaths) || typeof deaths[0] !== 'object' || deaths[0] === null) return undefined
  const { reason, queue, time } = deaths[0] as Record<string, unknown>
  const at = new Date(Number(time) * 1000)
  return {
    reason: String(reason),
    queue: String(queue),
    at: Number.isNaN(at.getTime()) ? undefined : at,
  }
}

/**
 * The properties of the original publisher. Without the user id, which has to be that of this connection, and
 * without the time to live, which would expire the message again.
 */
function envelopeOf(message: SyncMessage): Omit<Envelope, 'routingKey'> {
  const { contentType, contentEncoding, priority, correlationId, replyTo } = message
  const { messageId, timestamp, type, appId, headers = {} } = message
  const given = {
    contentType,
    // `deliverRawBodies` sets `identity` if there was no encoding.
    contentEncoding: contentEncoding === 'identity' ? undefined : contentEncoding,
    priority,
    correlationId,
    replyTo,
    messageId,
    timestamp,
    type,
    appId,
    headers: Object.fromEntries(Object.entries(headers).filter(isKept)),
  }
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
}

/** The client library cannot encode bytes and dates. The headers of frequency are numbers and texts. */
function isKept([name, value]: [string, unknown]): boolean {
  return !OMITTED_HEADERS.test(name) && ['string', 'number', 'boolean'].includes(typeof value)
}

/**
 * Opens the dead letters of the queue `amqpQueue`.
 *
 * @throws ConfigInvalid if RabbitMQ refuses the login, or the queues do not exist.
 * @throws QueueUnavailable if RabbitMQ cannot be reached now.
 */
export async function openRabbitmqDeadLetters(config: Config): Promise<DeadLetters> {
  const connection = await connectForCommand(config.amqpUrl, 'frequency dead')
  try {
    const channel = await connection.openChannel()
    deliverRawBodies(channel)
    await channel.queueDeclare({ queue: config.amqpQueue, passive: true })
    const { messageCount } = await channel.queueDeclare({ queue: deadName(config.amqpQueue), passive: true })
    await channel.confirmSelect()
    return new RabbitmqDeadLetters(config, connection, channel, messageCount)
  } catch (cause) {
    await connection.close()
    if (isCode(cause, 'NOT_FOUND'))
      throw new ConfigInvalid(
        `AMQP_QUEUE: RabbitMQ at ${new URL(config.amqpUrl).host} has no queue ${config.amqpQueue} with ${deadName(config.amqpQueue)}: ` +
          'Run frequency serve once, which declares them.',
        { cause },
      )
    throw new QueueUnavailable(`RabbitMQ: ${(cause as Error).message}`, { cause })
  }
}
