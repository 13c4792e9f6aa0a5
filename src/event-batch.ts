import { type JsonBody, readJson } from './body.ts'
import { BatchTooLong, BodyInvalid, isRefusal } from './errors.ts'
import { assertEventFields, type Event, type EventFields } from './event.ts'
import { elementBounds, valueStart } from './json-members.ts'

/** Events that one request may carry. */
export const BATCH_EVENTS_PER_REQUEST_MAX = 1000

/** An event of a batch that cannot be taken, and why. */
export interface RefusedEvent {
  /** Counted from 0, as it stands in the request. */
  readonly index: number
  readonly code: string
  readonly message: string
}

export interface EventBatch {
  readonly events: readonly Event[]
  readonly refused: readonly RefusedEvent[]
}

/** What came in one request, not looked at yet. */
export interface UncheckedBatch {
  readonly length: number
  /** Of the object that the events stand in. */
  readonly writeKey: unknown
  /** @throws BodyInvalid where this one is no JSON that can be taken. */
  elementAt(index: number): JsonBody
}

const LINE_FEED = 0x0a
const OPEN_BRACKET = 0x5b

/**
 * The events of an array, or of an object with an array `batch`.
 *
 * @throws BodyInvalid where it is neither, BatchTooLong
 */
export function readBatch(text: Buffer): UncheckedBatch {
  const { json, value, isPoisoned } = readWhole(text)
  const isArray = Array.isArray(value)
  const values = isArray ? value : (value as { batch?: unknown } | null)?.batch
  if (!Array.isArray(values)) {
    throw new BodyInvalid('The body must be an array of events, an object with an array "batch", or NDJSON.')
  }
  assertLength(values.length)
  const bounds = elementBounds(json, isArray ? json.indexOf(OPEN_BRACKET) : valueStart(json, 'batch'))
  const elementAt = (index: number): JsonBody => {
    const element = json.subarray(bounds[2 * index], bounds[2 * index + 1])
    return isPoisoned ? readJson(element) : { json: element, value: values[index] }
  }
  const writeKey = isArray ? undefined : (value as { writeKey?: unknown }).writeKey
  return { length: values.length, writeKey, elementAt }
}

/**
 * A key that would poison a prototype spoils the event that it is in, and no other.
 *
 * @throws BodyInvalid where it is not JSON
 */
export function readWhole(text: Buffer): JsonBody & { readonly isPoisoned: boolean } {
  try {
    return { ...readJson(text), isPoisoned: false }
  } catch (error) {
    try {
      return { json: text, value: JSON.parse(text.toString()), isPoisoned: true }
    } catch {
      throw error
    }
  }
}

/**
 * The events of a text with one a line; empty lines do not count.
 *
 * @throws BatchTooLong
 */
export function readLines(text: Buffer): UncheckedBatch {
  const lines: Buffer[] = []
  for (let start = 0; start < text.length; ) {
    const found = text.indexOf(LINE_FEED, start)
    const end = found === -1 ? text.length : found
    if (!isBlank(text, start, end)) lines.push(text.subarray(start, end))
    // While they are counted: millions of lines fit into a body, and each would take more memory than its bytes.
    assertLength(lines.length)
    start = end + 1
  }
  return {
    length: lines.length,
    writeKey: undefined,
    elementAt: index => readJson(lines[index] as Buffer),
  }
}

/**
 * Each event is valid or refused by itself.
 *
 * @param stamp makes an event of what is valid.
 */
export function checkBatch(
  { length, elementAt }: UncheckedBatch,
  bytesMax: number,
  stamp: (json: Buffer, fields: EventFields) => Event,
): EventBatch {
  const events: Event[] = []
  const refused: RefusedEvent[] = []
  for (let index = 0; index < length; index++) {
    try {
      const { json, value } = elementAt(index)
      if (json.length > bytesMax)
        throw new BodyInvalid(`The event is larger than ${bytesMax} bytes (BODY_BYTES_MAX).`)
      assertEventFields(value)
      events.push(stamp(json, value))
    } catch (error) {
      if (!isRefusal(error)) throw error
      refused.push({ index, code: error.code, message: error.message })
    }
  }
  return { events, refused }
}

function assertLength(length: number): void {
  if (length > BATCH_EVENTS_PER_REQUEST_MAX) throw new BatchTooLong(BATCH_EVENTS_PER_REQUEST_MAX)
}

function isBlank(text: Buffer, start: number, end: number): boolean {
  for (let at = start; at < end; at++) if ((text[at] as number) > 0x20) return false
  return true
}
