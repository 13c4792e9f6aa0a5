import { foreignEvent, receivedAtOf } from '../event.ts'
import { type EventGroup, GroupBuilder, groupOf, lineStarts } from '../event-group.ts'
import { type EventTrace, tracesOf } from '../event-trace.ts'
import { ID_BYTES } from '../message-id.ts'
import type { Delivery } from '../queue/queue.ts'

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
  readonly #group: EventGroup
  readonly #starts: Uint32Array
  #next = 0

  constructor(delivery: Delivery) {
    const group = delivery.group ?? foreignGroup(delivery.body)
    this.delivery = delivery
    this.isForeign = group === undefined
    this.#group = group ?? NO_EVENTS
    this.#starts = lineStarts(this.#group)
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
    return receivedAtOf(this.lines(1)).getTime()
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

  #startOf(line: number): number {
    return this.#starts[line] as number
  }
}

/** What another program published: one event, or one a line. */
function foreignGroup(body: Buffer): EventGroup | undefined {
  const now = new Date()
  const event = foreignEvent(body, now)
  if (event !== undefined) return groupOf(event)
  const group = new GroupBuilder()
  for (const line of linesOf(body)) {
    const each = foreignEvent(line, now)
    if (each === undefined) return undefined
    group.add(each)
  }
  return group.build()
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
