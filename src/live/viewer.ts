/**
 * Somebody who watches: gets messages as server-sent events (HTML Living Standard, section 9.2), of which
 * those with events are a sample where more come than a person, or a connection, can follow.
 *
 * Nothing waits for a viewer. Events of a tenth of a second leave together; one who does not read what was
 * sent before is dropped.
 */

import type { Writable } from 'node:stream'
import type { EventGroup } from '../event/event-group.ts'
import type { Durability } from '../queue/queue.ts'
import type { EventFilter } from './event-filter.ts'

/** Events a second, and as many at once after a pause. */
export const EVENTS_PER_SECOND_DEFAULT = 50
export const EVENTS_PER_SECOND_MAX = 1_000
/** Bytes of events a second; an event that begins below it is sent whole. */
const BYTES_PER_SECOND_MAX = 2 * 1024 * 1024
/** Events a second that are parsed to see whether they match a filter. */
const PARSED_PER_SECOND_MAX = 5_000
/** What a viewer may leave unread. */
const UNREAD_BYTES_MAX = 1024 * 1024
const LINE_FEED = 0x0a

export interface ViewerOptions {
  readonly filter: EventFilter | undefined
  readonly eventsPerSecond: number
}

interface SeenEvent {
  readonly ack: Durability
  /** As it was received, with our two fields. */
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

  /** False once nothing more can be sent. */
  get isThere(): boolean {
    return !this.#sink.destroyed && !this.#sink.writableEnded
  }

  /** Shows it as many of these events as it may have. */
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

  /** To be called some times a second. @param passedMs since it was called last */
  flush(passedMs: number): void {
    for (const allowance of [this.#events, this.#bytes, this.#parsed]) allowance.refill(passedMs)
    if (this.#pending.length === 0 && this.#omitted === 0) return
    const events = this.#pending
    const omitted = this.#omitted
    this.#pending = []
    this.#omitted = 0
    this.send('events', { events, omitted })
  }

  /** Sends it a message; drops it where it does not keep up. */
  send(name: string, data: object): void {
    if (!this.isThere) return
    if (this.#sink.writableLength > UNREAD_BYTES_MAX) {
      this.#sink.destroy()
      return
    }
    this.#sink.write(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`)
  }

  end(): void {
    if (this.isThere) this.#sink.end()
  }
}

/** So much a second, and no more than that at once. */
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
