/**
 * Dead letters on RabbitMQ. They are got one by one and not acknowledged, so that nobody else gets them
 * meanwhile; what has been neither retried nor dropped is given back at the end, or by the broker when the
 * connection is gone.
 */

import { createHash } from 'node:crypto'
import { setTimeout as delay, setImmediate as turn } from 'node:timers/promises'
import type { Channel, Envelope, SyncMessage } from 'rabbitmq-client'
import { ConfigInvalid, QueueUnavailable } from '../../errors.ts'
import type { DeadLetter, DeadLetterCause, DeadLetters } from '../dead-letters.ts'
import { type CommandConnection, connectForCommand, isCode } from './rabbitmq-command-connection.ts'
import { groupOfMessage } from './rabbitmq-message.ts'
import { bodyBytes, handOutBytes } from './rabbitmq-raw-body.ts'
import { deadName, type RabbitmqConfig } from './rabbitmq-topology.ts'

type Config = Pick<RabbitmqConfig, 'amqpUrl' | 'amqpQueue' | 'publishMsMax'>

const ID_DIGITS = 12
/** What the broker has written, and what would have it send copies elsewhere. */
const OWN_HEADERS = /^(?:x-(?:first-|last-)?death|x-delivery-count|x-acquired-count|CC$|BCC$)/

interface RabbitmqDeadLetter extends DeadLetter {
  readonly message: SyncMessage
}

class RabbitmqDeadLetters implements DeadLetters {
  readonly description: string
  readonly count: number
  readonly #config: Config
  readonly #connection: CommandConnection
  readonly #channel: Channel
  #handedOut = 0
  #held = 0
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
    // Those that come meanwhile may be ones that were retried here.
    if (this.#handedOut === this.count) return undefined
    const queue = deadName(this.#config.amqpQueue)
    const message = await this.#asked(() => this.#channel.basicGet({ queue }))
    if (message === undefined) return undefined
    this.#handedOut++
    this.#held++
    return letterOf(message)
  }

  async retry(letter: DeadLetter): Promise<void> {
    const { message, body } = letter as RabbitmqDeadLetter
    const { amqpQueue, publishMsMax } = this.#config
    const patience = new AbortController()
    const overdue = delay(publishMsMax, undefined, patience).then(() => {
      throw new QueueUnavailable(`RabbitMQ did not confirm within ${publishMsMax} ms.`)
    })
    overdue.catch(() => {})
    const envelope = { ...envelopeOf(message), routingKey: amqpQueue, mandatory: true, durable: true }
    await this.#asked(() => Promise.race([this.#channel.basicPublish(envelope, body), overdue])).finally(() =>
      patience.abort(),
    )
    // A message for a queue that is gone is returned and confirmed; the return is handed on a turn later.
    await turn()
    await turn()
    if (this.#hasReturned) throw new QueueUnavailable(`The queue ${amqpQueue} does not exist any more.`)
    await this.drop(letter)
  }

  async drop(letter: DeadLetter): Promise<void> {
    const { deliveryTag } = (letter as RabbitmqDeadLetter).message
    await this.#asked(async () => this.#channel.basicAck({ deliveryTag }))
    this.#held--
    this.#hasSettled = true
  }

  async close(): Promise<void> {
    const queue = deadName(this.#config.amqpQueue)
    try {
      if (!this.#channel.active && !this.#hasSettled) return
      if (this.#held > 0)
        await this.#asked(async () => this.#channel.basicNack({ deliveryTag: 0, multiple: true }))
      // Its answer says that the broker has read all acknowledgements before it.
      await this.#asked(() => this.#channel.queueDeclare({ queue, passive: true }))
    } finally {
      await this.#connection.close()
    }
  }

  async #asked<T>(ask: () => Promise<T>): Promise<T> {
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
  const body = bodyBytes(message.body)
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

/** Of what does not change while it lies there; the broker gives a message no name. */
function idOf({ messageId = '', headers }: SyncMessage, body: Buffer): string {
  const death = causeOf(headers?.['x-death'])
  const hash = createHash('sha256').update(`${messageId}\n${death?.at?.getTime()}\n`).update(body)
  return hash.digest('hex').slice(0, ID_DIGITS)
}

/** The latest entry comes first: https://www.rabbitmq.com/docs/dlx#effects */
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

/** What its publisher gave it. The user id would have to be ours, and a time to live would end it again. */
function envelopeOf(message: SyncMessage): Omit<Envelope, 'routingKey'> {
  const { contentType, contentEncoding, priority, correlationId, replyTo } = message
  const { messageId, timestamp, type, appId, headers = {} } = message
  const given = {
    contentType,
    // `identity` stands where there was none: see `handOutBytes`.
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

/** The client library encodes no bytes and no dates; ours are numbers and texts. */
function isKept([name, value]: [string, unknown]): boolean {
  return !OWN_HEADERS.test(name) && ['string', 'number', 'boolean'].includes(typeof value)
}

/** @throws ConfigInvalid where there are no such queues. */
export async function openRabbitmqDeadLetters(config: Config): Promise<DeadLetters> {
  const connection = await connectForCommand(config.amqpUrl, 'frequency dead')
  try {
    const channel = await connection.openChannel()
    handOutBytes(channel)
    await channel.queueDeclare({ queue: config.amqpQueue, passive: true })
    const { messageCount } = await channel.queueDeclare({ queue: deadName(config.amqpQueue), passive: true })
    await channel.confirmSelect()
    return new RabbitmqDeadLetters(config, connection, channel, messageCount)
  } catch (cause) {
    await connection.close()
    if (isCode(cause, 'NOT_FOUND'))
      throw new ConfigInvalid(
        `AMQP_QUEUE: RabbitMQ at ${new URL(config.amqpUrl).host} has no queue ${config.amqpQueue} with ${deadName(config.amqpQueue)}: ` +
          'frequency serve makes them.',
        { cause },
      )
    throw new QueueUnavailable(`RabbitMQ: ${(cause as Error).message}`, { cause })
  }
}
