import { type Event, parseObject } from './event.ts'
import { type EventTrace, TraceList, tracesStart, traceTrailer } from './event-trace.ts'
import { ID_BYTES, identityOf, writeIdentity } from './message-id.ts'

/**
 * Events that travel together, as one message on the broker or one record on disk. They are copied
 * together once, where they are taken in, and are one buffer from then on.
 */
export interface EventGroup {
  readonly count: number
  /** 16 bytes an event, in order (message-id.ts). */
  readonly ids: Buffer
  /** The events' JSON, with a line feed between one and the next, and none at the end. */
  readonly lines: Buffer
  /** Of the events that came with one (event-trace.ts). */
  readonly traces?: Buffer | undefined
}

/** What a group can hold, and still be told apart from others by a key of the embedded queue (disk-log.ts). */
export const GROUP_EVENTS_MAX = 4096

const LINE_FEED = 0x0a
const EVENTS_MIN = 16
const BYTES_MIN = 8 * 1024
const NO_BYTES = Buffer.alloc(0)

/** Collects events into a group. A first event is copied only when there is a second. */
export class GroupBuilder {
  readonly #bytesExpected: number
  #first: Buffer | undefined
  #lines: Buffer = NO_BYTES
  #ids: Buffer = Buffer.allocUnsafe(EVENTS_MIN * ID_BYTES)
  #bytes = 0
  #count = 0
  #traces: TraceList | undefined

  /** @param bytes that it will have, about */
  constructor(bytes = 0) {
    this.#bytesExpected = bytes
  }

  get count(): number {
    return this.#count
  }

  /** Length of the lines. */
  get bytes(): number {
    return this.#bytes
  }

  add({ messageId, source, body }: Event, trace?: EventTrace): void {
    if (trace !== undefined) this.#trace(trace)
    const idAt = this.#count * ID_BYTES
    if (idAt === this.#ids.length) this.#ids = grown(this.#ids, idAt, idAt + ID_BYTES)
    writeIdentity(messageId, source, this.#ids, idAt)
    if (this.#count === 0) {
      this.#first = body
      this.#bytes = body.length
    } else {
      this.#append(body)
    }
    this.#count++
  }

  build(): EventGroup {
    return {
      count: this.#count,
      ids: this.#ids.subarray(0, this.#count * ID_BYTES),
      lines: this.#first ?? this.#lines.subarray(0, this.#bytes),
      traces: this.#traces?.bytes,
    }
  }

  #append(body: Buffer): void {
    const end = this.#bytes + 1 + body.length
    if (this.#first !== undefined) {
      this.#lines = Buffer.allocUnsafe(Math.max(BYTES_MIN, this.#bytesExpected, end))
      this.#first.copy(this.#lines)
      this.#first = undefined
    }
    if (end > this.#lines.length) this.#lines = grown(this.#lines, this.#bytes, end)
    this.#lines[this.#bytes] = LINE_FEED
    body.copy(this.#lines, this.#bytes + 1)
    this.#bytes = end
  }

  #trace(trace: EventTrace): void {
    this.#traces ??= new TraceList()
    this.#traces.add(this.#count, trace)
  }
}

function grown(buffer: Buffer, used: number, wanted: number): Buffer {
  const larger = Buffer.allocUnsafe(Math.max(2 * buffer.length, wanted))
  buffer.copy(larger, 0, 0, used)
  return larger
}

/**
 * Where each line begins, and behind them where one more would: line `n` ends a byte before the next begins.
 * Undefined where there are not as many lines as events.
 */
export function lineStarts({ count, lines }: Pick<EventGroup, 'count' | 'lines'>): Uint32Array | undefined {
  const starts = new Uint32Array(count + 1)
  for (let n = 1; n < count; n++) {
    const lineBreak = lines.indexOf(LINE_FEED, starts[n - 1])
    if (lineBreak === -1) return undefined
    starts[n] = lineBreak + 1
  }
  if (lines.indexOf(LINE_FEED, starts[count - 1]) !== -1) return undefined
  starts[count] = lines.length + 1
  return starts
}

/**
 * The `ids` of a group, made of its lines.
 *
 * @returns undefined if there are not as many lines as events, or one of them is no event with a `messageId`.
 */
export function identitiesOf(group: Pick<EventGroup, 'count' | 'lines'>): Buffer | undefined {
  // A count that another program made up must not be a way to fill memory.
  const starts = group.count > group.lines.length ? undefined : lineStarts(group)
  if (starts === undefined) return undefined
  const ids: Buffer[] = []
  for (let n = 0; n < group.count; n++) {
    const event = parseObject(group.lines.subarray(starts[n], (starts[n + 1] as number) - 1))
    const id = event && identityOf(event)
    if (id === undefined) return undefined
    ids.push(id)
  }
  return Buffer.concat(ids)
}

/**
 * How a group lies on disk: its ids, then its lines, then its traces if it has any. The number of events
 * goes with the record's key.
 */
export function encodeGroup({ ids, lines, traces }: EventGroup): Buffer {
  if (traces === undefined) return Buffer.concat([ids, lines])
  return Buffer.concat([ids, lines, traces, traceTrailer(traces)])
}

export function decodeGroup(count: number, record: Buffer): EventGroup {
  const linesStart = count * ID_BYTES
  const traces = tracesStart(record)
  return {
    count,
    ids: record.subarray(0, linesStart),
    lines: record.subarray(linesStart, traces?.start),
    traces: traces && record.subarray(traces.start, traces.end),
  }
}
