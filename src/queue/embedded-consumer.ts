import type { Logger } from '../logger.ts'
import { type EmbeddedTables, SETTLED_KEY } from './embedded.ts'
import { decodeRecord } from './event-record.ts'
import type { Consumer, Delivery, DeliveryHandler } from './queue.ts'

const READ_EVENTS_MAX = 256
const REMOVE_EVENTS_MAX = 10_000

interface EmbeddedDelivery extends Delivery {
  readonly key: number
  /** Counts this consumer's deliveries from 1. */
  readonly ordinal: number
}

interface EmbeddedConsumerOptions {
  readonly handler: DeliveryHandler
  readonly log: Logger
  readonly prefetch: number
  /** All keys up to it are settled. */
  readonly settledKey: number
  /** Keys up to it may have been handed out before. */
  readonly handedOutKey: number
  stopped(cursor: number): void
}

export class EmbeddedConsumer implements Consumer {
  readonly #tables: EmbeddedTables
  readonly #options: EmbeddedConsumerOptions
  #cursor: number
  #delivered = 0
  #acked = 0
  /** Ordinals of dead deliveries that no acknowledgement has passed yet. */
  readonly #deadAhead = new Set<number>()
  #isPaused = false
  #isStopping = false
  #isPumpDue = false
  #settling: Promise<unknown> = Promise.resolve()

  constructor(tables: EmbeddedTables, options: EmbeddedConsumerOptions) {
    this.#tables = tables
    this.#options = options
    this.#cursor = options.settledKey
    this.#settling = this.#removeThrough(options.settledKey)
    this.wake()
  }

  get inFlight(): number {
    return this.#delivered - this.#acked - this.#deadAhead.size
  }

  wake(): void {
    if (this.#isPumpDue || this.#isPaused || this.#isStopping) return
    this.#isPumpDue = true
    setImmediate(() => {
      this.#isPumpDue = false
      this.#pump()
    })
  }

  ackThrough(delivery: Delivery): void {
    const { key, ordinal } = delivery as EmbeddedDelivery
    this.#acked = ordinal
    for (const each of this.#deadAhead) if (each <= ordinal) this.#deadAhead.delete(each)
    const settled = this.#tables.settled.put(SETTLED_KEY, key)
    this.#settle(settled.then(() => this.#removeThrough(key)))
  }

  dead(delivery: Delivery): void {
    const { key, ordinal, body } = delivery as EmbeddedDelivery
    this.#deadAhead.add(ordinal)
    // Writes that begin in one turn of the event loop are one transaction.
    this.#settle(Promise.all([this.#tables.dead.put(key, body), this.#tables.events.remove(key)]))
  }

  pause(): void {
    this.#isPaused = true
  }

  resume(): void {
    if (!this.#isPaused) return
    this.#isPaused = false
    this.wake()
  }

  async stop(): Promise<void> {
    this.#isStopping = true
    await this.#settling
    this.#options.stopped(this.#cursor)
  }

  #settle(written: Promise<unknown>): void {
    this.#settling = Promise.all([this.#settling, written]).catch(error =>
      this.#options.log.error(
        { err: error },
        'What is archived could not be removed from the queue; it is when it next starts.',
      ),
    )
    this.wake()
  }

  async #removeThrough(key: number): Promise<void> {
    let keys: number[]
    do {
      keys = [...this.#tables.events.getKeys({ end: key + 1, limit: REMOVE_EVENTS_MAX })]
      await Promise.all(keys.map(each => this.#tables.events.remove(each)))
    } while (keys.length === REMOVE_EVENTS_MAX)
  }

  #pump(): void {
    const room = Math.min(READ_EVENTS_MAX, this.#options.prefetch - this.inFlight)
    if (this.#isPaused || this.#isStopping || room <= 0) return
    let count = 0
    for (const { key, value } of this.#tables.events.getRange({ start: this.#cursor + 1, limit: room })) {
      count++
      this.#cursor = key
      this.#options.handler.delivery(this.#deliveryOf(key, value))
      if (this.#isPaused || this.#isStopping) return
    }
    if (count === room) this.wake()
  }

  #deliveryOf(key: number, record: Buffer): EmbeddedDelivery {
    const event = decodeRecord(record)
    const redelivered = key <= this.#options.handedOutKey
    return { key, ordinal: ++this.#delivered, event, body: event.body, redelivered }
  }
}
