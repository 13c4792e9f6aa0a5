/**
 * A client of the live stream. It gets messages as server-sent events (HTML Living Standard, section 9.2). If events
 * arrive faster than its limits, it gets a sample of them, and the number of the omitted ones.
 *
 * Nothing waits for a viewer. The events of 100 ms are sent in one message. A viewer with more than 1 MiB unread is
 * disconnected.
 */

import type { Writable } from 'node:stream'
import type { EventGroup } from '../event/event-group.ts'
import { LINE_FEED } from '../event/json-bytes.ts'
import type { Durability } from '../queue/queue.ts'
import type { EventFilter } from './event-filter.ts'

/** Events per second, and as many at once after a pause. */
export const EVENTS_PER_SECOND_DEFAULT = 50
export const EVENTS_PER_SECOND_MAX = 1_000
/** Bytes of events per second. An event is sent whole if the limit is not reached before it. */
const BYTES_PER_SECOND_MAX = 2 * 1024 * 1024
/** Events per second that are parsed to test them against a filter. */
const PARSED_PER_SECOND_MAX = 5_000
/** Bytes that a viewer may leave unread before it is disconnected. */
const UNREAD_BYTES_MAX = 1024 * 1024

export interface ViewerOptions {
  readonly filter: EventFilter | undefined
  readonly eventsPerSecond: number
}

interface SeenEvent {
  readonly ack: Durability
  /** The stamped event. */
  readonly json: string
}

export class Viewer {
  readonly #sink: Writable
  readonly #options: ViewerOptions
  readonly #events: Allowance
  readonly #bytes = new Allowance(BYTES_PER_SECOND_MAX)
  readonly #parsed = new Allowance(PARSED_PER_SECOND_MAX)
  #pending: SeenEvent[] = []
  #omitted = 0

  constructor(sink: Writable, options: ViewerOptions) {
    this.#sink = sink
    this.#options = options
    this.#events = new Allowance(options.eventsPerSecond)
  }

  /** Whether messages can still be sent. */
  get isConnected(): boolean {
    return !this.#sink.destroyed && !this.#sink.writableEnded
  }

  /** Queues the events that match the filter, as far as the limits allow. Counts events above the limits as omitted. */
  offer({ lines, count }: EventGroup, ack: Durability): void {
    const needle = this.#options.filter?.needle
    if (needle !== undefined && !lines.includes(needle)) return
    let start = 0
    for (let n = 0; n < count; n++) {
      if (!this.#canTake()) {
        this.#omitted += count - n
        return
      }
      const next = lines.indexOf(LINE_FEED, start)
      const end = next === -1 ? lines.length : next
      this.#take(lines.subarray(start, end), ack)
      start = end + 1
    }
  }

  #canTake(): boolean {
    const { filter } = this.#options
    return filter === undefined ? this.#events.isLeft && this.#bytes.isLeft : this.#parsed.isLeft
  }

  #take(line: Buffer, ack: Durability): void {
    const { filter } = this.#options
    if (filter?.needle !== undefined && !line.includes(filter.needle)) return
    const json = line.toString()
    if (filter !== undefined) {
      this.#parsed.take(1)
      if (!filter.matches(JSON.parse(json))) return
    }
    if (!this.#events.isLeft || !this.#bytes.isLeft) {
      this.#omitted++
      return
    }
    this.#events.take(1)
    this.#bytes.take(line.length)
    this.#pending.push({ ack, json })
  }

  /** Sends the queued events. To be called several times a second. @param passedMs time since the last call */
  flush(passedMs: number): void {
    for (const allowance of [this.#events, this.#bytes, this.#parsed]) allowance.refill(passedMs)
    if (this.#pending.length === 0 && this.#omitted === 0) return
    const events = this.#pending
    const omitted = this.#omitted
    this.#pending = []
    this.#omitted = 0
    this.send('events', { events, omitted })
  }

  /** Sends a message, or disconnects the viewer if it has left too much unread. */
  send(name: string, data: object): void {
    if (!this.isConnected) return
    if (this.#sink.writableLength > UNREAD_BYTES_MAX) {
      this.#sink.destroy()
      return
    }
    this.#sink.write(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`)
  }

  end(): void {
    if (this.isConnected) this.#sink.end()
  }
}

/** A token bucket: an amount per second, and at most the amount of one second at once. */
class Allowance {
  readonly #perSecond: number
  #left: number

  constructor(perSecond: number) {
    this.#perSecond = perSecond
    this.#left = perSecond
  }

  get isLeft(): boolean {
    return this.#left >= 1
  }

  take(amount: number): void {
    this.#left -= amount
  }

  refill(passedMs: number): void {
    this.#left = Math.min(this.#perSecond, this.#left + (this.#perSecond * passedMs) / 1000)
  }
}
