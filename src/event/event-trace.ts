/**
 * Which traces events belong to (W3C Trace Context), in the form in which that travels with a group: 27
 * bytes for each event that has one,
 *
 *     2   which event of the group, counted from 0
 *     16  trace-id
 *     8   parent-id: the span that the event was published in
 *     1   trace-flags
 */

/** An OpenTelemetry `SpanContext` is one. */
export interface EventTrace {
  /** 32 hexadecimal digits. */
  readonly traceId: string
  /** 16 hexadecimal digits. */
  readonly spanId: string
  readonly traceFlags: number
}

const TRACE_BYTES = 27
/** The traces that are known of a group; events past it travel without. As many as a span has links by default. */
export const GROUP_TRACES_MAX = 128

const SPAN_AT = 18
const FLAGS_AT = 26
/** Behind a group's traces in a record on disk, and in no JSON. */
const MARK = Buffer.from('\0traces\0')

/** Collects the traces of a group's events. */
export class TraceList {
  #bytes = Buffer.allocUnsafe(8 * TRACE_BYTES)
  #length = 0

  /** @param event which of the group, counted from 0 */
  add(event: number, { traceId, spanId, traceFlags }: EventTrace): void {
    const at = this.#length
    if (at === GROUP_TRACES_MAX * TRACE_BYTES) return
    if (at === this.#bytes.length) this.#bytes = Buffer.concat([this.#bytes], 2 * at)
    this.#bytes.writeUInt16BE(event, at)
    this.#bytes.write(traceId, at + 2, 'hex')
    this.#bytes.write(spanId, at + SPAN_AT, 'hex')
    this.#bytes[at + FLAGS_AT] = traceFlags
    this.#length = at + TRACE_BYTES
  }

  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#length)
  }
}

/** The traces of `count` events, of which `first` is the first. */
export function tracesOf(bytes: Buffer, first: number, count: number): EventTrace[] {
  const traces: EventTrace[] = []
  for (let at = 0; at < bytes.length; at += TRACE_BYTES) {
    const event = bytes.readUInt16BE(at)
    if (event < first || event >= first + count) continue
    traces.push({
      traceId: bytes.toString('hex', at + 2, at + SPAN_AT),
      spanId: bytes.toString('hex', at + SPAN_AT, at + FLAGS_AT),
      traceFlags: bytes[at + FLAGS_AT] as number,
    })
  }
  return traces
}

/** Whether bytes that came from elsewhere can be read as traces. */
export function areTraces({ length }: Buffer): boolean {
  return length > 0 && length % TRACE_BYTES === 0 && length <= GROUP_TRACES_MAX * TRACE_BYTES
}

/** What goes behind a record on disk to have the traces found there again: their number, and a mark. */
export function traceTrailer({ length }: Buffer): Buffer {
  return Buffer.concat([Buffer.from([length / TRACE_BYTES]), MARK])
}

/** Where in a record the traces begin; undefined where it has none. */
export function tracesStart(record: Buffer): { start: number; end: number } | undefined {
  const markAt = record.length - MARK.length
  // Nearly every record ends with a brace.
  if (record[record.length - 1] !== 0 || record.indexOf(MARK, markAt) !== markAt) return undefined
  const end = markAt - 1
  const start = end - (record[end] as number) * TRACE_BYTES
  return start < 0 ? undefined : { start, end }
}
