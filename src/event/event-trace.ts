/**
 * The traces of a group's events (W3C Trace Context), in the binary form that is sent with the group: 27 bytes for
 * each event that has a trace.
 *
 *     2   index of the event in the group, from 0
 *     16  trace-id
 *     8   parent-id: the span in which the event was published
 *     1   trace-flags
 */

/** The trace of one event. An OpenTelemetry `SpanContext` has these members. */
export interface EventTrace {
  /** 32 hexadecimal digits. */
  readonly traceId: string
  /** 16 hexadecimal digits. */
  readonly spanId: string
  readonly traceFlags: number
}

const TRACE_BYTES = 27
/**
 * Traces in a group at most: the default limit for links of an OpenTelemetry span. Further events are sent without
 * their trace.
 */
export const GROUP_TRACES_MAX = 128

const SPAN_AT = 18
const FLAGS_AT = 26
/** Ends a record on disk that has traces. A record without traces ends in JSON, which cannot contain these bytes. */
const MARK = Buffer.from('\0traces\0')

/** Collects the traces of a group's events, at most GROUP_TRACES_MAX. */
export class TraceList {
  #bytes = Buffer.allocUnsafe(8 * TRACE_BYTES)
  #length = 0

  /** @param event index of the event in the group, from 0 */
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

/** The traces of `count` events of a group, beginning with the event of index `first`. */
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

/** Whether the length of bytes from another program fits a list of traces. */
export function areTraces({ length }: Buffer): boolean {
  return length > 0 && length % TRACE_BYTES === 0 && length <= GROUP_TRACES_MAX * TRACE_BYTES
}

/** The trailer of a record on disk with traces: their number in one byte, then the mark. */
export function traceTrailer({ length }: Buffer): Buffer {
  return Buffer.concat([Buffer.from([length / TRACE_BYTES]), MARK])
}

/** The offsets of the traces in a record; undefined if it has none. */
export function tracesStart(record: Buffer): { start: number; end: number } | undefined {
  const markAt = record.length - MARK.length
  // The common case first: nearly every record ends with a brace.
  if (record[record.length - 1] !== 0 || record.indexOf(MARK, markAt) !== markAt) return undefined
  const end = markAt - 1
  const start = end - (record[end] as number) * TRACE_BYTES
  return start < 0 ? undefined : { start, end }
}
