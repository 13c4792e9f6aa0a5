import { isUtf8 } from 'node:buffer'
import { BatchRefused, BatchTooLong, BodyInvalid, isRefusal } from '../errors.ts'
import { assertEventFields, type Event, type EventFields } from '../event/event.ts'
import { elementBounds, valueStart } from '../event/json-members.ts'
import { type JsonBody, readJson, textOf, withoutByteOrderMark } from './read-body.ts'

/** How many events an answer names that cannot be taken. */
const REFUSED_EVENTS_MAX = 1000

/** An event of a batch that cannot be taken, and why. */
export interface RefusedEvent {
  /** Counted from 0, as it stands in the request. */
  readonly index: number
  readonly code: string
  readonly message: string
}

export interface EventBatch {
  readonly events: readonly Event[]
  /** The first 1,000 of them. */
  readonly refused: readonly RefusedEvent[]
  readonly refusedCount: number
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
const OPEN_BRACE = 0x7b
const OPEN_BRACKET = 0x5b
const GOES_ON = /^\s*\[|[[{,]\s*$/
const LINES_LOOKED_AT = 32

/**
 * The events of a body that says that it is JSON: an array, an object with an array `batch`, or one event. Log shippers
 * call NDJSON by this name as well, so it is that where each line stands for itself.
 *
 * @param eventsMax events that it may have
 * @throws BodyInvalid where it is none of these, or not UTF-8; BatchTooLong
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
 * Whether one of its first lines is a JSON object by itself, and the first of all does not look like the beginning of
 * JSON that goes on: in an array or a batch that breaks off a line may be an object, too.
 */
function isNdjson(text: Buffer): boolean {
  let looked = 0
  for (const line of linesOf(withoutByteOrderMark(text))) {
    if (looked === 0 && GOES_ON.test(line.toString('latin1'))) return false
    if (isJsonObject(line)) return true
    if (++looked === LINES_LOOKED_AT) return false
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
 * The events of a body with one a line; empty lines do not count. A line that is not UTF-8 spoils no other.
 *
 * @param eventsMax events that it may have
 * @throws BatchTooLong
 */
export function readLines(body: Buffer, eventsMax: number): UncheckedBatch {
  const lines: Buffer[] = []
  for (const line of linesOf(withoutByteOrderMark(body))) {
    lines.push(line)
    // While they are counted: millions of lines fit into a body, and each would take more memory than its bytes.
    assertLength(lines.length, eventsMax)
  }
  return {
    length: lines.length,
    writeKey: undefined,
    elementAt: index => readJson(lines[index] as Buffer),
  }
}

/** Those that are not empty. */
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

/** The answer to a batch of which nothing is taken. @param refused why, of as many as are named: at least one */
export function refusalOf<Refused extends RefusedEvent>(
  refused: readonly [Refused, ...Refused[]],
  count: number,
) {
  const [{ index, message: reason }] = refused
  const { statusCode = 400, code, message } = new BatchRefused(count, index, reason)
  return { statusCode, code, error: 'Bad Request', message, refused }
}

/** Whether there is one. */
export function isNotEmpty<T>(list: readonly T[]): list is readonly [T, ...T[]] {
  return list.length > 0
}

function assertLength(length: number, eventsMax: number): void {
  if (length > eventsMax) throw new BatchTooLong(eventsMax)
}

/** The index of what is no space; the length where there is nothing. */
function firstByteOf(line: Buffer): number {
  let at = 0
  while (at < line.length && (line[at] as number) <= 0x20) at++
  return at
}
