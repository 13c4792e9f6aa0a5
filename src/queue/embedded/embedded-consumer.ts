import { decodeGroup, type EventGroup, encodeGroup } from '../../event/event-group.ts'
import type { Logger } from '../../process/logger.ts'
import type { Consumer, Delivery, DeliveryHandler } from '../queue.ts'
import type { DiskLog, LogEntry } from './disk-log.ts'

const READ_RECORDS_MAX = 256

interface EmbeddedDelivery extends Delivery {
  readonly group: EventGroup
  readonly key: number
}

/** An entry of the log that was delivered and is not dropped yet. It does not keep the body in memory. */
interface Entry {
  readonly key: number
  readonly events: number
  /** `dead` is not kept apart on disk yet, `aside` is. */
  state: 'open' | 'acknowledged' | 'dead' | 'aside'
}

interface EmbeddedConsumerOptions {
  readonly handler: DeliveryHandler
  readonly log: Logger
  /** Of records. */
  readonly prefetch: number
  readonly prefetchEvents: number
  /** Keys up to it may have been handed out before. */
  readonly handedOutKey: number
  stopped(cursor: number): void
}

/**
 * Reads on from a cursor. The log can only be dropped from its front, so what is settled behind something
 * open is settled in memory alone until that is settled too, and comes again after a crash.
 */
export class EmbeddedConsumer implements Consumer {
  readonly #events: DiskLog
  readonly #options: EmbeddedConsumerOptions
  #cursor: number
  /** By their keys, in the order of the log. */
  readonly #entries = new Map<number, Entry>()
  #open = 0
  #openEvents = 0
  #acknowledgedEvents = 0
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

  /** Delivered and not settled. */
  get openEvents(): number {
    return this.#openEvents
  }

  /** Acknowledged, and still in the log, behind something that is open. */
  get acknowledgedEvents(): number {
    return this.#acknowledgedEvents
  }

  wake(): void {
    if (this.#isPumpDue || this.#isPaused || this.#isStopping) return
    this.#isPumpDue = true
    setImmediate(() => {
      this.#isPumpDue = false
      this.#pump()
    })
  }

  ack(deliveries: readonly Delivery[]): void {
    if (this.#isStopping) return
    for (const delivery of deliveries) {
      const entry = this.#close(delivery, 'acknowledged')
      this.#acknowledgedEvents += entry?.events ?? 0
    }
    this.#settle(this.#dropSettled())
  }

  dead(delivery: Delivery): void {
    if (this.#isStopping) return
    const entry = this.#close(delivery, 'dead')
    if (entry !== undefined) this.#settle(this.#setAside(entry, (delivery as EmbeddedDelivery).group))
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

  /** Undefined where the delivery was settled before. */
  #close(delivery: Delivery, state: 'acknowledged' | 'dead'): Entry | undefined {
    const entry = this.#entries.get((delivery as EmbeddedDelivery).key)
    if (entry?.state !== 'open') return undefined
    entry.state = state
    this.#open--
    this.#openEvents -= entry.events
    return entry
  }

  /** The log is dropped past a dead entry only once that is kept apart on disk. */
  async #setAside(entry: Entry, group: EventGroup): Promise<void> {
    await this.#events.setAside(entry.key, encodeGroup(group))
    entry.state = 'aside'
    await this.#dropSettled()
  }

  async #dropSettled(): Promise<void> {
    let last: Entry | undefined
    let events = 0
    for (const entry of this.#entries.values()) {
      if (entry.state === 'open' || entry.state === 'dead') break
      if (entry.state === 'acknowledged') events += entry.events
      this.#entries.delete(entry.key)
      last = entry
    }
    this.#acknowledgedEvents -= events
    if (last !== undefined) await this.#events.dropThrough(last.key, events)
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

  get #hasRoom(): boolean {
    const { prefetch, prefetchEvents } = this.#options
    return this.#open < prefetch && this.#openEvents < prefetchEvents
  }

  #pump(): void {
    if (this.#isPaused || this.#isStopping || !this.#hasRoom) return
    let records = 0
    for (const entry of this.#events.read(this.#cursor)) {
      this.#cursor = entry.key
      this.#options.handler.delivery(this.#deliveryOf(entry))
      if (this.#isPaused || this.#isStopping) return
      if (++records < READ_RECORDS_MAX && this.#hasRoom) continue
      this.wake()
      return
    }
  }

  #deliveryOf({ key, count, value }: LogEntry): EmbeddedDelivery {
    const group = decodeGroup(count, value)
    const redelivered = key <= this.#options.handedOutKey
    this.#entries.set(key, { key, events: count, state: 'open' })
    this.#open++
    this.#openEvents += count
    return { key, group, body: group.lines, redelivered }
  }
}
