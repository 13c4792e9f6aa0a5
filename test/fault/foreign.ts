/** Another program, which publishes to the queue of events over plain AMQP. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Connection } from 'rabbitmq-client'
import { eventOf } from './event-body.ts'
import { Missed } from './fault.ts'
import type { Random } from './random.ts'
import type { Ledger } from './sent-events.ts'

const MESSAGES = [5, 15] as const
const PAUSE_MS = [50, 500] as const
const LINES_MAX = 6
const CONFIRM_MS_MAX = 30_000
const CLOSE_MS_MAX = 1_000
const SIZES = { bytesMin: 20, bytesMax: 400 }
const RECEIVED_MS = [Date.UTC(2020, 0, 1), Date.UTC(2022, 11, 31)] as const

interface Message {
  readonly body: string
  /** Whether it may be published twice. */
  readonly isRepeatable: boolean
  acknowledge(): void
}

/** Rejects after 30 seconds. A cluster whose nodes are cut off from one another may never confirm. */
async function confirmTimeout(): Promise<never> {
  await sleep(CONFIRM_MS_MAX, undefined, { ref: false })
  throw new Missed('A message of another program was not confirmed')
}

export class ForeignPublisher {
  readonly #connection: Connection
  readonly #queue: string
  readonly #ledger: Ledger
  readonly #random: Random

  constructor(connection: Connection, queue: string, ledger: Ledger, random: Random) {
    this.#connection = connection
    this.#queue = queue
    this.#ledger = ledger
    this.#random = random
  }

  /** Publishes some messages. @returns number of messages that the broker has confirmed */
  async publish(): Promise<number> {
    const publisher = this.#connection.createPublisher({ confirm: true })
    let returned = 0
    let confirmed = 0
    publisher.on('basic.return', () => returned++)
    const send = async ({ body, acknowledge }: Message) => {
      const before = returned
      await Promise.race([
        publisher.send({ routingKey: this.#queue, durable: true, mandatory: true }, Buffer.from(body)),
        confirmTimeout(),
      ])
      if (returned > before) return
      acknowledge()
      confirmed++
    }
    try {
      const again: Message[] = []
      for (let left = this.#random.between(...MESSAGES); left > 0; left--) {
        const message = this.#message()
        await send(message)
        if (message.isRepeatable && this.#random.chance(0.5)) again.push(message)
        await sleep(this.#random.between(...PAUSE_MS))
      }
      for (const message of again) await send(message)
    } finally {
      // `close` waits for all confirms.
      await Promise.race([publisher.close(), sleep(CLOSE_MS_MAX, undefined, { ref: false })])
    }
    return confirmed
  }

  #message(): Message {
    const kind = this.#random.pick(['complete', 'complete', 'incomplete', 'junk'] as const)
    if (kind === 'junk') {
      const body = this.#ledger.addJunk()
      return { body, isRepeatable: false, acknowledge: () => this.#ledger.acknowledgeJunk(body) }
    }
    const isComplete = kind === 'complete'
    const ordinals = Array.from({ length: this.#random.between(1, LINES_MAX) }, () =>
      this.#ledger.add(isComplete ? this.#random.pick(['text', 'uuid'] as const) : 'none', undefined),
    )
    return {
      body: ordinals.map(ordinal => this.#line(ordinal, isComplete)).join('\n'),
      isRepeatable: isComplete,
      acknowledge: () => {
        for (const ordinal of ordinals) this.#ledger.acknowledge(ordinal, 'broker')
      },
    }
  }

  #line(ordinal: number, isComplete: boolean): string {
    const event = eventOf(this.#ledger, ordinal, SIZES, this.#random)
    const receivedAt = new Date(this.#random.between(...RECEIVED_MS)).toISOString()
    return JSON.stringify(isComplete ? { ...event, receivedAt } : event)
  }
}
