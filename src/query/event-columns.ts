/** The columns of the view `events`, and the members of events that they are made of. */

import { timeOf } from '../segment/time-forms.ts'
import { EVENT_COLUMNS } from '../table/table-columns.ts'
import { exactJson, wellFormedJson } from './exact-json.ts'

/** A zero stands for any digit. */
const TIME_FORM = Buffer.from('0000-00-00T00:00:00.000Z')
const DIGIT_0 = 0x30
const DIGIT_9 = 0x39

/** Changes when equal events become other rows than before: rows that were kept until then are of no use. */
export const ROWS_VERSION = 3

/** The columns of an event, in their order. */
export const COLUMNS = EVENT_COLUMNS.map(([name]) => name)

type Column = (typeof EVENT_COLUMNS)[number][0]

/** What each column holds. */
export const TYPES = EVENT_COLUMNS.map(([, kind]) => kind)

/** Where names of members that share a column differ: `userId` and `user_id` at their fifth byte. */
const UNDERSCORE = 0x5f
const IDENTITIES: readonly { readonly column: number; readonly differsAt: number }[] = [
  { column: COLUMNS.indexOf('user_id'), differsAt: 'user'.length },
  { column: COLUMNS.indexOf('anonymous_id'), differsAt: 'anonymous'.length },
]
export const IDENTITY_COLUMNS: readonly number[] = IDENTITIES.map(({ column }) => column)
const FIRST_IDENTITY = IDENTITY_COLUMNS[0] as number
export const TYPE_COLUMN = COLUMNS.indexOf('type')

/** Kinds of columns, by how a member becomes one. */
export const TEXT = 0
export const TIME = 1
export const JSON_VALUE = 2

export interface Target {
  readonly column: number
  readonly kind: typeof TEXT | typeof TIME | typeof JSON_VALUE
}

/** Columns that make up an event's identity. A number there leaves the event in `raw`, which erasures read. */
export const KEPT_AS_TEXT: ReadonlySet<number> = new Set(
  (['message_id', 'source'] as const).map(column => COLUMNS.indexOf(column)),
)

/** By the member's name. Members without a target are in `extra`. */
export const TARGETS: ReadonlyMap<string, Target> = new Map<string, Target>([
  ['messageId', target('message_id', TEXT)],
  ['event', target('event', TEXT)],
  ['type', target('type', TEXT)],
  ['userId', target('user_id', TEXT)],
  ['user_id', target('user_id', TEXT)],
  ['anonymousId', target('anonymous_id', TEXT)],
  ['anonymous_id', target('anonymous_id', TEXT)],
  ['timestamp', target('timestamp', TIME)],
  ['receivedAt', target('received_at', TIME)],
  ['source', target('source', TEXT)],
  ['channel', target('channel', TEXT)],
  ['properties', target('properties', JSON_VALUE)],
  ['context', target('context', JSON_VALUE)],
  ['traits', target('traits', JSON_VALUE)],
])

function target(column: Column, kind: Target['kind']): Target {
  return { column: COLUMNS.indexOf(column), kind }
}

export const TIME_COLUMNS: readonly number[] = [COLUMNS.indexOf('timestamp'), COLUMNS.indexOf('received_at')]

const NAME_SLOTS = 256

/** The names of `TARGETS` as bytes, each at the slot of its hash. */
const NAMES: readonly ({ readonly name: Buffer; readonly target: Target } | undefined)[] = namesBySlot()

function namesBySlot() {
  const slots: ({ name: Buffer; target: Target } | undefined)[] = Array(NAME_SLOTS).fill(undefined)
  for (const [text, target] of TARGETS) {
    const name = Buffer.from(text)
    const slot = nameHash(name, 0, name.length) % NAME_SLOTS
    if (slots[slot] !== undefined) throw new Error(`two names of members have the slot ${slot}`)
    slots[slot] = { name, target }
  }
  return slots
}

/** A hash of the name that is written from `start` to `end`: a number of 31 bits. */
export function nameHash(bytes: Buffer, start: number, end: number): number {
  let hash = end - start
  for (let at = start; at < end; at++) hash = (Math.imul(hash, 31) + (bytes[at] as number)) | 0
  return hash & 0x7fffffff
}

/** The field of a column, from the JSON of a member that is not copied as it is. */
export function fieldOf(kind: Target['kind'], json: string): string {
  if (kind === JSON_VALUE) return exactJson(json)
  const value: unknown = JSON.parse(json)
  if (value === null) return ''
  if (kind === TIME) {
    const ms = timeOf(value)
    return ms === undefined ? '' : new Date(ms).toISOString()
  }
  const text = typeof value === 'string' ? value : json
  return text === '' ? '\\' : wellFormedJson(text).slice(1, -1)
}

/** Whether `extra` has the member, because its column does not hold it as it was sent. @param json its value */
export function isInexact({ column, kind }: Target, json: string): boolean {
  if (kind === JSON_VALUE) return false
  if (json === 'null') return true
  if (KEPT_AS_TEXT.has(column)) return false
  const isText = json.startsWith('"')
  if (kind === TEXT) return !isText
  const bytes = Buffer.from(json)
  return !isText || !isPlainTime(bytes, 1, bytes.length - 1)
}

/**
 * Whether an event spells a member of `IDENTITY_COLUMNS` otherwise than events do: `userId` beside a `type`, as Segment
 * does, and `user_id` without.
 *
 * @param nameStart where the member's name begins
 */
export function isSpelledOtherwise(
  bytes: Buffer,
  nameStart: number,
  column: number,
  hasType: boolean,
): boolean {
  const { differsAt } = IDENTITIES[column - FIRST_IDENTITY] as (typeof IDENTITIES)[number]
  return (bytes[nameStart + differsAt] === UNDERSCORE) === hasType
}

/** The same for a name that is not in the event's bytes. */
export function isNameOtherwise(name: string, column: number, hasType: boolean): boolean {
  return IDENTITY_COLUMNS.includes(column) && isSpelledOtherwise(Buffer.from(name), 0, column, hasType)
}

/**
 * The column of the member whose name is written from `start` to `end`.
 *
 * @param hash of the name, by `nameHash`
 */
export function targetOf(bytes: Buffer, start: number, end: number, hash: number): Target | undefined {
  const candidate = NAMES[hash % NAME_SLOTS]
  if (candidate === undefined || candidate.name.length !== end - start) return undefined
  const { name, target } = candidate
  for (let at = 0; at < name.length; at++) if (name[at] !== bytes[start + at]) return undefined
  return target
}

/** Whether a text is a time as we write it: `2026-11-24T13:05:07.123Z`, one that exists, from the year 1000 on. */
export function isPlainTime(bytes: Buffer, start: number, end: number): boolean {
  if (end - start !== TIME_FORM.length) return false
  for (let index = 0; index < TIME_FORM.length; index++) {
    const form = TIME_FORM[index] as number
    const byte = bytes[start + index] as number
    const isOfForm = form === DIGIT_0 ? byte >= DIGIT_0 && byte <= DIGIT_9 : byte === form
    if (!isOfForm) return false
  }
  const month = twoDigits(bytes, start + 5)
  const day = twoDigits(bytes, start + 8)
  const isInRange =
    bytes[start] !== DIGIT_0 &&
    month >= 1 &&
    month <= 12 &&
    day >= 1 &&
    twoDigits(bytes, start + 11) < 24 &&
    twoDigits(bytes, start + 14) < 60 &&
    twoDigits(bytes, start + 17) < 60
  return isInRange && (day <= 28 || isExactTime(bytes.toString('latin1', start, end)))
}

function twoDigits(bytes: Buffer, at: number): number {
  return 10 * (bytes[at] as number) + (bytes[at + 1] as number) - 11 * DIGIT_0
}

function isExactTime(text: string): boolean {
  const ms = Date.parse(text)
  return !Number.isNaN(ms) && new Date(ms).toISOString() === text
}
