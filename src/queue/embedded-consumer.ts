import type { Event } from '../event.ts'
import type { Logger } from '../logger.ts'
import type { DiskLog } from './disk-log.ts'
import { decodeRecord, encodeRecord } from './event-record.ts'
import type { Consumer, Delivery, DeliveryHandler } from './queue.ts'

const READ_EVENTS_MAX = 256

interface EmbeddedDelivery extends Delivery {
  readonly event: Event
  readonly key: number
  /** Counts this consumer's deliveries from 1. */
  readonly ordinal: number
}

interface EmbeddedConsumerOptions {
  readonly handler: DeliveryHandler
  readonly log: Logger
  readonly prefetch: number
  /** Keys up to it may have been handed out before. */
  readonly handedOutKey: number
  stopped(cursor: number): void
}

export class EmbeddedConsumer implements Consumer {
  readonly #events: DiskLog
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

  constructor(events: DiskLog, options: EmbeddedConsumerOptions) {
    this.#events = events
    this.#options = options
    this.#cursor = events.dropped
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
    if (this.#isStopping) return
    const { key, ordinal } = delivery as EmbeddedDelivery
    const before = this.inFlight
    this.#acked = ordinal
    for (const each of this.#deadAhead) if (each <= ordinal) this.#deadAhead.delete(each)
    this.#settle(this.#events.dropThrough(key, before - this.inFlight))
  }

  dead(delivery: Delivery): void {
    if (this.#isStopping) return
    const { key, ordinal, event } = delivery as EmbeddedDelivery
    this.#deadAhead.add(ordinal)
    this.#settle(this.#events.setAside(key, encodeRecord(event)))
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

  #settle(settled: Promise<void>): void {
    this.#settling = Promise.all([this.#settling, settled]).catch(error =>
      this.#options.log.error(
        { err: error },
        'What was settled could not be noted: it will be delivered again.',
      ),
    )
    this.wake()
  }

  #pump(): void {
    let room = Math.min(READ_EVENTS_MAX, this.#options.prefetch - this.inFlight)
    if (this.#isPaused || this.#isStopping || room <= 0) return
    for (const { key, value } of this.#events.read(this.#cursor)) {
      this.#cursor = key
      this.#options.handler.delivery(this.#deliveryOf(key, value))
      if (this.#isPaused || this.#isStopping) return
      if (--room > 0) continue
      this.wake()
      return
    }
  }

  #deliveryOf(key: number, record: Buffer): EmbeddedDelivery {
    const event = decodeRecord(record)
    const redelivered = key <= this.#options.handedOutKey
    return { key, ordinal: ++this.#delivered, event, body: event.body, redelivered }
  }
}
