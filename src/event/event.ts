import { isUtf8 } from 'node:buffer'
import { FormatRegistry, type Static, Type } from '@sinclair/typebox'
import { TypeCompiler, type ValueError } from '@sinclair/typebox/compiler'
import { EventInvalid } from '../errors.ts'
import { edited, memberValue, type NestedMember, withMembers } from './json-members.ts'
import { LONE_SURROGATE, mintMessageId } from './message-id.ts'
import { NameSet } from './name-set.ts'
import { receivedAtOf } from './received-at.ts'

/** The limit of a short string, which is the type of AMQP's message-id property (AMQP 0-9-1, section 4.2.5.3). */
export const MESSAGE_ID_BYTES_MAX = 255

/** ISO 8601: a date, or a date and a time. Seconds, a fraction and an offset below 24 hours are optional. */
const ISO_8601 =
  /^\d{4}-\d{2}-\d{2}(?:[Tt ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?(?:[Zz]|[+-](?:[01]\d|2[0-3])(?::?[0-5]\d)?)?)?$/

/** Seconds or milliseconds since 1970 as text: a form cannot send a number. */
export const EPOCH = /^-?\d{9,13}(?:\.\d{1,9})?$/

FormatRegistry.Set(
  'event-time',
  value => (ISO_8601.test(value) && isCalendarDate(value)) || EPOCH.test(value),
)
FormatRegistry.Set('message-id', isMessageId)

/** Whether the value is a string of at most 255 bytes of UTF-8 without a lone surrogate. */
export function isMessageId(value: unknown): boolean {
  return (
    typeof value === 'string' &&
    Buffer.byteLength(value) <= MESSAGE_ID_BYTES_MAX &&
    !LONE_SURROGATE.test(value)
  )
}

function isCalendarDate(value: string): boolean {
  const year = 100 * twoDigits(value, 0) + twoDigits(value, 2)
  const month = twoDigits(value, 5)
  const day = twoDigits(value, 8)
  const isDay = month >= 1 && month <= 12 && day >= 1 && day <= daysIn(month, year)
  return isDay && (value.length === 10 || isTime(value))
}

function isTime(value: string): boolean {
  const second = value[16] === ':' ? twoDigits(value, 17) : 0
  return twoDigits(value, 11) < 24 && twoDigits(value, 14) < 60 && second < 61
}

function daysIn(month: number, year: number): number {
  if (month === 2) return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31
}

const ZERO = 0x30

function twoDigits(value: string, at: number): number {
  return 10 * (value.charCodeAt(at) - ZERO) + value.charCodeAt(at + 1) - ZERO
}

/** SDKs send null for an unknown value. SDKs in PHP send an empty array for an empty object. */
const objectOf = (description: string) =>
  Type.Optional(
    Type.Union(
      [Type.Record(Type.String(), Type.Unknown()), Type.Array(Type.Unknown(), { maxItems: 0 }), Type.Null()],
      { expected: 'an object', description },
    ),
  )

const userId = Type.Optional(
  Type.Union([Type.String(), Type.Number(), Type.Null()], {
    description: 'Who did it.',
    expected: 'a string or a number',
  }),
)

/**
 * An analytics event as clients send it. Members that are not named here are archived unchanged. `expected` is a
 * keyword of ours: error messages say that the field must be this.
 */
export const eventSchema = Type.Object(
  {
    event: Type.String({
      minLength: 1,
      maxLength: 255,
      expected: 'a string of 1 to 255 characters',
      description: 'What happened.',
    }),
    user_id: userId,
    userId,
    anonymousId: userId,
    messageId: Type.Optional(
      Type.Union([Type.String({ minLength: 1, format: 'message-id' }), Type.Number(), Type.Null()], {
        expected: `a string of 1 to ${MESSAGE_ID_BYTES_MAX} bytes of UTF-8`,
        description:
          'The identity of the event among the events of its source: a retry sends the same one. A number becomes a string of its digits. If it is missing, the server adds a UUIDv7.',
      }),
    ),
    timestamp: Type.Optional(
      Type.Union([Type.String({ format: 'event-time' }), Type.Number(), Type.Null()], {
        expected: 'a date and time in ISO 8601, or seconds or milliseconds since 1970',
        description: 'When it happened. It is archived unchanged.',
      }),
    ),
    properties: objectOf('Details of the event.'),
    context: objectOf('Where it happened: page, device, app, network.'),
  },
  { additionalProperties: true, expected: 'a JSON object' },
)

export type EventFields = Static<typeof eventSchema>

const eventCheck = TypeCompiler.Compile(eventSchema)

/** A stamped event: the two texts of its identity, and its JSON on one line. Nothing changes the JSON after this. */
export interface Event {
  readonly messageId: string
  /** Its top-level member `source`, if that is a string: the name of the write key, else the client's own value. */
  readonly source?: string | undefined
  readonly body: Buffer
}

/** @throws EventInvalid if the value is not an event. The message names the field and says what it must be. */
export function assertEventFields(value: unknown): asserts value is EventFields {
  if (eventCheck.Check(value)) return
  const error = eventCheck.Errors(value).First()
  throw new EventInvalid(error === undefined ? 'The body is not an event.' : describe(error))
}

function describe({ path, schema, value }: ValueError): string {
  const field = path.slice(1).split('/', 1)[0]
  if (field === undefined || field === '')
    return 'The event must be a JSON object, like {"event":"signed_up"}.'
  const expected =
    schema.expected ?? eventSchema.properties[field as keyof EventFields]?.expected ?? 'of another type'
  return value === undefined ? `${field} is required: ${expected}.` : `${field} must be ${expected}.`
}

/** The changes that a route makes to an event besides `messageId` and `receivedAt`. */
export interface EventChanges {
  /** Names of top-level members to remove. To replace a member, name it here and give it in `members`. */
  readonly without?: NameSet
  /** JSON of the members to add: `"type":"track","source":"web"`. */
  readonly members?: string
  /** The value of `source` in `members`, if it is there. */
  readonly name?: string
}

const UNCHANGED: EventChanges = {}

/**
 * Adds the two fields of frequency to an event: `messageId` (the client's own as a string, else a new UUIDv7) and
 * `receivedAt` (ISO 8601, UTC, milliseconds; replaces the client's own). `receivedAt` becomes the last member. All
 * other bytes are copied, not serialised again.
 *
 * @param json the event in UTF-8
 * @param fields the parsed form of `json`
 * @param nested a change inside one member, as `contextIp` returns it
 */
export function stampEvent(
  json: Buffer,
  fields: { messageId?: unknown; receivedAt?: unknown; source?: unknown },
  receivedAt: Date,
  { without, members, name }: EventChanges = UNCHANGED,
  nested?: NestedMember,
): Event {
  const own = ownIdOf(json, fields)
  const messageId = own ?? mintMessageId(receivedAt.getTime())
  const isAsItCame = messageId === fields.messageId
  const replaced = replacedIn(fields, !isAsItCame, without)
  const idMember = isAsItCame ? '' : `"messageId":${JSON.stringify(messageId)},`
  const added = members === undefined ? '' : `${members},`
  const stamps = `${idMember}${added}"receivedAt":"${isoOf(receivedAt)}"`
  const body =
    replaced === undefined && nested === undefined
      ? withMembers(json, stamps)
      : edited(json, { ...(replaced && { without: replaced }), nested, members: stamps })
  return { messageId, source: name ?? sourceIn(fields, without), body }
}

/** The client's own id. Of a number its digits as they stand in the JSON. Undefined if it is missing or empty. */
function ownIdOf(json: Buffer, { messageId }: { messageId?: unknown }): string | undefined {
  if (typeof messageId === 'string' && messageId !== '') return messageId
  const digits = typeof messageId === 'number' ? String(memberValue(json, 'messageId')) : ''
  return digits !== '' && digits.length <= MESSAGE_ID_BYTES_MAX ? digits : undefined
}

function sourceIn({ source }: { source?: unknown }, without?: NameSet): string | undefined {
  return typeof source === 'string' && !without?.includes('source') ? source : undefined
}

const NONE = new NameSet([])

/** The names of the members to remove; undefined if the event has none of them, which is the common case. */
function replacedIn(fields: object, isIdOurs: boolean, without = NONE): NameSet | undefined {
  const isForged = 'receivedAt' in fields
  const isIdReplaced = isIdOurs && 'messageId' in fields
  if (!isForged && !isIdReplaced) return without.isIn(fields) ? without : undefined
  return without.and(...(isForged ? ['receivedAt'] : []), ...(isIdReplaced ? ['messageId'] : []))
}

let isoMs = Number.NaN
let iso = ''

/** Cached: many events are received in the same millisecond. */
function isoOf(date: Date): string {
  const ms = date.getTime()
  if (ms !== isoMs) {
    iso = date.toISOString()
    isoMs = ms
  }
  return iso
}

/** Whether the bytes end in a `receivedAt` of ours. Of several lines the last one counts. */
export function isStamped(body: Buffer): boolean {
  return !Number.isNaN(receivedAtOf(body))
}

/** An event that another program published. */
export interface ForeignEvent extends Event {
  /** It had a `messageId` and a `receivedAt`, so each delivery of it gives the same bytes. */
  readonly isComplete: boolean
}

/**
 * Makes an event of a message that another program published. Its own `receivedAt` and `messageId` are kept; if one is
 * missing or invalid, it is added.
 *
 * @param now the time of receipt if the message has no valid one
 * @returns undefined if the message is not a JSON object in UTF-8: it cannot be archived
 */
export function foreignEvent(bytes: Buffer, now: Date): ForeignEvent | undefined {
  const fields = parseObject(bytes)
  if (fields === undefined) return undefined
  const given = typeof fields.receivedAt === 'string' ? new Date(fields.receivedAt) : undefined
  const receivedAt = given !== undefined && !Number.isNaN(given.getTime()) ? given : now
  const event = stampEvent(bytes, fields, receivedAt)
  return { ...event, isComplete: receivedAt === given && ownIdOf(bytes, fields) !== undefined }
}

/** The parsed object; undefined if the bytes are not a JSON object in UTF-8. */
export function parseObject(bytes: Buffer): Record<string, unknown> | undefined {
  if (!isUtf8(bytes)) return undefined
  try {
    const value: unknown = JSON.parse(bytes.toString())
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : undefined
  } catch {
    return undefined
  }
}
