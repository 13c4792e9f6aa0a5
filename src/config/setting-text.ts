/** Reads and writes settings as text: `10s`, `16MiB`, `on`. */
import type { TSchema } from '@sinclair/typebox'
import { GIB, KIB, MIB } from './setting-types.ts'

const SECOND_MS = 1000
const MINUTE_MS = 60 * SECOND_MS
const HOUR_MS = 60 * MINUTE_MS
const DAY_MS = 24 * HOUR_MS

type Units = readonly (readonly [name: string, size: number])[]

const DURATION_UNITS: Units = [
  ['y', 365 * DAY_MS],
  ['w', 7 * DAY_MS],
  ['d', DAY_MS],
  ['h', HOUR_MS],
  ['m', MINUTE_MS],
  ['s', SECOND_MS],
  ['ms', 1],
]
const SIZE_UNITS: Units = [
  ['GiB', GIB],
  ['MiB', MIB],
  ['KiB', KIB],
  ['GB', 1000 ** 3],
  ['MB', 1000 ** 2],
  ['KB', 1000],
  ['B', 1],
]
/** The units in which defaults are shown. */
const SHOWN_UNITS: Record<string, Units> = {
  ms: DURATION_UNITS.filter(([, size]) => size < DAY_MS),
  bytes: SIZE_UNITS.slice(0, 3),
}
const BOOLEAN_TEXTS: Record<string, boolean> = {
  true: true,
  1: true,
  on: true,
  false: false,
  0: false,
  off: false,
}

/** @returns undefined if the text cannot be a value of this type. The schema's limits are not checked. */
export function parseSettingText(schema: TSchema, text: string): unknown {
  if (schema.type === 'boolean')
    return Object.hasOwn(BOOLEAN_TEXTS, text.toLowerCase()) ? BOOLEAN_TEXTS[text.toLowerCase()] : undefined
  if (schema.type !== 'integer') return text
  if (schema.auto !== undefined && text === 'auto') return schema.auto()
  const [, digits, unit = ''] = /^(\d{1,15})\s*([a-z]*)$/i.exec(text) ?? []
  if (digits === undefined) return undefined
  const size = unit === '' ? 1 : sizeOfUnit(schema.unit, unit)
  return size === undefined ? undefined : Number(digits) * size
}

function sizeOfUnit(kind: unknown, unit: string): number | undefined {
  const units = { ms: DURATION_UNITS, bytes: SIZE_UNITS }[String(kind)]
  return units?.find(([name]) => name.toLowerCase() === unit.toLowerCase())?.[1]
}

/** @returns the value in the largest unit that divides it: 1048576 bytes as `1MiB`, 10000 ms as `10s`. */
export function settingText(schema: TSchema, value: unknown): string {
  const units = SHOWN_UNITS[schema.unit]
  if (units === undefined || typeof value !== 'number') return String(value)
  const [name, size] = units.find(([, each]) => value % each === 0) ?? ['', 1]
  return `${value / size}${name}`
}

/** @returns what a valid value is, for error messages: `a whole number from 1 to 65535`. */
export function wantedText(schema: TSchema): string {
  if (schema.anyOf !== undefined)
    return `one of ${schema.anyOf.map((each: { const: string }) => each.const).join(', ')}`
  if (schema.type === 'boolean') return 'true or false'
  if (schema.wanted !== undefined) return schema.wanted
  if (schema.type !== 'integer') return `a text of at most ${schema.maxLength} characters`
  const range =
    schema.maximum === undefined
      ? `of at least ${schema.minimum}`
      : `from ${schema.minimum} to ${schema.maximum}`
  return `a whole number ${range}${unitText(schema.unit)}${schema.auto === undefined ? '' : ', or auto'}`
}

function unitText(unit: unknown): string {
  if (unit === 'ms') return ' (milliseconds), or one with a unit (500ms, 10s, 5m, 24h)'
  return unit === 'bytes' ? ' (bytes), or one with a unit (64KiB, 16MiB, 1GiB; KB, MB, GB)' : ''
}
