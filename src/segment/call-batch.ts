import type { Config } from '../config/config.ts'
import { BatchTooLong, BodyInvalid, EventTooLarge, isRefusal } from '../errors.ts'
import { type Event, MESSAGE_ID_BYTES_MAX } from '../event/event.ts'
import { elementBounds, memberValues, onOneLine } from '../event/json-members.ts'
import { readJson } from '../http/read-body.ts'
import { assertCall, type BatchFields, typeOf } from './call.ts'
import { type BatchCommon, type CallContext, CallStamper, type CommonObject, isObject } from './call-event.ts'

/** Calls in a batch at most (Segment's specification). */
const BATCH_CALLS_MAX = 2500
const EMPTY = Buffer.from('[]')
/**
 * The batch's own `context` and `integrations` are archived with each call, so a small body could fill the memory. All
 * these copies together may have this many times the bytes of the largest batch.
 */
const JOINED_BATCHES_MAX = 4
/** Refused calls that an answer lists at most. */
const REFUSED_CALLS_MAX = 1000

/** A call of a batch that is refused, and the reason. */
export interface RefusedCall {
  /** Position of the call in the batch, from 0. */
  readonly index: number
  readonly messageId?: string
  readonly code: string
  readonly message: string
}

export interface CallBatch {
  readonly events: readonly Event[]
  /** The first 1,000 refused calls. */
  readonly refused: readonly RefusedCall[]
}

/** The body of `/v1/batch`: its bytes in UTF-8 and its parsed value. */
export interface BatchBody {
  readonly json: Buffer
  readonly value: BatchFields
  /** Whether the body has a key that would poison a prototype. Then each call is parsed and checked by itself. */
  readonly isPoisoned: boolean
}

export interface CallBatchLimits {
  /** Limit for the JSON of one call. A larger call is refused. */
  readonly eventBytesMax: number
  /** Limit for the body of a batch. */
  readonly batchBytesMax: number
}

/**
 * Makes events of the calls of a batch. Each call is checked by itself: a refused call does not affect the others.
 *
 * @throws BatchTooLong for more than 2,500 calls
 * @throws BodyInvalid if the batch's own `context` or `integrations` has a key that would poison a prototype, or is too
 * large to be copied into each call
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

/** @param values the bytes of `sentAt`, `context` and `integrations` in the batch */
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

  /** A `context` that is not an object is kept only if the policy keeps addresses: it may contain one. */
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
    `The context and the integrations of the batch have ${bytes} bytes, too many to copy into each of ${calls} calls: send fewer calls in one request.`,
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
