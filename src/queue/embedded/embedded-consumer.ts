import { decodeGroup, type EventGroup, encodeGroup } from '../../event/event-group.ts'
import type { Logger } from '../../process/logger.ts'
import type { Consumer, Delivery, DeliveryHandler } from '../queue.ts'
import type { DiskLog, LogEntry } from './disk-log.ts'

const READ_RECORDS_MAX = 256

interface EmbeddedDelivery extends Delivery {
  readonly group: EventGroup
  readonly key: number
}

/** An entry of the log that was delivered and is not dropped yet. The body is not kept in memory. */
interface Entry {
  readonly key: number
  readonly events: number
  /** `dead`: the dead letter is not on disk yet. `dead on disk`: it is. */
  state: 'open' | 'acknowledged' | 'dead' | 'dead on disk'
}

interface EmbeddedConsumerOptions {
  readonly handler: DeliveryHandler
  readonly log: Logger
  /** Limit of unsettled records. */
  readonly prefetch: number
  /** Limit of unsettled events. */
  readonly prefetchEvents: number
  /** Records up to this key may have been delivered before. */
  readonly deliveredKey: number
  /** Called when the consumer has stopped. @param cursor key of the last delivered record */
  stopped(cursor: number): void
}

/**
 * Delivers the log's records from a cursor on. The log can only be dropped from its front. So if an earlier
 * record is open, later ones are settled in memory only, until the earlier one is settled too. After a crash they
 * are delivered again.
 */
export class EmbeddedConsumer implements Consumer {
  readonly #events: DiskLog
  readonly #options: EmbeddedConsumerOptions
  #cursor: number
  /** By key, in the order of the log. */
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

  /** Events that are delivered and not settled. */
  get openEvents(): number {
    return this.#openEvents
  }

  /** Events that are acknowledged, and still in the log because an earlier record is open. */
  get acknowledgedEvents(): number {
    return this.#acknowledgedEvents
  }

  /** Delivers more records at the end of this turn, if there are any and the prefetch has room. */
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
      const entry = this.#settle(delivery, 'acknowledged')
      this.#acknowledgedEvents += entry?.events ?? 0
    }
    this.#track(this.#dropSettled())
  }

  dead(delivery: Delivery): void {
    if (this.#isStopping) return
    const entry = this.#settle(delivery, 'dead')
    if (entry !== undefined) this.#track(this.#deadLetter(entry, (delivery as EmbeddedDelivery).group))
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

  /** @returns undefined if the delivery was settled before */
  #settle(delivery: Delivery, state: 'acknowledged' | 'dead'): Entry | undefined {
    const entry = this.#entries.get((delivery as EmbeddedDelivery).key)
    if (entry?.state !== 'open') return undefined
    entry.state = state
    this.#open--
    this.#openEvents -= entry.events
    return entry
  }

  /** The log is dropped past an entry only after its dead letter is on disk. */
  async #deadLetter(entry: Entry, group: EventGroup): Promise<void> {
    await this.#events.addDead(entry.key, encodeGroup(group))
    entry.state = 'dead on disk'
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

  /** Lets `stop` wait for a write. Logs if it fails. */
  #track(write: Promise<void>): void {
    this.#settling = Promise.all([this.#settling, write]).catch(error =>
      this.#options.log.error(
        { err: error },
        'Settled deliveries could not be recorded on disk. They will be delivered again.',
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
    const redelivered = key <= this.#options.deliveredKey
    this.#entries.set(key, { key, events: count, state: 'open' })
    this.#open++
    this.#openEvents += count
    return { key, group, body: group.lines, redelivered }
  }
}
