import type { IdSet } from '../dedupe/id-set.ts'
import { type ForeignEvent, foreignEvent } from '../event/event.ts'
import { type EventGroup, GroupBuilder, lineStarts } from '../event/event-group.ts'
import { type EventTrace, tracesOf } from '../event/event-trace.ts'
import { ID_BYTES } from '../event/message-id.ts'
import { receivedAtOf } from '../event/received-at.ts'
import type { Delivery } from '../queue/queue.ts'
import type { PendingDelivery } from './pending-delivery.ts'

const NO_EVENTS: EventGroup = {
  count: 0,
  ids: Buffer.alloc(0),
  lines: Buffer.alloc(0),
  traces: undefined,
}

const NO_STARTS = Uint32Array.of(0)

/** A delivery whose events are taken one after the other, into one batch or into several. */
export class DeliveredEvents {
  readonly delivery: Delivery
  /** The message holds no events, and goes to the dead letters. */
  readonly isUnreadable: boolean
  /** Set once its events are being taken. */
  pending: PendingDelivery | undefined
  readonly #group: EventGroup
  readonly #starts: Uint32Array
  /** For an event that has no stamp. */
  readonly #arrivedAt = Date.now()
  readonly #known: IdSet[] = []
  #lookedUpThrough = -1
  #next = 0

  constructor(delivery: Delivery) {
    const own = delivery.group && lineStarts(delivery.group)
    const foreign = own === undefined ? foreignGroup(delivery.body) : undefined
    const starts = own ?? (foreign && lineStarts(foreign))
    this.delivery = delivery
    this.isUnreadable = starts === undefined
    this.#group = (own === undefined ? starts && foreign : delivery.group) ?? NO_EVENTS
    this.#starts = starts ?? NO_STARTS
  }

  /** How many events are in it. */
  get events(): number {
    return this.#group.count
  }

  /** How many events have not been taken. */
  get left(): number {
    return this.#group.count - this.#next
  }

  get ids(): Buffer {
    return this.#group.ids
  }

  /** Where in `ids` the id of the event stands that is `ahead` of the next one. */
  idAt(ahead: number): number {
    return (this.#next + ahead) * ID_BYTES
  }

  /** Length of the JSON of the event that is `ahead` of the next one. */
  lengthOf(ahead: number): number {
    const at = this.#next + ahead
    return this.#startOf(at + 1) - this.#startOf(at) - 1
  }

  /** The JSON of `count` events, a line each, of which the first is `ahead` of the next one. */
  lines(count: number, ahead = 0): Buffer {
    const at = this.#next + ahead
    return this.#group.lines.subarray(this.#startOf(at), this.#startOf(at + count) - 1)
  }

  /** When the event was received that is `ahead` of the next one, in milliseconds since 1970. */
  receivedAt(ahead: number): number {
    const ms = receivedAtOf(this.#group.lines, this.#startOf(this.#next + ahead + 1) - 1)
    return Number.isNaN(ms) ? this.#arrivedAt : ms
  }

  get isTraced(): boolean {
    return this.#group.traces !== undefined
  }

  /** Those that are known of the next `count` events. */
  traces(count: number): EventTrace[] {
    return this.#group.traces === undefined ? [] : tracesOf(this.#group.traces, this.#next, count)
  }

  /** The last record among whose events its own were looked up, since their ids are forgotten; -1 where they were not. */
  get lookedUpThrough(): number {
    return this.#lookedUpThrough
  }

  /**
   * @param known ids of its events that are archived
   * @param through the last record that was looked at
   */
  lookedUp(known: IdSet, through: number): void {
    if (known.size > 0) this.#known.push(known)
    this.#lookedUpThrough = through
  }

  /** Whether a look-up has found this id. @param at where it begins in `ids` */
  isKnown(at: number): boolean {
    return this.#known.some(known => known.has(this.ids, at))
  }

  skip(count: number): void {
    this.#next += count
  }

  #startOf(line: number): number {
    return this.#starts[line] as number
  }
}

/** What another program published: one event, or one a line. */
function foreignGroup(body: Buffer): EventGroup | undefined {
  const events = foreignEvents(body)
  if (events === undefined) return undefined
  const builder = new GroupBuilder()
  for (const event of events) builder.add(event)
  return builder.build()
}

function foreignEvents(body: Buffer): ForeignEvent[] | undefined {
  const now = new Date()
  const event = foreignEvent(body, now)
  if (event !== undefined) return [event]
  const events: ForeignEvent[] = []
  for (const line of linesOf(body)) {
    const each = foreignEvent(line, now)
    if (each === undefined) return undefined
    events.push(each)
  }
  return events
}

/** Without the line breaks between them, nor the one at the end. */
function* linesOf(body: Buffer): Iterable<Buffer> {
  let start = 0
  for (let end = body.indexOf('\n'); end !== -1; end = body.indexOf('\n', start)) {
    yield body.subarray(start, end)
    start = end + 1
  }
  if (start < body.length || start === 0) yield body.subarray(start)
}
