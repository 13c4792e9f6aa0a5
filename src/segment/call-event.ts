import { withClientIp } from '../client-ip.ts'
import type { Config } from '../config.ts'
import { type Event, stampEvent } from '../event.ts'
import { joinedMembers, memberValue, withMembers, withoutMembers } from '../json-members.ts'
import type { Source } from '../write-keys.ts'
import type { CallFields, CallType } from './call.ts'
import { callTime } from './time.ts'

/** A JSON object, in its bytes and parsed. */
export interface CommonObject {
  readonly json: Buffer
  readonly value: Record<string, unknown>
}

/** What a batch says once for all of its calls. */
export interface BatchCommon {
  readonly sentAt?: { readonly value: unknown; readonly json: string }
  readonly context?: CommonObject
  readonly integrations?: CommonObject
}

export interface Sender {
  readonly policy: Config['ipPolicy']
  readonly source: Source | undefined
  /** As `request.ip` has it. */
  readonly address: string
}

export interface CallContext {
  readonly receivedAt: Date
  /** Whose address is archived, and how. */
  readonly sender: Sender
  readonly common?: BatchCommon
}

const EMPTY = Buffer.from('{}')
/** Members that only we set, and those that we set anew. */
const REPLACED = ['type', 'timestamp', 'originalTimestamp', 'timestampSuspect', 'writeKey']
const ALWAYS: ReadonlySet<string> = new Set(REPLACED)

/** Makes events of the calls of one request. */
export class CallStamper {
  readonly #receivedAt: Date
  readonly #sender: Sender
  readonly #common: BatchCommon
  readonly #without: ReadonlySet<string>
  /** Members that are the same for all. */
  readonly #members: string

  constructor({ receivedAt, sender, common = {} }: CallContext) {
    const { source } = sender
    this.#receivedAt = receivedAt
    this.#sender = sender
    this.#common = common
    const isPlain = source === undefined && common.sentAt === undefined
    this.#without = isPlain ? ALWAYS : withoutOf(source?.without, common)
    const sentAt = common.sentAt === undefined ? '' : `,"sentAt":${common.sentAt.json}`
    this.#members = source === undefined ? sentAt : `${sentAt},${source.members}`
  }

  /**
   * The event that a call becomes: with its `type`, its `timestamp` corrected, and the client's own as
   * `originalTimestamp`; with `timestampSuspect` where that cannot be right; with what its batch says for
   * all, and what is known of its sender; without its write key. All else stays byte for byte.
   *
   * @param json UTF-8 bytes, of which `call` is the parsed form.
   */
  event(type: CallType, json: Buffer, call: CallFields): Event {
    const { sentAt } = this.#common
    const { source } = this.#sender
    const time = callTime(call, sentAt === undefined ? call.sentAt : sentAt.value, this.#receivedAt)
    let members = `"type":"${type}"`
    if (time.original !== undefined) members += `,"originalTimestamp":${JSON.stringify(time.original)}`
    members += `,"timestamp":${JSON.stringify(time.timestamp)}`
    if (time.isSuspect) members += ',"timestampSuspect":true'
    return stampEvent(this.#withContext(json, call), call, this.#receivedAt, {
      without: this.#without,
      members: members + this.#members,
      ...(source !== undefined && { name: source.name }),
    })
  }

  #withContext(json: Buffer, call: CallFields): Buffer {
    const { context } = this.#common
    const fields = context === undefined ? call : { context: { ...context.value, ...call.context } }
    const { policy, source, address } = this.#sender
    return withClientIp(withCommon(json, call, this.#common), fields, policy, source, address)
  }
}

function withoutOf(bySource: Iterable<string> = [], { sentAt }: BatchCommon): ReadonlySet<string> {
  return new Set([...REPLACED, ...bySource, ...(sentAt === undefined ? [] : ['sentAt'])])
}

/** With the objects of the batch joined to the call's own. */
function withCommon(json: Buffer, call: CallFields, common: BatchCommon): Buffer {
  const objects: string[] = []
  const names = new Set<string>()
  for (const name of ['context', 'integrations'] as const) {
    const base = common[name]
    if (base === undefined) continue
    const ownNames = Object.keys(call[name] ?? {})
    const own = ownNames.length === 0 ? EMPTY : (memberValue(json, name) ?? EMPTY)
    objects.push(`"${name}":{${joinedMembers(own, ownNames, base.json)}}`)
    names.add(name)
  }
  return objects.length === 0 ? json : withMembers(withoutMembers(json, names), objects.join(','))
}
