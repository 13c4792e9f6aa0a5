import type { IdSet } from '../dedupe/id-set.ts'
import { type ForeignEvent, foreignEvent } from '../event/event.ts'
import { type EventGroup, GroupBuilder, lineStarts } from '../event/event-group.ts'
import { type EventTrace, tracesOf } from '../event/event-trace.ts'
import { ID_BYTES } from '../event/message-id.ts'
import { receivedAtOf } from '../event/received-at.ts'
import type { Delivery } from '../queue/queue.ts'
import type { SuppressedUsers } from '../suppression/suppressed-users.ts'
import type { PendingDelivery } from './pending-delivery.ts'

const NO_EVENTS: EventGroup = {
  count: 0,
  ids: Buffer.alloc(0),
  lines: Buffer.alloc(0),
  traces: undefined,
}

const NO_STARTS = Uint32Array.of(0)

/** The events of one delivery, and how many of them have been taken. They may go into several batches. */
export class DeliveredEvents {
  readonly delivery: Delivery
  /** Whether the message cannot be read as events. It is then dead-lettered. */
  readonly isUnreadable: boolean
  /** Set when the first event is taken. */
  pending: PendingDelivery | undefined
  readonly #group: EventGroup
  readonly #starts: Uint32Array
  /** Stands for `receivedAt` of an event that has none. */
  readonly #arrivedAt = Date.now()
  /** Ids that look-ups have found in the archive. */
  readonly #archived: IdSet[] = []
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

  /** How many events the delivery has. */
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

  /** Offset in `ids` of an event. @param ahead its distance from the next event; 0 is the next one */
  idAt(ahead: number): number {
    return (this.#next + ahead) * ID_BYTES
  }

  /** Bytes of the JSON of an event. @param ahead as for `idAt` */
  lengthOf(ahead: number): number {
    const at = this.#next + ahead
    return this.#startOf(at + 1) - this.#startOf(at) - 1
  }

  /** The JSON of `count` events, one a line, without a line feed at the end. @param ahead of the first event */
  lines(count: number, ahead = 0): Buffer {
    const at = this.#next + ahead
    return this.#group.lines.subarray(this.#startOf(at), this.#startOf(at + count) - 1)
  }

  /** `receivedAt` of an event, in milliseconds since 1970. @param ahead as for `idAt` */
  receivedAt(ahead: number): number {
    const ms = receivedAtOf(this.#group.lines, this.#startOf(this.#next + ahead + 1) - 1)
    return Number.isNaN(ms) ? this.#arrivedAt : ms
  }

  /** Whether an event is of a suppressed user. @param ahead as for `idAt` */
  isOf(suppressed: Pick<SuppressedUsers, 'has' | 'size'>, ahead: number): boolean {
    return suppressed.size > 0 && suppressed.has(this.lines(1, ahead))
  }

  get isTraced(): boolean {
    return this.#group.traces !== undefined
  }

  /** The traces of the next `count` events. */
  traces(count: number): EventTrace[] {
    return this.#group.traces === undefined ? [] : tracesOf(this.#group.traces, this.#next, count)
  }

  /** The events were looked up in the objects of all records up to this one; -1 if they were not looked up. */
  get lookedUpThrough(): number {
    return this.#lookedUpThrough
  }

  /**
   * @param archived ids that were found in the archive
   * @param through the last record whose objects were searched
   */
  noteLookup(archived: IdSet, through: number): void {
    if (archived.size > 0) this.#archived.push(archived)
    this.#lookedUpThrough = through
  }

  /** Whether a look-up has found this id in the archive. @param at its offset in `ids` */
  isArchived(at: number): boolean {
    return this.#archived.some(archived => archived.has(this.ids, at))
  }

  skip(count: number): void {
    this.#next += count
  }

  #startOf(line: number): number {
    return this.#starts[line] as number
  }
}

/** Reads a message of another program: one event, or one a line. @returns undefined if it cannot be read */
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

/** Yields the lines without their line feeds. The last line may lack one. */
function* linesOf(body: Buffer): Iterable<Buffer> {
  let start = 0
  for (let end = body.indexOf('\n'); end !== -1; end = body.indexOf('\n', start)) {
    yield body.subarray(start, end)
    start = end + 1
  }
  if (start < body.length || start === 0) yield body.subarray(start)
}
