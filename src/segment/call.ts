import { type Static, type TSchema, Type } from '@sinclair/typebox'
import { type TypeCheck, TypeCompiler, type ValueError } from '@sinclair/typebox/compiler'
import { EventInvalid } from '../errors.ts'
import { MESSAGE_ID_BYTES_MAX } from '../event/event.ts'

/**
 * The calls of the Segment HTTP Tracking API, by its public specification
 * (https://segment.com/docs/connections/spec/common/). Members that are not named here are kept as they
 * came. Libraries of other vendors send ids as numbers, and null for what they do not know; those in PHP
 * send `[]` for an object that is empty.
 *
 * Segment answers 200 whatever is in a call, and its libraries tell nobody of a call that was refused. So one is refused
 * only where it does not say what happened, or to whom: what else is not as it should be is archived as it came, beside
 * the event (`originalTimestamp`, `originalContext`).
 */

/** Kept as it came, or beside the event where it is not what it should be. */
const anything = (description: string) => Type.Optional(Type.Unknown({ description }))
const neededId = (description: string) =>
  Type.Union([Type.String({ minLength: 1 }), Type.Number()], {
    mend: 'a string of at least one character, or a number',
    description,
  })

const common = {
  userId: anything(
    'Who did it, in your database. A call has this, or anonymousId, or both: a string or a number.',
  ),
  anonymousId: anything('Who did it, while you do not know them.'),
  messageId: anything(
    `The identity of the call among those of its source, of at most ${MESSAGE_ID_BYTES_MAX} bytes: a retry sends the same. Ours is a UUIDv7 where there is none.`,
  ),
  timestamp: anything("When it happened, by the client's clock."),
  originalTimestamp: anything('The same, from libraries that call it so.'),
  context: anything('Where and with what it happened.'),
  integrations: anything('Where the call is to be forwarded to; archived, and otherwise ignored.'),
}
const sentAt = anything("When the client sent it, by its clock: what its clock's error is told from.")
const writeKey = anything('The key of the source. It is never archived.')

const callOf = <const T extends Record<string, TSchema>>(own: T) =>
  Type.Object({ ...own, ...common, sentAt, writeKey }, { additionalProperties: true, mend: 'a JSON object' })

/** What a call of each type holds. */
export const callSchemas = {
  track: callOf({
    event: neededId('What happened.'),
    properties: anything('What is known of the event.'),
  }),
  identify: callOf({ traits: anything('What is known of the user.') }),
  page: callOf({
    name: anything('The name of the page.'),
    category: anything('The category of the page.'),
    properties: anything('What is known of the page.'),
  }),
  screen: callOf({
    name: anything('The name of the screen.'),
    category: anything('The category of the screen.'),
    properties: anything('What is known of the screen.'),
  }),
  group: callOf({
    groupId: neededId('The group that the user is in.'),
    traits: anything('What is known of the group.'),
  }),
  alias: callOf({ previousId: neededId('The id that the user had before.') }),
  merge: callOf({
    mergeProperties: Type.Array(Type.Unknown(), {
      mend: 'an array of ids, each with its type and value',
      description: 'Ids of one user, as RudderStack has them.',
    }),
  }),
}

export type CallType = keyof typeof callSchemas
export type CallFields = Static<ReturnType<typeof callOf<Record<never, TSchema>>>>

export const callTypes = Object.keys(callSchemas) as CallType[]

/** One that says its type itself, as those of a batch do. */
export const anyCallSchema = Type.Object(
  { type: Type.String({ description: `One of ${callTypes.join(', ')}.` }), ...common, sentAt, writeKey },
  { additionalProperties: true },
)

/** Several calls, of which each says its type itself. */
export const batchSchema = Type.Object(
  {
    batch: Type.Array(Type.Unknown(), {
      mend: 'an array of calls, each with its type',
      description: 'The calls, each with its type: track, identify, page, screen, group, alias or merge.',
    }),
    context: anything('Joined with the context of each call; where both name a thing, the call is right.'),
    integrations: anything('Joined in the same way.'),
    sentAt,
    writeKey,
  },
  { additionalProperties: true, mend: 'a JSON object' },
)

export type BatchFields = Static<typeof batchSchema>

/** Made for the first call of each type, so that a start does without. */
const checks = new Map<CallType, TypeCheck<TSchema>>()
let batchCheck: TypeCheck<typeof batchSchema> | undefined

function checkOf(type: CallType): TypeCheck<TSchema> {
  let check = checks.get(type)
  if (check === undefined) {
    check = TypeCompiler.Compile<TSchema>(callSchemas[type])
    checks.set(type, check)
  }
  return check
}

/** @throws EventInvalid which names the member, and says what it must be. */
export function assertCall(type: CallType, value: unknown): asserts value is CallFields {
  const check = checkOf(type)
  if (!check.Check(value)) throw invalid(check.Errors(value).First(), callSchemas[type].properties)
  const { userId, anonymousId } = value as CallFields
  if (type === 'merge') return
  if (!isId(userId) && !isId(anonymousId)) {
    throw new EventInvalid('userId or anonymousId is required: a string or a number that says who it was.')
  }
}

/** @throws EventInvalid which names the member, and says what it must be. */
export function assertBatch(value: unknown): asserts value is BatchFields {
  batchCheck ??= TypeCompiler.Compile(batchSchema)
  if (!batchCheck.Check(value)) throw invalid(batchCheck.Errors(value).First(), batchSchema.properties)
}

/** The type that a call gives itself. @throws EventInvalid where it is none of these. */
export function typeOf(value: unknown): CallType {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new EventInvalid('The call must be a JSON object.')
  }
  const type = (value as { type?: unknown }).type
  const name = typeof type === 'string' ? type.toLowerCase() : type
  const known = callTypes.find(each => each === name)
  if (known === undefined) throw new EventInvalid(`type must be one of ${callTypes.join(', ')}.`)
  return known
}

/** Whether it says who did it. */
function isId(id: unknown): boolean {
  return typeof id === 'number' || (typeof id === 'string' && id !== '')
}

function invalid(
  error: ValueError | undefined,
  properties: Record<string, TSchema>,
): InstanceType<typeof EventInvalid> {
  const member = error?.path.split('/')[1]
  if (member === undefined) return new EventInvalid('The body must be a JSON object, like {"userId":"42"}.')
  const wanted = properties[member]?.mend ?? 'of another type'
  return new EventInvalid(
    error?.value === undefined ? `${member} is required: ${wanted}.` : `${member} must be ${wanted}.`,
  )
}
