import { isUtf8 } from 'node:buffer'
import { BatchRefused, BatchTooLong, BodyInvalid, isRefusal } from '../errors.ts'
import { assertEventFields, type Event, type EventFields } from '../event/event.ts'
import { LINE_FEED, OPEN_BRACE, OPEN_BRACKET } from '../event/json-bytes.ts'
import { elementBounds, valueStart } from '../event/json-members.ts'
import { type JsonBody, readJson, textOf, withoutByteOrderMark } from './read-body.ts'

/** Refused events that an answer lists at most. */
const REFUSED_EVENTS_MAX = 1000

/** An event of a batch that is refused, and the reason. */
export interface RefusedEvent {
  /** Position of the event in the request, from 0. */
  readonly index: number
  readonly code: string
  readonly message: string
}

export interface EventBatch {
  readonly events: readonly Event[]
  /** The first 1,000 refused events. */
  readonly refused: readonly RefusedEvent[]
  readonly refusedCount: number
}

/** The events of one request, before each is checked. */
export interface UncheckedBatch {
  readonly length: number
  /** The member `writeKey` of the object around the events. */
  readonly writeKey: unknown
  /** @throws BodyInvalid if this event is not valid JSON, or has a key that would poison a prototype */
  elementAt(index: number): JsonBody
}

/** A first line like this is the beginning of JSON over several lines. */
const CONTINUES = /^\s*\[|[[{,]\s*$/
const LINES_TESTED_MAX = 32

/**
 * Reads a body that is labelled as JSON: an array of events, an object with an array `batch`, or one event. Log
 * shippers label NDJSON as JSON, too: a body that is not JSON is read as NDJSON if one of its first lines is an object.
 *
 * @throws BodyInvalid if the body is none of these, or not UTF-8
 * @throws BatchTooLong for more than `eventsMax` events
 */
export function readBatch(body: Buffer, eventsMax: number): UncheckedBatch {
  if (!isUtf8(body) && isNdjson(body)) return readLines(body, eventsMax)
  const text = textOf(body)
  let whole: ReturnType<typeof readWhole>
  try {
    whole = readWhole(text)
  } catch (error) {
    if (isNdjson(text)) return readLines(text, eventsMax)
    throw error
  }
  if (!isOneEvent(whole.value)) return elementsOf(whole, eventsMax)
  const { writeKey } = whole.value as { writeKey?: unknown }
  return { length: 1, writeKey, elementAt: () => (whole.isPoisoned ? readJson(text) : whole) }
}

function elementsOf(
  { json, value, isPoisoned }: ReturnType<typeof readWhole>,
  eventsMax: number,
): UncheckedBatch {
  const isArray = Array.isArray(value)
  const values = isArray ? value : (value as { batch?: unknown } | null)?.batch
  if (!Array.isArray(values)) {
    throw new BodyInvalid('The body must be an array of events, an object with an array "batch", or NDJSON.')
  }
  assertLength(values.length, eventsMax)
  const bounds = elementBounds(json, isArray ? json.indexOf(OPEN_BRACKET) : valueStart(json, 'batch'))
  const elementAt = (index: number): JsonBody => {
    const element = json.subarray(bounds[2 * index], bounds[2 * index + 1])
    return isPoisoned ? readJson(element) : { json: element, value: values[index] }
  }
  const writeKey = isArray ? undefined : (value as { writeKey?: unknown }).writeKey
  return { length: values.length, writeKey, elementAt }
}

function isOneEvent(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  const { batch, event } = value as { batch?: unknown; event?: unknown }
  return batch === undefined || (!Array.isArray(batch) && event !== undefined)
}

/**
 * Whether one of the first 32 lines is a complete JSON object. False if the first line looks like the beginning of JSON
 * over several lines: a truncated array or batch may have a complete object on a line as well.
 */
function isNdjson(text: Buffer): boolean {
  let tested = 0
  for (const line of linesOf(withoutByteOrderMark(text))) {
    if (tested === 0 && CONTINUES.test(line.toString('latin1'))) return false
    if (isJsonObject(line)) return true
    if (++tested === LINES_TESTED_MAX) return false
  }
  return false
}

function isJsonObject(line: Buffer): boolean {
  if (line[firstByteOf(line)] !== OPEN_BRACE || !isUtf8(line)) return false
  try {
    JSON.parse(line.toString())
    return true
  } catch {
    return false
  }
}

/**
 * Reads JSON that may have keys that would poison a prototype. Such a key must refuse only the event that has it, so
 * the caller then reads each event by itself.
 *
 * @returns `isPoisoned`: whether the JSON has such a key
 * @throws BodyInvalid if the text is not JSON
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
 * Reads NDJSON: one event on each line. Empty lines are skipped. A line that is not UTF-8 does not affect the others.
 *
 * @throws BatchTooLong for more than `eventsMax` events
 */
export function readLines(body: Buffer, eventsMax: number): UncheckedBatch {
  const lines: Buffer[] = []
  for (const line of linesOf(withoutByteOrderMark(body))) {
    lines.push(line)
    // Checked after each line: a body may have millions of short lines, and each Buffer takes more memory than its
    // line.
    assertLength(lines.length, eventsMax)
  }
  return {
    length: lines.length,
    writeKey: undefined,
    elementAt: index => readJson(lines[index] as Buffer),
  }
}

/** The lines that are not empty. */
function* linesOf(text: Buffer): Generator<Buffer> {
  for (let start = 0; start < text.length; ) {
    const found = text.indexOf(LINE_FEED, start)
    const end = found === -1 ? text.length : found
    const line = text.subarray(start, end)
    if (firstByteOf(line) < line.length) yield line
    start = end + 1
  }
}

/**
 * Checks each event of a batch by itself: a refused event does not affect the others.
 *
 * @param bytesMax limit for the JSON of one event
 * @param stamp makes the event of valid fields
 */
export function checkBatch(
  { length, elementAt }: UncheckedBatch,
  bytesMax: number,
  stamp: (json: Buffer, fields: EventFields) => Event,
): EventBatch {
  const events: Event[] = []
  const refused: RefusedEvent[] = []
  let refusedCount = 0
  for (let index = 0; index < length; index++) {
    try {
      const { json, value } = elementAt(index)
      if (json.length > bytesMax)
        throw new BodyInvalid(`The event is larger than ${bytesMax} bytes (BODY_BYTES_MAX).`)
      assertEventFields(value)
      events.push(stamp(json, value))
    } catch (error) {
      if (!isRefusal(error)) throw error
      refusedCount++
      if (refused.length < REFUSED_EVENTS_MAX)
        refused.push({ index, code: error.code, message: error.message })
    }
  }
  return { events, refused, refusedCount }
}

/**
 * The answer to a batch whose events are all refused.
 *
 * @param refused the refused events to list; the message gives the reason of the first
 * @param count of all refused events, with those that are not listed
 */
export function refusalOf<Refused extends RefusedEvent>(
  refused: readonly [Refused, ...Refused[]],
  count: number,
) {
  const [{ index, message: reason }] = refused
  const { statusCode = 400, code, message } = new BatchRefused(count, index, reason)
  return { statusCode, code, error: 'Bad Request', message, refused }
}

export function isNotEmpty<T>(list: readonly T[]): list is readonly [T, ...T[]] {
  return list.length > 0
}

function assertLength(length: number, eventsMax: number): void {
  if (length > eventsMax) throw new BatchTooLong(eventsMax)
}

/** The index of the first byte that is not a space or control character; the length of the line if there is none. */
function firstByteOf(line: Buffer): number {
  let at = 0
  while (at < line.length && (line[at] as number) <= 0x20) at++
  return at
}
