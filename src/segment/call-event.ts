import type { Config } from '../config/config.ts'
import { type Event, isMessageId, stampEvent } from '../event/event.ts'
import { edited, joinedMembers, memberValue, onOneLine } from '../event/json-members.ts'
import { NameSet } from '../event/name-set.ts'
import type { Source } from '../event/source.ts'
import { contextIp } from '../http/client-ip.ts'
import type { CallFields, CallType } from './call.ts'
import { callTime } from './time.ts'
import { timeOf } from './time-forms.ts'

/** A JSON object of a batch that is joined with the same object of each call. */
export interface CommonObject {
  readonly json: Buffer
  readonly value: Record<string, unknown>
}

/** The members of a batch that count for all of its calls. */
export interface BatchCommon {
  readonly sentAt?: { readonly value: unknown; readonly json: string }
  readonly context?: CommonObject
  readonly integrations?: CommonObject
  /** JSON of members that keep a `context` or `integrations` that is not an object: `,"originalBatchContext":"web"`. */
  readonly aside?: string
}

interface Call {
  readonly json: Buffer
  readonly call: CallFields
}

/** The client of a request, and how its address is archived. */
export interface Sender {
  readonly policy: Config['ipPolicy']
  readonly source: Source | undefined
  /** From `request.ip`. */
  readonly address: string
}

export interface CallContext {
  readonly receivedAt: Date
  readonly sender: Sender
  readonly common?: BatchCommon
}

const EMPTY = Buffer.from('{}')
/** Members of the client that are removed: the key, and those that the event gets from us. */
const REPLACED = ['type', 'timestamp', 'originalTimestamp', 'timestampSuspect', 'writeKey']
const ALWAYS = new NameSet(REPLACED)
const ALWAYS_AND_SENT_AT = ALWAYS.and('sentAt')
const CHECKED = [
  'messageId',
  'userId',
  'anonymousId',
  'context',
  'integrations',
  'properties',
  'traits',
] as const

/** Makes events of the calls of one request. */
export class CallStamper {
  readonly #receivedAt: Date
  readonly #sender: Sender
  readonly #common: BatchCommon
  readonly #without: NameSet
  /** `sentAt` of the batch in milliseconds since 1970; undefined if it is missing or cannot be read. */
  readonly #sentMs: number | undefined
  /** JSON of the members that are the same in all events. */
  readonly #members: string

  constructor({ receivedAt, sender, common = {} }: CallContext) {
    const { source } = sender
    this.#receivedAt = receivedAt
    this.#sender = sender
    this.#common = common
    this.#without = withoutOf(source, common.sentAt !== undefined)
    this.#sentMs = timeOf(common.sentAt?.value)
    const sentAt = common.sentAt === undefined ? '' : `,"sentAt":${common.sentAt.json}`
    const own = source === undefined ? '' : `,${source.members}`
    this.#members = `${sentAt}${common.aside ?? ''}${own}`
  }

  /**
   * Makes the event of a call.
   *
   * - Adds `type`, the corrected `timestamp`, the batch's common members, and the source's members.
   * - Renames the client's own time to `originalTimestamp`. Adds `timestampSuspect` if the time cannot be right.
   * - Removes the write key.
   * - Renames a `context` that is not an object to `originalContext`. Does the same with ids and other objects of the
   *   wrong type.
   * - All other bytes stay the same.
   *
   * @param whole the call in UTF-8
   * @param given the parsed form of `whole`
   */
  event(type: CallType, whole: Buffer, given: CallFields): Event {
    const { sentAt, context } = this.#common
    const { policy, source, address } = this.#sender
    const { json, call } = withUsable(whole, given, policy)
    const sent = sentAt === undefined ? call.sentAt : sentAt.value
    const sentMs = sentAt === undefined ? timeOf(sent) : this.#sentMs
    const time = callTime(call, sentMs, this.#receivedAt)
    let members = `"type":"${type}"`
    if (time.original !== undefined)
      members += `,"originalTimestamp":${jsonOf(json, time.original, call[time.original])}`
    members += `,"timestamp":"${time.timestamp}"`
    const isUncorrected = time.original !== undefined && sent != null && sentMs === undefined
    if (time.isSuspect || isUncorrected) members += ',"timestampSuspect":true'
    const changes = {
      without: this.#without,
      members: members + this.#members,
      ...(source !== undefined && { name: source.name }),
    }
    const own = call.context as Record<string, unknown> | null | undefined
    const fields = context === undefined ? call : { context: { ...context.value, ...own } }
    const ip = contextIp(fields, policy, source, address)
    return stampEvent(withCommon(json, call, this.#common), call, this.#receivedAt, changes, ip)
  }
}

/** JSON of the member `name`. Numbers keep their digits. @param value its parsed form */
function jsonOf(json: Buffer, name: string, value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value)
  return onOneLine(String(memberValue(json, name)))
}

/**
 * Renames members of the wrong type: `context` to `originalContext`. A `context` that is not an object may contain an
 * address, so it is removed if the policy does not keep addresses.
 */
function withUsable(json: Buffer, call: CallFields, policy: Config['ipPolicy']): Call {
  const fields = call as Record<string, unknown>
  const unusable = CHECKED.filter(name => !isUsable(name, fields[name]))
  if (unusable.length === 0) return { json, call }
  const kept: Record<string, unknown> = { ...fields }
  for (const name of unusable) delete kept[name]
  const renamed = unusable
    .filter(name => name !== 'context' || policy === 'keep')
    .map(name => `"${originalName(name)}":${jsonOf(json, name, fields[name])}`)
  return { json: edited(json, { without: new NameSet(unusable), members: renamed.join(',') }), call: kept }
}

function originalName(name: string): string {
  return `original${name.charAt(0).toUpperCase()}${name.slice(1)}`
}

function isUsable(name: (typeof CHECKED)[number], value: unknown): boolean {
  if (value === undefined || value === null) return true
  if (name === 'messageId') return typeof value === 'number' || isMessageId(value)
  if (name === 'userId' || name === 'anonymousId')
    return typeof value === 'string' || typeof value === 'number'
  return isObject(value)
}

/** Whether the value is an object, or an empty array: PHP writes an empty object so. */
export function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && (!Array.isArray(value) || value.length === 0)
}

const withoutBySource = new WeakMap<Source, readonly [NameSet, NameSet]>()

/** The names of the members to remove. A NameSet builds tables, so it is made once for each source. */
function withoutOf(source: Source | undefined, hasSentAt: boolean): NameSet {
  if (source === undefined) return hasSentAt ? ALWAYS_AND_SENT_AT : ALWAYS
  let sets = withoutBySource.get(source)
  if (sets === undefined) {
    const plain = source.without.and(...REPLACED)
    sets = [plain, plain.and('sentAt')]
    withoutBySource.set(source, sets)
  }
  return sets[hasSentAt ? 1 : 0]
}

/** The call with the batch's `context` and `integrations` joined to its own. The call's own members win. */
function withCommon(json: Buffer, call: CallFields, common: BatchCommon): Buffer {
  if (common.context === undefined && common.integrations === undefined) return json
  const objects: string[] = []
  const names: string[] = []
  for (const name of ['context', 'integrations'] as const) {
    const base = common[name]
    if (base === undefined) continue
    const ownNames = Object.keys((call[name] as object | null | undefined) ?? {})
    const own = ownNames.length === 0 ? EMPTY : (memberValue(json, name) ?? EMPTY)
    objects.push(`"${name}":{${joinedMembers(own, ownNames, base.json)}}`)
    names.push(name)
  }
  return edited(json, { without: new NameSet(names), members: objects.join(',') })
}
