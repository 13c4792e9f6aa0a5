import { type ForeignEvent, foreignEvent, receivedAtOf } from '../event.ts'
import { type EventGroup, GroupBuilder, lineStarts } from '../event-group.ts'
import { type EventTrace, tracesOf } from '../event-trace.ts'
import { ID_BYTES } from '../message-id.ts'
import type { Delivery } from '../queue/queue.ts'
import type { ReceivedSpan } from './archive-sync.ts'

const NO_EVENTS: EventGroup = {
  count: 0,
  ids: Buffer.alloc(0),
  lines: Buffer.alloc(0),
  traces: undefined,
}

/** A delivery whose events are taken one after the other, into one batch or into several. */
export class Incoming {
  readonly delivery: Delivery
  /** True for what holds no event, and never will. */
  readonly isForeign: boolean
  /** Its events are the same to the byte whenever it is delivered: so they may give a batch its key. */
  readonly isRepeatable: boolean
  readonly #group: EventGroup
  readonly #starts: Uint32Array
  #next = 0

  constructor(delivery: Delivery) {
    const starts = delivery.group && lineStarts(delivery.group)
    const foreign = starts === undefined ? foreignGroup(delivery.body) : undefined
    this.delivery = delivery
    this.isForeign = starts === undefined && foreign === undefined
    this.isRepeatable = foreign?.isRepeatable ?? true
    this.#group = (starts === undefined ? foreign?.group : delivery.group) ?? NO_EVENTS
    this.#starts = starts ?? (lineStarts(this.#group) as Uint32Array)
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

  /** When the next event was received, in milliseconds since 1970. */
  get nextReceivedAt(): number {
    return this.#receivedAt(0)
  }

  /** Of its events that were not taken. They came together, but a clock may have stepped meanwhile. */
  get receivedSpan(): ReceivedSpan {
    const isOurs = this.delivery.group !== undefined
    if (this.left === 0) return { first: Date.now(), last: Date.now(), isOurs }
    let first = Number.POSITIVE_INFINITY
    let last = Number.NEGATIVE_INFINITY
    for (let ahead = 0; ahead < this.left; ahead++) {
      const at = this.#receivedAt(ahead)
      first = Math.min(first, at)
      last = Math.max(last, at)
    }
    return { first, last, isOurs }
  }

  get isTraced(): boolean {
    return this.#group.traces !== undefined
  }

  /** Those that are known of the next `count` events. */
  traces(count: number): EventTrace[] {
    return this.#group.traces === undefined ? [] : tracesOf(this.#group.traces, this.#next, count)
  }

  skip(count: number): void {
    this.#next += count
  }

  /** One that has no stamp, which only the last line is sure to have, goes by that of the last. */
  #receivedAt(ahead: number): number {
    const own = receivedAtOf(this.lines(1, ahead)).getTime()
    return Number.isNaN(own) ? receivedAtOf(this.#group.lines).getTime() : own
  }

  #startOf(line: number): number {
    return this.#starts[line] as number
  }
}

interface ForeignGroup {
  readonly group: EventGroup
  readonly isRepeatable: boolean
}

/** What another program published: one event, or one a line. */
function foreignGroup(body: Buffer): ForeignGroup | undefined {
  const events = foreignEvents(body)
  if (events === undefined) return undefined
  const builder = new GroupBuilder()
  for (const event of events) builder.add(event)
  return { group: builder.build(), isRepeatable: events.every(({ isComplete }) => isComplete) }
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
