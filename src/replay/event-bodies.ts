/** The forms in which events are sent over HTTP. */

import { MIB } from '../config/setting-types.ts'
import { edited, memberValue, memberValues } from '../event/json-members.ts'
import { NameSet } from '../event/name-set.ts'
import type { RequestLimits } from './requests.ts'

const BATCH_START = Buffer.from('{"batch":[')
const BATCH_END = Buffer.from(']}')
const ARRAY_START = Buffer.from('[')
const ARRAY_END = Buffer.from(']')
const BETWEEN = Buffer.from(',')
const LINE_END = Buffer.from('\n')
const NO_BYTES = Buffer.alloc(0)
/** A server corrects the time of a call by the time since `sentAt`, which for a replay is days. */
const SENT_AT = new NameSet(['sentAt'])
const ID_NAMES = ['userId', 'user_id', 'anonymousId', 'anonymous_id']
/** If an event has both spellings of an id, Segment's is kept. */
const NOT_IN_TRACK_CALLS = new NameSet(['sentAt', 'user_id', 'anonymous_id'])

export interface BodyForm {
  readonly contentType: string
  readonly limits: RequestLimits
  /** The header for a write key. */
  keyHeader(key: string): readonly [name: string, value: string]
  body(events: readonly Buffer[]): Buffer
  /** The answer to a request may list refused events in `refused`, by their `index`. */
  readonly hasRefusedList: boolean
}

/** An answer lists no more refused events than this. */
const REFUSED_MAX = 1_000
const JSON_TYPE = 'application/json'
const NDJSON_TYPE = 'application/x-ndjson'
const ownKeyHeader = (key: string) => ['x-write-key', key] as const

/** Segment takes 500 KB and 2,500 calls a request (https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/#batch). */
const segmentBatch: BodyForm = {
  contentType: JSON_TYPE,
  limits: { eventsMax: REFUSED_MAX, bytesMax: 499_000 },
  keyHeader: key => ['authorization', `Basic ${Buffer.from(`${key}:`).toString('base64')}`],
  body: events => joined(BATCH_START, events.map(callOf), BATCH_END),
  hasRefusedList: true,
}

/** The defaults of BATCH_BODY_BYTES_MAX and REQUEST_EVENTS_MAX are higher. */
const trackBatch: BodyForm = {
  contentType: NDJSON_TYPE,
  limits: { eventsMax: REFUSED_MAX, bytesMax: MIB },
  keyHeader: ownKeyHeader,
  body: lines,
  hasRefusedList: true,
}

const single: BodyForm = {
  contentType: JSON_TYPE,
  limits: { eventsMax: 1, bytesMax: MIB },
  keyHeader: ownKeyHeader,
  body: ([event = NO_BYTES]) => event,
  hasRefusedList: false,
}

const array: BodyForm = {
  ...single,
  limits: { eventsMax: 1_000, bytesMax: MIB },
  body: events => joined(ARRAY_START, events, ARRAY_END),
}

const ndjson: BodyForm = { ...array, contentType: NDJSON_TYPE, body: lines }

/**
 * The form that a URL takes, by its path.
 *
 * @param eventsMax events in a request; for other URLs than those of frequency and Segment the default is 1
 */
export function bodyForm(
  url: URL,
  body: 'json' | 'ndjson' | undefined,
  eventsMax: number | undefined,
): BodyForm {
  const form = formOf(url.pathname, body, eventsMax)
  if (eventsMax === undefined) return form
  const { bytesMax } = form.limits
  const allowed = form.hasRefusedList ? Math.min(eventsMax, REFUSED_MAX) : eventsMax
  return { ...form, limits: { bytesMax, eventsMax: allowed } }
}

function formOf(path: string, body: 'json' | 'ndjson' | undefined, eventsMax = 1): BodyForm {
  if (path.endsWith('/v1/batch')) return segmentBatch
  if (path.endsWith('/api/t/batch')) return trackBatch
  if (body === 'ndjson') return ndjson
  return eventsMax > 1 ? array : single
}

function lines(events: readonly Buffer[]): Buffer {
  return joined(NO_BYTES, events, NO_BYTES, LINE_END)
}

function joined(start: Buffer, events: readonly Buffer[], end: Buffer, between = BETWEEN): Buffer {
  const parts = [start]
  for (const event of events) parts.push(event, between)
  if (events.length > 0) parts.pop()
  parts.push(end)
  return Buffer.concat(parts)
}

/**
 * The event as a call of the Segment API: without `sentAt`; if it has no type, it becomes a `track` call, whose ids are
 * spelled `userId` and `anonymousId`.
 */
function callOf(event: Buffer): Buffer {
  const isUntyped = !event.includes('"type"') || memberValue(event, 'type') === undefined
  if (isUntyped) return trackCallOf(event)
  return event.includes('"sentAt"') ? edited(event, { without: SENT_AT }) : event
}

function trackCallOf(event: Buffer): Buffer {
  const [userId, user_id, anonymousId, anonymous_id] = memberValues(event, ID_NAMES)
  let members = '"type":"track"'
  if (userId === undefined && user_id !== undefined) members += `,"userId":${user_id}`
  if (anonymousId === undefined && anonymous_id !== undefined) members += `,"anonymousId":${anonymous_id}`
  return edited(event, { without: NOT_IN_TRACK_CALLS, members })
}
