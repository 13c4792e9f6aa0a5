import { isUtf8 } from 'node:buffer'
import { FormatRegistry, type Static, Type } from '@sinclair/typebox'
import { TypeCompiler, type ValueError } from '@sinclair/typebox/compiler'
import { EventInvalid } from '../errors.ts'
import { edited, memberValue, type NestedMember, withMembers } from './json-members.ts'
import { LONE_SURROGATE, mintMessageId } from './message-id.ts'
import { NameSet } from './name-set.ts'

/** What AMQP holds in a short string, the type of its message-id property (AMQP 0-9-1, section 4.2.5.3). */
export const MESSAGE_ID_BYTES_MAX = 255

/** ISO 8601: a date, or a date and a time with seconds, fractions and an offset of less than a day as wanted. */
const ISO_8601 =
  /^\d{4}-\d{2}-\d{2}(?:[Tt ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?(?:[Zz]|[+-](?:[01]\d|2[0-3])(?::?[0-5]\d)?)?)?$/

/** Seconds or milliseconds since 1970, which a form can only send as text. */
export const EPOCH = /^-?\d{9,13}(?:\.\d{1,9})?$/

FormatRegistry.Set(
  'event-time',
  value => (ISO_8601.test(value) && isCalendarDate(value)) || EPOCH.test(value),
)
FormatRegistry.Set('message-id', isMessageId)

/** Whether it can be an identity. */
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

/** SDKs send null for what they do not know, and those in PHP an empty array for an object that is empty. */
const objectOf = (description: string) =>
  Type.Optional(
    Type.Union(
      [Type.Record(Type.String(), Type.Unknown()), Type.Array(Type.Unknown(), { maxItems: 0 }), Type.Null()],
      { mend: 'an object', description },
    ),
  )

const userId = Type.Optional(
  Type.Union([Type.String(), Type.Number(), Type.Null()], {
    description: 'Who did it.',
    mend: 'a string or a number',
  }),
)

/** An analytics event as clients send it. Members that are not named here are kept as they came. */
export const eventSchema = Type.Object(
  {
    event: Type.String({
      minLength: 1,
      maxLength: 255,
      mend: 'a string of 1 to 255 characters',
      description: 'What happened.',
    }),
    user_id: userId,
    userId,
    anonymousId: userId,
    messageId: Type.Optional(
      Type.Union([Type.String({ minLength: 1, format: 'message-id' }), Type.Number(), Type.Null()], {
        mend: `a string of 1 to ${MESSAGE_ID_BYTES_MAX} bytes of UTF-8`,
        description:
          'The identity of the event among those of its source: a retry sends the same. A number becomes its digits. Ours is a UUIDv7 where there is none.',
      }),
    ),
    timestamp: Type.Optional(
      Type.Union([Type.String({ format: 'event-time' }), Type.Number(), Type.Null()], {
        mend: 'a date and time in ISO 8601, or seconds or milliseconds since 1970',
        description: 'When it happened. It is archived as it came.',
      }),
    ),
    properties: objectOf('What is known of the event.'),
    context: objectOf('Where and with what it happened.'),
  },
  { additionalProperties: true, mend: 'a JSON object' },
)

export type EventFields = Static<typeof eventSchema>

const eventCheck = TypeCompiler.Compile(eventSchema)

/** An event as it travels: what its identity is made of, and its JSON on one line, which nothing changes from here on. */
export interface Event {
  readonly messageId: string
  /** Its top-level member `source`, if that is a string: the name of a write key, or what its client says. */
  readonly source?: string | undefined
  readonly body: Buffer
}

/** @throws EventInvalid which names the field, and says what it must be. */
export function assertEventFields(value: unknown): asserts value is EventFields {
  if (eventCheck.Check(value)) return
  const error = eventCheck.Errors(value).First()
  throw new EventInvalid(error === undefined ? 'The body is not an event.' : describe(error))
}

function describe({ path, schema, value }: ValueError): string {
  const field = path.slice(1).split('/', 1)[0]
  if (field === undefined || field === '')
    return 'The event must be a JSON object, like {"event":"signed_up"}.'
  const wanted = schema.mend ?? eventSchema.properties[field as keyof EventFields]?.mend ?? 'of another type'
  return value === undefined ? `${field} is required: ${wanted}.` : `${field} must be ${wanted}.`
}

/** What a route says of an event beyond its two stamps. */
export interface EventChanges {
  /** Top-level members that are left out. One that is also in `members` is replaced. */
  readonly without?: NameSet
  /** The JSON of members that are added: `"type":"track","source":"web"`. */
  readonly members?: string
  /** The `source` in `members`, if there is one. */
  readonly name?: string
}

const UNCHANGED: EventChanges = {}

/**
 * The event with our two fields: `messageId` (the client's own, as a string, else a UUIDv7) and `receivedAt` (ISO
 * 8601, UTC, milliseconds; one that came with the event is replaced). `receivedAt` is the last member.
 * All else is copied, not serialised again.
 *
 * @param json UTF-8 bytes, of which `fields` is the parsed form.
 * @param nested a change within a member, as `contextIp` gives it
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

/** Of a number its digits. */
function ownIdOf(json: Buffer, { messageId }: { messageId?: unknown }): string | undefined {
  if (typeof messageId === 'string' && messageId !== '') return messageId
  const digits = typeof messageId === 'number' ? String(memberValue(json, 'messageId')) : ''
  return digits !== '' && digits.length <= MESSAGE_ID_BYTES_MAX ? digits : undefined
}

function sourceIn({ source }: { source?: unknown }, without?: NameSet): string | undefined {
  return typeof source === 'string' && !without?.includes('source') ? source : undefined
}

const NONE = new NameSet([])

/** The members to leave out; undefined where the event has none of them, as most. */
function replacedIn(fields: object, isIdOurs: boolean, without = NONE): NameSet | undefined {
  const isForged = 'receivedAt' in fields
  const isIdReplaced = isIdOurs && 'messageId' in fields
  if (!isForged && !isIdReplaced) return without.isIn(fields) ? without : undefined
  return without.and(...(isForged ? ['receivedAt'] : []), ...(isIdReplaced ? ['messageId'] : []))
}

let isoMs = Number.NaN
let iso = ''

/** Many events are received in the same millisecond. */
function isoOf(date: Date): string {
  const ms = date.getTime()
  if (ms !== isoMs) {
    iso = date.toISOString()
    isoMs = ms
  }
  return iso
}

const RECEIVED_AT_LENGTH = '2026-11-24T13:05:07.123Z'.length
const AFTER_RECEIVED_AT = '"}'.length

/** When a stamped event was received, or the last of several: its stamp is the last thing in it. An invalid date where it has none. */
export function receivedAtOf(body: Buffer): Date {
  const end = body.length - AFTER_RECEIVED_AT
  return new Date(body.toString('latin1', Math.max(0, end - RECEIVED_AT_LENGTH), Math.max(0, end)))
}

export function isStamped(body: Buffer): boolean {
  return !Number.isNaN(receivedAtOf(body).getTime())
}

/** An event of another program. */
export interface ForeignEvent extends Event {
  /** It came with both of our fields: so it is the same to the byte whenever it is delivered. */
  readonly isComplete: boolean
}

/**
 * A message that another program put on the queue, made an event like ours; undefined where it is no
 * JSON object and so cannot be archived. What it says of `receivedAt` and `messageId` is believed.
 */
export function foreignEvent(bytes: Buffer, now: Date): ForeignEvent | undefined {
  const fields = parseObject(bytes)
  if (fields === undefined) return undefined
  const given = typeof fields.receivedAt === 'string' ? new Date(fields.receivedAt) : undefined
  const receivedAt = given !== undefined && !Number.isNaN(given.getTime()) ? given : now
  const event = stampEvent(bytes, fields, receivedAt)
  return { ...event, isComplete: receivedAt === given && ownIdOf(bytes, fields) !== undefined }
}

/** Undefined where it is no JSON object in UTF-8. */
export function parseObject(bytes: Buffer): Record<string, unknown> | undefined {
  if (!isUtf8(bytes)) return undefined
  try {
    const value: unknown = JSON.parse(bytes.toString())
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : undefined
  } catch {
    return undefined
  }
}
