import type { Config } from '../config/config.ts'
import { BatchTooLong, BodyInvalid, EventTooLarge, isRefusal } from '../errors.ts'
import { type Event, MESSAGE_ID_BYTES_MAX } from '../event/event.ts'
import { elementBounds, memberValues, onOneLine } from '../event/json-members.ts'
import { readJson } from '../http/read-body.ts'
import { assertCall, type BatchFields, typeOf } from './call.ts'
import { type BatchCommon, type CallContext, CallStamper, type CommonObject, isObject } from './call-event.ts'

/** Calls that a batch may have, by the specification. */
const BATCH_CALLS_MAX = 2500
const EMPTY = Buffer.from('[]')
/**
 * What a batch says for all of its calls is archived with each of them. More of that than this many times
 * the largest batch would be a way to fill memory with little.
 */
const JOINED_BATCHES_MAX = 4
/** How many calls an answer names that cannot be taken. */
const REFUSED_CALLS_MAX = 1000

/** A call of a batch that cannot be taken, and why. */
export interface RefusedCall {
  /** Counted from 0, as it stands in the batch. */
  readonly index: number
  readonly messageId?: string
  readonly code: string
  readonly message: string
}

export interface CallBatch {
  readonly events: readonly Event[]
  /** The first 1,000 of them. */
  readonly refused: readonly RefusedCall[]
}

/** A body for `/v1/batch`. */
export interface BatchBody {
  /** UTF-8 bytes, of which `value` is the parsed form. */
  readonly json: Buffer
  readonly value: BatchFields
  /** True where some key in it would poison a prototype: then each call is looked at by itself. */
  readonly isPoisoned: boolean
}

export interface CallBatchLimits {
  /** What a call may have; a larger one is refused. */
  readonly eventBytesMax: number
  /** What the body of a batch may have. */
  readonly batchBytesMax: number
}

/**
 * The events that the calls of a batch become. Each is valid or refused by itself.
 *
 * @throws BatchTooLong for more than 2,500 calls
 * @throws BodyInvalid where what holds for all calls would poison a prototype, or is too much for so many
 */
export function stampCallBatch(
  body: BatchBody,
  { eventBytesMax, batchBytesMax }: CallBatchLimits,
  context: Omit<CallContext, 'common'>,
): CallBatch {
  const { json, value, isPoisoned } = body
  if (value.batch.length > BATCH_CALLS_MAX) throw new BatchTooLong(BATCH_CALLS_MAX)
  const [calls = EMPTY, ...rest] = memberValues(json, ['batch', 'sentAt', 'context', 'integrations'])
  const common = commonOf(body, rest, context.sender.policy)
  assertJoinable(common, value.batch.length, JOINED_BATCHES_MAX * batchBytesMax)
  const stamper = new CallStamper({ ...context, common })
  const bounds = elementBounds(calls, 0)
  const events: Event[] = []
  const refused: RefusedCall[] = []
  for (const [index, given] of value.batch.entries()) {
    const element = calls.subarray(bounds[2 * index], bounds[2 * index + 1])
    try {
      if (element.length > eventBytesMax) throw new EventTooLarge(eventBytesMax, 'SEGMENT_EVENT_BYTES_MAX')
      const call = isPoisoned ? readJson(element).value : given
      const type = typeOf(call)
      assertCall(type, call)
      events.push(stamper.event(type, element, call))
    } catch (error) {
      if (!isRefusal(error)) throw error
      if (refused.length < REFUSED_CALLS_MAX) refused.push(refusal(index, given, error))
    }
  }
  return { events, refused }
}

/** @param bytes of the values of `sentAt`, `context` and `integrations` */
function commonOf(
  { value, isPoisoned }: BatchBody,
  [sentAt, ...objects]: readonly (Buffer | undefined)[],
  policy: Config['ipPolicy'],
): BatchCommon {
  const context = membersOf('context', objects[0])
  const integrations = membersOf('integrations', objects[1])
  return {
    ...(sentAt &&
      value.sentAt !== null && { sentAt: { value: value.sentAt, json: onOneLine(sentAt.toString()) } }),
    ...(context && { context }),
    ...(integrations && { integrations }),
    aside:
      asideOf('Context', value.context, objects[0]) + asideOf('Integrations', value.integrations, objects[1]),
  }

  function membersOf(name: 'context' | 'integrations', bytes?: Buffer): CommonObject | undefined {
    const members = { ...(isObject(value[name]) && (value[name] as object)) }
    if (bytes === undefined || Object.keys(members).length === 0) return undefined
    if (isPoisoned) readJson(bytes)
    return { json: bytes, value: members }
  }

  /** A context may hold an address, also where it is no object: only where those are kept it is, too. */
  function asideOf(name: string, given: unknown, bytes?: Buffer): string {
    if (bytes === undefined || given === null || isObject(given)) return ''
    if (name === 'Context' && policy !== 'keep') return ''
    if (isPoisoned) readJson(bytes)
    return `,"originalBatch${name}":${onOneLine(bytes.toString())}`
  }
}

function assertJoinable(common: BatchCommon, calls: number, bytesMax: number): void {
  const { context, integrations, aside = '' } = common
  const bytes = (context?.json.length ?? 0) + (integrations?.json.length ?? 0) + aside.length
  if (bytes * calls <= bytesMax) return
  throw new BodyInvalid(
    `The context and the integrations of the batch have ${bytes} bytes, too many to join with each of ${calls} calls: send fewer calls in one request.`,
  )
}

function refusal(
  index: number,
  given: unknown,
  { code, message }: { code: string; message: string },
): RefusedCall {
  const messageId = (given as { messageId?: unknown } | null)?.messageId
  const isShort = typeof messageId === 'string' && messageId.length <= MESSAGE_ID_BYTES_MAX
  return { index, ...(isShort && { messageId }), code, message }
}
