/** The columns of the view `events`, and the members of events that they are made of. */

import { timeOf } from '../segment/time-forms.ts'
import { EVENT_COLUMNS } from '../table/table-columns.ts'
import { exactJson, wellFormedJson } from './exact-json.ts'

const TIME_LENGTH = 24

/** The columns of an event, in their order. */
export const COLUMNS = EVENT_COLUMNS.map(([name]) => name)

type Column = (typeof EVENT_COLUMNS)[number][0]

/** What each column holds. */
export const TYPES = EVENT_COLUMNS.map(([, kind]) => kind)

/** Kinds of columns, by how a member becomes one. */
export const TEXT = 0
export const TIME = 1
export const JSON_VALUE = 2

export interface Target {
  readonly column: number
  readonly kind: typeof TEXT | typeof TIME | typeof JSON_VALUE
}

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

/** Names by their length, as bytes. */
const NAMES: readonly (readonly { readonly name: Buffer; readonly target: Target }[])[] = Array.from(
  { length: 16 },
  (_, length) =>
    [...TARGETS]
      .filter(([name]) => name.length === length)
      .map(([name, target]) => ({ name: Buffer.from(name), target })),
)

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

/** The column of the member whose name is written from `start` to `end`. */
export function targetOf(bytes: Buffer, start: number, end: number): Target | undefined {
  const candidates = NAMES[end - start]
  if (candidates === undefined) return undefined
  for (const { name, target } of candidates) {
    let at = 0
    while (at < name.length && name[at] === bytes[start + at]) at++
    if (at === name.length) return target
  }
  return undefined
}

/** Whether a text is a time as we write it: `2026-11-24T13:05:07.123Z`, and one that exists. */
export function isPlainTime(bytes: Buffer, start: number, end: number): boolean {
  if (end - start !== TIME_LENGTH) return false
  const text = bytes.toString('latin1', start, end)
  return (
    /^\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{3}Z$/.test(text) ||
    isExactTime(text)
  )
}

function isExactTime(text: string): boolean {
  const ms = Date.parse(text)
  return !Number.isNaN(ms) && new Date(ms).toISOString() === text
}
