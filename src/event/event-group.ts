import { type Event, parseObject } from './event.ts'
import { type EventTrace, TraceList, tracesStart, traceTrailer } from './event-trace.ts'
import { LINE_FEED } from './json-bytes.ts'
import { ID_BYTES, identityOf, writeIdentity } from './message-id.ts'

/**
 * Several events that become one message on the broker, or one record on disk. They are copied into one buffer once,
 * when they are received; after that they stay one buffer.
 */
export interface EventGroup {
  readonly count: number
  /** The identities, 16 bytes for each event, in the order of the events (message-id.ts). */
  readonly ids: Buffer
  /** The JSON of each event on one line. Line feeds separate the lines; there is none at the end. */
  readonly lines: Buffer
  /** The traces of the events that have one (event-trace.ts). Undefined if no event has one. */
  readonly traces?: Buffer | undefined
}

/** Events in a group at most. The embedded queue's record keys have room for no larger count (disk-log.ts). */
export const GROUP_EVENTS_MAX = 4096

const EVENTS_MIN = 16
const BYTES_MIN = 8 * 1024
const NO_BYTES = Buffer.alloc(0)

/** Collects events into a group. The first event is copied only when a second one follows. */
export class GroupBuilder {
  readonly #bytesExpected: number
  #first: Buffer | undefined
  #lines: Buffer = NO_BYTES
  #ids: Buffer = Buffer.allocUnsafe(EVENTS_MIN * ID_BYTES)
  #bytes = 0
  #count = 0
  #traces: TraceList | undefined

  /** @param bytes expected size of the lines, to allocate once. Default: 0, the buffer grows as needed */
  constructor(bytes = 0) {
    this.#bytesExpected = bytes
  }

  get count(): number {
    return this.#count
  }

  /** Length of the lines in bytes, with the line feeds. */
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
 * Offsets of the lines of a group.
 *
 * @returns `count + 1` offsets: line `n` is from `starts[n]` to `starts[n + 1] - 1`, which is its line feed or the end.
 * Undefined if the number of lines is not `count`.
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
 * Computes the `ids` of a group from its lines.
 *
 * @returns undefined if the number of lines is not `count`, or if a line is not a JSON object with a `messageId`.
 */
export function identitiesOf(group: Pick<EventGroup, 'count' | 'lines'>): Buffer | undefined {
  // Another program may send any count. A count above the number of bytes is wrong, and must not allocate memory.
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
 * The group as a record on disk: its ids, then its lines, then its traces and their trailer if it has traces. The
 * number of events is in the record's key.
 */
export function encodeGroup({ ids, lines, traces }: EventGroup): Buffer {
  if (traces === undefined) return Buffer.concat([ids, lines])
  return Buffer.concat([ids, lines, traces, traceTrailer(traces)])
}

/** The group in a record that `encodeGroup` wrote. Its buffers are views of `record`, not copies. */
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
