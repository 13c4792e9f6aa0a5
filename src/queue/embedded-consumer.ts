import { decodeGroup, type EventGroup, encodeGroup } from '../event-group.ts'
import type { Logger } from '../logger.ts'
import type { DiskLog, LogEntry } from './disk-log.ts'
import type { Consumer, Delivery, DeliveryHandler } from './queue.ts'

const READ_RECORDS_MAX = 256

interface EmbeddedDelivery extends Delivery {
  readonly group: EventGroup
  readonly key: number
  /** Counts this consumer's deliveries from 1. */
  readonly ordinal: number
  /** Events in this delivery and all before it. */
  readonly eventsThrough: number
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
  #deliveredEvents = 0
  #acked = 0
  #ackedEvents = 0
  /** Dead deliveries that no acknowledgement has passed yet, by their ordinals. */
  readonly #deadAhead = new Map<number, EmbeddedDelivery>()
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

  get eventsInFlight(): number {
    let events = this.#deliveredEvents - this.#ackedEvents
    for (const { group } of this.#deadAhead.values()) events -= group.count
    return events
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
    const { key, ordinal, eventsThrough } = delivery as EmbeddedDelivery
    const before = this.eventsInFlight
    this.#acked = ordinal
    this.#ackedEvents = eventsThrough
    for (const each of this.#deadAhead.keys()) if (each <= ordinal) this.#deadAhead.delete(each)
    this.#settle(this.#events.dropThrough(key, before - this.eventsInFlight))
  }

  dead(delivery: Delivery): void {
    if (this.#isStopping) return
    const embedded = delivery as EmbeddedDelivery
    this.#deadAhead.set(embedded.ordinal, embedded)
    this.#settle(this.#events.setAside(embedded.key, encodeGroup(embedded.group)))
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
    let room = Math.min(READ_RECORDS_MAX, this.#options.prefetch - this.inFlight)
    if (this.#isPaused || this.#isStopping || room <= 0) return
    for (const entry of this.#events.read(this.#cursor)) {
      this.#cursor = entry.key
      this.#options.handler.delivery(this.#deliveryOf(entry))
      if (this.#isPaused || this.#isStopping) return
      if (--room > 0) continue
      this.wake()
      return
    }
  }

  #deliveryOf({ key, count, value }: LogEntry): EmbeddedDelivery {
    const group = decodeGroup(count, value)
    const redelivered = key <= this.#options.handedOutKey
    this.#delivered++
    this.#deliveredEvents += count
    return {
      key,
      ordinal: this.#delivered,
      eventsThrough: this.#deliveredEvents,
      group,
      body: group.lines,
      redelivered,
    }
  }
}
