import { type Static, type TSchema, Type } from '@sinclair/typebox'
import { type TypeCheck, TypeCompiler, type ValueError } from '@sinclair/typebox/compiler'
import { EventInvalid } from '../errors.ts'
import { MESSAGE_ID_BYTES_MAX } from '../event/event.ts'

/**
 * The calls of the Segment HTTP Tracking API, by its public specification
 * (https://segment.com/docs/connections/spec/common/). Members that are not named here are archived unchanged.
 * Libraries of other vendors send ids as numbers, and null for an unknown value. Libraries in PHP send `[]` for an
 * empty object.
 *
 * Segment answers 200 to any call, and its libraries do not report a refused call to the program. So a call is refused
 * only if it does not say what happened, or to whom. A member of the wrong type is archived unchanged under another
 * name (`originalTimestamp`, `originalContext`).
 */

/** A member of any type. If the type is wrong, it is archived under another name. */
const anything = (description: string) => Type.Optional(Type.Unknown({ description }))
const neededId = (description: string) =>
  Type.Union([Type.String({ minLength: 1 }), Type.Number()], {
    expected: 'a string of at least one character, or a number',
    description,
  })

const common = {
  userId: anything(
    "The user's id in your database: a string or a number. A call needs userId, or anonymousId, or both.",
  ),
  anonymousId: anything('An id for a user who is not known yet: a string or a number.'),
  messageId: anything(
    `The identity of the call among the calls of its source, at most ${MESSAGE_ID_BYTES_MAX} bytes: a retry sends the same one. If it is missing, the server adds a UUIDv7.`,
  ),
  timestamp: anything("When it happened, by the client's clock."),
  originalTimestamp: anything('The same as timestamp: some libraries send it by this name.'),
  context: anything('Where it happened: page, device, app, network.'),
  integrations: anything('Where Segment would forward the call to. It is archived, and has no effect.'),
}
const sentAt = anything(
  "When the client sent it, by its clock. The server corrects timestamp by the clock's error.",
)
const writeKey = anything('The key of the source. It is never archived.')

const callOf = <const T extends Record<string, TSchema>>(own: T) =>
  Type.Object(
    { ...own, ...common, sentAt, writeKey },
    { additionalProperties: true, expected: 'a JSON object' },
  )

/** The members of a call, by its type. */
export const callSchemas = {
  track: callOf({
    event: neededId('What happened.'),
    properties: anything('Details of the event.'),
  }),
  identify: callOf({ traits: anything('Details of the user.') }),
  page: callOf({
    name: anything('The name of the page.'),
    category: anything('The category of the page.'),
    properties: anything('Details of the page.'),
  }),
  screen: callOf({
    name: anything('The name of the screen.'),
    category: anything('The category of the screen.'),
    properties: anything('Details of the screen.'),
  }),
  group: callOf({
    groupId: neededId('The group that the user is in.'),
    traits: anything('Details of the group.'),
  }),
  alias: callOf({ previousId: neededId('The id that the user had before.') }),
  merge: callOf({
    mergeProperties: Type.Array(Type.Unknown(), {
      expected: 'an array of ids, each with its type and value',
      description: "Several ids of one user (RudderStack's merge call).",
    }),
  }),
}

export type CallType = keyof typeof callSchemas
export type CallFields = Static<ReturnType<typeof callOf<Record<never, TSchema>>>>

export const callTypes = Object.keys(callSchemas) as CallType[]

/** A call that names its type in its member `type`, as the calls of a batch do. */
export const anyCallSchema = Type.Object(
  { type: Type.String({ description: `One of ${callTypes.join(', ')}.` }), ...common, sentAt, writeKey },
  { additionalProperties: true },
)

/** A batch of calls. Each call names its type. */
export const batchSchema = Type.Object(
  {
    batch: Type.Array(Type.Unknown(), {
      expected: 'an array of calls, each with its type',
      description: 'The calls, each with its type: track, identify, page, screen, group, alias or merge.',
    }),
    context: anything("Joined with the context of each call. If both have a member, the call's own counts."),
    integrations: anything('Joined with the integrations of each call in the same way.'),
    sentAt,
    writeKey,
  },
  { additionalProperties: true, expected: 'a JSON object' },
)

export type BatchFields = Static<typeof batchSchema>

/** Compiled at the first call of each type, to keep the start fast. */
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

/**
 * @throws EventInvalid if the value is not a call of this type. The message names the member and says what it must
 * be.
 */
export function assertCall(type: CallType, value: unknown): asserts value is CallFields {
  const check = checkOf(type)
  if (!check.Check(value)) throw invalid(check.Errors(value).First(), callSchemas[type].properties)
  const { userId, anonymousId } = value as CallFields
  if (type === 'merge') return
  if (!isId(userId) && !isId(anonymousId)) {
    throw new EventInvalid('userId or anonymousId is required: a string or a number that says who it was.')
  }
}

/** @throws EventInvalid if the value is not a batch. The message names the member and says what it must be. */
export function assertBatch(value: unknown): asserts value is BatchFields {
  batchCheck ??= TypeCompiler.Compile(batchSchema)
  if (!batchCheck.Check(value)) throw invalid(batchCheck.Errors(value).First(), batchSchema.properties)
}

/** The type that a call names, in any case. @throws EventInvalid if it is missing or unknown */
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

/** Whether the value can be the id of a user. */
function isId(id: unknown): boolean {
  return typeof id === 'number' || (typeof id === 'string' && id !== '')
}

function invalid(
  error: ValueError | undefined,
  properties: Record<string, TSchema>,
): InstanceType<typeof EventInvalid> {
  const member = error?.path.split('/')[1]
  if (member === undefined) return new EventInvalid('The body must be a JSON object, like {"userId":"42"}.')
  const expected = properties[member]?.expected ?? 'of another type'
  return new EventInvalid(
    error?.value === undefined ? `${member} is required: ${expected}.` : `${member} must be ${expected}.`,
  )
}
