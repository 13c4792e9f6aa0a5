import { isUtf8 } from 'node:buffer'
import { FormatRegistry, type Static, Type } from '@sinclair/typebox'
import { TypeCompiler, type ValueError } from '@sinclair/typebox/compiler'
import { EventInvalid } from './errors.ts'
import { withMembers, withoutMembers } from './json-members.ts'
import { mintMessageId } from './message-id.ts'

/** What AMQP holds in a short string, the type of its message-id property (AMQP 0-9-1, section 4.2.5.3). */
export const MESSAGE_ID_BYTES_MAX = 255

/** ISO 8601: a date, or a date and a time with seconds, fractions and an offset as wanted. */
const ISO_8601 =
  /^\d{4}-\d{2}-\d{2}(?:[Tt ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?(?:[Zz]|[+-]\d{2}(?::?\d{2})?)?)?$/

FormatRegistry.Set('iso-8601', value => ISO_8601.test(value) && isCalendarDate(value))
FormatRegistry.Set('message-id', value => Buffer.byteLength(value) <= MESSAGE_ID_BYTES_MAX)

function isCalendarDate(value: string): boolean {
  const [year = 0, month = 0, day = 0] = value.slice(0, 10).split('-').map(Number)
  const date = new Date(Date.UTC(year, month - 1, day))
  const [hour = 0, minute = 0, second = 0] = (value.slice(11).match(/\d{2}/g) ?? []).map(Number)
  return (
    date.getUTCMonth() === month - 1 && date.getUTCDate() === day && hour < 24 && minute < 60 && second < 61
  )
}

const userId = Type.Optional(
  Type.Union([Type.String(), Type.Null()], {
    description: 'Who did it. SDKs send null for nobody known.',
    mend: 'a string',
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
      Type.String({
        minLength: 1,
        format: 'message-id',
        mend: `a string of 1 to ${MESSAGE_ID_BYTES_MAX} bytes`,
        description:
          'The identity of the event: a retry sends the same. Ours is a UUIDv7 where there is none.',
      }),
    ),
    timestamp: Type.Optional(
      Type.String({
        format: 'iso-8601',
        mend: 'a date and time in ISO 8601',
        description: 'When it happened.',
      }),
    ),
    properties: Type.Optional(Type.Record(Type.String(), Type.Unknown(), { mend: 'an object' })),
    context: Type.Optional(Type.Record(Type.String(), Type.Unknown(), { mend: 'an object' })),
  },
  { additionalProperties: true, mend: 'a JSON object' },
)

export type EventFields = Static<typeof eventSchema>

const eventCheck = TypeCompiler.Compile(eventSchema)

/** An event as it travels: its identity, and its JSON on one line, which nothing changes from here on. */
export interface Event {
  readonly messageId: string
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
  readonly without?: ReadonlySet<string>
  /** The JSON of members that are added: `"type":"track","source":"web"`. */
  readonly members?: string
}

const UNCHANGED: EventChanges = {}

/**
 * The event with our two fields: `messageId` (the client's own, else a UUIDv7) and `receivedAt` (ISO
 * 8601, UTC, milliseconds; one that came with the event is replaced). `receivedAt` is the last member.
 * All else is copied, not serialised again.
 *
 * @param json UTF-8 bytes, of which `fields` is the parsed form.
 */
export function stampEvent(
  json: Buffer,
  fields: { messageId?: unknown; receivedAt?: unknown },
  receivedAt: Date,
  { without, members }: EventChanges = UNCHANGED,
): Event {
  const own = typeof fields.messageId === 'string' && fields.messageId !== '' ? fields.messageId : undefined
  const messageId = own ?? mintMessageId(receivedAt.getTime())
  const replaced = new Set<string>(without)
  if ('receivedAt' in fields) replaced.add('receivedAt')
  if (own === undefined && 'messageId' in fields) replaced.add('messageId')

  const kept = replaced.size > 0 ? withoutMembers(json, replaced) : json
  const idMember = own === undefined ? `"messageId":"${messageId}",` : ''
  const added = members === undefined ? '' : `${members},`
  return {
    messageId,
    body: withMembers(kept, `${idMember}${added}"receivedAt":"${receivedAt.toISOString()}"`),
  }
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

/**
 * A message that another program put on the queue, made an event like ours; undefined where it is no
 * JSON object and so cannot be archived. What it says of `receivedAt` and `messageId` is believed.
 */
export function foreignEvent(bytes: Buffer, now: Date): Event | undefined {
  const fields = isUtf8(bytes) ? parseObject(bytes) : undefined
  if (fields === undefined) return undefined
  const receivedAt = typeof fields.receivedAt === 'string' ? new Date(fields.receivedAt) : now
  return stampEvent(bytes, fields, Number.isNaN(receivedAt.getTime()) ? now : receivedAt)
}

function parseObject(bytes: Buffer): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(bytes.toString())
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : undefined
  } catch {
    return undefined
  }
}
