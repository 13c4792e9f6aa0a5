/** A queue on the broker: fills it, or counts its messages and removes them. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { AsyncMessage, Connection } from 'rabbitmq-client'
import { until } from '../test/services/wait.ts'

const POLL_MS = 100
const READ_MS_MAX = 120_000
const FILL_IN_FLIGHT = 1_000
const LINE_FEED = 0x0a

export interface QueueContent {
  readonly messages: number
  readonly events: number
  /** Messages whose header `frequency-count` differs from their number of lines. */
  readonly miscounted: number
}

export class BrokerQueue {
  readonly name: string
  readonly #connection: Connection

  constructor(connection: Connection, name: string) {
    this.name = name
    this.#connection = connection
  }

  async declare(): Promise<void> {
    await this.#connection.queueDeclare({
      queue: this.name,
      durable: true,
      arguments: { 'x-queue-type': 'quorum' },
    })
  }

  /** Resolves to the number of ready messages, when two counts in a row are equal. */
  async depth(): Promise<number> {
    for (let last = -1; ; ) {
      const { messageCount } = await this.#connection.queueDeclare({ queue: this.name, passive: true })
      if (messageCount === last) return messageCount
      last = messageCount
      await sleep(POLL_MS)
    }
  }

  /** Removes all messages, and counts one event for each. */
  async purgeSingles(): Promise<QueueContent> {
    const messages = await this.depth()
    await this.#connection.queuePurge({ queue: this.name })
    return { messages, events: messages, miscounted: 0 }
  }

  /** Reads all messages of frequency, and counts their events, which have a line each. */
  async readGroups(): Promise<QueueContent> {
    const content = { messages: 0, events: 0, miscounted: 0 }
    await this.#read(content, message => {
      const events = linesOf(message)
      content.messages++
      content.events += events
      if (message.headers?.['frequency-count'] !== events) content.miscounted++
    })
    return content
  }

  /** Reads all messages, and counts their events. The message is the request body: an event, or a batch of the Segment API. */
  async readBodies(): Promise<QueueContent> {
    const content = { messages: 0, events: 0, miscounted: 0 }
    await this.#read(content, ({ body }) => {
      const { batch } = (Buffer.isBuffer(body) ? JSON.parse(body.toString()) : body) as { batch?: unknown[] }
      content.messages++
      content.events += batch?.length ?? 1
    })
    return content
  }

  async #read(
    content: { readonly messages: number },
    onMessage: (message: AsyncMessage) => void,
  ): Promise<void> {
    const waiting = await this.depth()
    const consumer = this.#connection.createConsumer(
      { queue: this.name, queueOptions: { passive: true }, noAck: true },
      onMessage,
    )
    try {
      await until(`${waiting} messages are read`, READ_MS_MAX, () => content.messages >= waiting)
    } finally {
      await consumer.close()
    }
  }

  /** Publishes `count` persistent messages with an event each, and waits for their publisher confirms. */
  async fill(events: readonly string[], count: number): Promise<void> {
    const channel = await this.#connection.acquire()
    await channel.confirmSelect()
    for (let from = 0; from < count; from += FILL_IN_FLIGHT) {
      const size = Math.min(FILL_IN_FLIGHT, count - from)
      const sent = Array.from({ length: size }, (_, n) =>
        channel.basicPublish(
          { routingKey: this.name, durable: true, contentType: 'application/json' },
          Buffer.from(events[(from + n) % events.length] as string),
        ),
      )
      await Promise.all(sent)
    }
    await channel.close()
  }
}

function linesOf({ body }: AsyncMessage): number {
  if (!Buffer.isBuffer(body))
    throw new TypeError('The client library has decoded the body of a message of frequency.')
  let lines = 1
  for (let at = body.indexOf(LINE_FEED); at !== -1; at = body.indexOf(LINE_FEED, at + 1)) lines++
  return lines
}
