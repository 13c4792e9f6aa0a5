/**
 * Reads the forms in which clients write a time, if the form is not ambiguous: ISO 8601 (extended, basic, and the
 * variants of Ruby, Go, Python and Java's ZonedDateTime), RFC 2822, the default texts of JavaScript, Java and C, and
 * seconds or milliseconds since 1970. A time without an offset is in UTC.
 */

import { EPOCH } from '../event/event.ts'

const TEXT_CHARS_MAX = 100
const SECOND_MS = 1_000
const MINUTE_MS = 60 * SECOND_MS
const HOUR_MS = 60 * MINUTE_MS
/** A number below this is in seconds (until the year 5138), any other in milliseconds (from 1973). */
const EPOCH_SECONDS_MAX = 1e11
const WRITABLE_MIN_MS = Date.parse('0000-01-01T00:00:00.000Z')
const WRITABLE_MAX_MS = Date.parse('9999-12-31T23:59:59.999Z')

const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec']
const DAY = '(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)'
const MONTH = `(?<month>${MONTHS.join('|')})`
const CLOCK = String.raw`(?<hour>\d{2}):(?<minute>\d{2})(?::(?<second>\d{2})(?:[.,](?<fraction>\d+))?)?`
const OFFSET = String.raw`[Zz]|[+-]\d{2}(?::?\d{2}(?::?\d{2})?)?`

const FORMS = [
  // 2023-11-14T22:13:20.123+01:00[Europe/Paris], 2023-11-14 22:13:20 UTC, 2023-11-14 22:13:20 +0000 UTC m=+0.1
  String.raw`(?<year>\d{4}|[+-]\d{6})-(?<monthNumber>\d{2})-(?<day>\d{2})(?:[Tt ]${CLOCK}(?: ?(?<zone>${OFFSET})(?:\[[^\]]*\]| (?:[A-Z]{3,5}|[+-]\d{2,4}))?| (?:UTC|GMT))?(?: m=[+-][\d.]+)?)?`,
  // 20231114T221320Z
  String.raw`(?<year>\d{4})(?<monthNumber>\d{2})(?<day>\d{2})(?:[Tt](?<hour>\d{2})(?<minute>\d{2})(?:(?<second>\d{2})(?:[.,](?<fraction>\d+))?)?(?<zone>${OFFSET})?)?`,
  // Tue, 14 Nov 2023 22:13:20 +0100 (CET)
  String.raw`(?:${DAY},\s*)?(?<day>\d{1,2})\s+${MONTH}\s+(?<year>\d{4})\s+${CLOCK}\s+(?:(?:GMT|UTC)(?=[+-]))?(?<zone>[+-]\d{2}:?\d{2}|[A-Z]{1,3})(?:\s*\([^)]*\))?`,
  // Tue Nov 14 2023 22:13:20 GMT+0100 (Central European Standard Time)
  String.raw`${DAY} ${MONTH} (?<day>\d{2}) (?<year>\d{4}) ${CLOCK} (?:GMT|UTC)(?<zone>[+-]\d{4})?(?: \(.*\))?`,
  // Tue Nov 14 22:13:20 UTC 2023, Tue Nov 14 22:13:20 2023
  String.raw`${DAY} ${MONTH} +(?<day>\d{1,2}) ${CLOCK}(?: (?<zone>[ECMP][SD]T|UTC|GMT|[+-]\d{4}))? (?<year>\d{4})`,
].map(form => new RegExp(`^${form}$`, 'i'))

/** The zones of RFC 2822, section 4.3, in hours from UTC. */
const ZONE_HOURS: Readonly<Record<string, number>> = {
  Z: 0,
  UT: 0,
  UTC: 0,
  GMT: 0,
  EDT: -4,
  EST: -5,
  CDT: -5,
  CST: -6,
  MDT: -6,
  MST: -7,
  PDT: -7,
  PST: -8,
}

/**
 * Reads a time.
 *
 * @param value a text, or a number of seconds or milliseconds since 1970
 * @returns milliseconds since 1970; undefined if the value is not a time, is ambiguous, or is outside the years 0 to
 * 9999
 */
export function timeOf(value: unknown): number | undefined {
  const ms = typeof value === 'string' ? timeOfText(value.trim()) : timeOfNumber(value)
  return ms !== undefined && isWritable(ms) ? ms : undefined
}

/** Whether the year has four digits, so that ISO 8601 can write it. @param ms milliseconds since 1970 */
export function isWritable(ms: number): boolean {
  return ms >= WRITABLE_MIN_MS && ms <= WRITABLE_MAX_MS
}

function timeOfNumber(value: unknown): number | undefined {
  if (typeof value !== 'number') return undefined
  return Math.abs(value) < EPOCH_SECONDS_MAX ? value * SECOND_MS : value
}

function timeOfText(text: string): number | undefined {
  if (isToISOStringForm(text)) return timeOfDigits(text)
  return timeByForms(text)
}

function timeByForms(text: string): number | undefined {
  if (text.length > TEXT_CHARS_MAX) return undefined
  for (const form of FORMS) {
    const match = form.exec(text)
    if (match !== null) return momentOf(match.groups as Record<string, string | undefined>)
  }
  return EPOCH.test(text) ? timeOfNumber(Number(text)) : undefined
}

const ISO_CHARS = '2023-11-14T22:13:20.123Z'.length

/**
 * Whether the text has the form of `toISOString`. Most clients send it, and it can be read without a regular
 * expression.
 */
function isToISOStringForm(text: string): boolean {
  if (text.length !== ISO_CHARS) return false
  for (let at = 0; at < ISO_CHARS; at++) {
    const code = text.charCodeAt(at)
    const expected = EXPECTED_CODES[at] as number
    if (expected === ZERO ? code < ZERO || code > ZERO + 9 : code !== expected) return false
  }
  return true
}

const ZERO = 0x30
/** A zero means any digit. */
const EXPECTED_CODES = [...'0000-00-00T00:00:00.000Z'].map(char => char.charCodeAt(0))

function timeOfDigits(text: string): number | undefined {
  const number = (from: number, to: number): number => {
    let value = 0
    for (let at = from; at < to; at++) value = 10 * value + text.charCodeAt(at) - ZERO
    return value
  }
  const [year, month, day] = [number(0, 4), number(5, 7), number(8, 10)]
  const [hour, minute, second] = [number(11, 13), number(14, 16), number(17, 19)]
  // Date.UTC reads a year below 100 as 19xx, and carries over days that a month does not have.
  const isPlain = year >= 100 && month >= 1 && month <= 12 && day >= 1 && day <= 28
  if (!isPlain || hour > 23 || minute > 59 || second > 59) return timeByForms(text)
  return Date.UTC(year, month - 1, day, hour, minute, second, number(20, 23))
}

function momentOf(parts: Readonly<Record<string, string | undefined>>): number | undefined {
  const { year, month, monthNumber, day, hour = '0', minute = '0', second = '0', fraction = '' } = parts
  const monthIndex = month === undefined ? Number(monthNumber) - 1 : MONTHS.indexOf(month.toLowerCase())
  const date = new Date(0)
  date.setUTCFullYear(Number(year), monthIndex, Number(day))
  if (date.getUTCMonth() !== monthIndex) return undefined
  if (Number(minute) > 59 || Number(second) > 60) return undefined
  const isMidnight = Number(minute) === 0 && Number(second) === 0 && Number(fraction) === 0
  if (Number(hour) > (isMidnight ? 24 : 23)) return undefined
  const ms = Number(fraction.padEnd(3, '0').slice(0, 3))
  date.setUTCHours(Number(hour), Number(minute), Number(second), ms)
  const offsetMs = offsetMsOf(parts.zone)
  return offsetMs === undefined ? undefined : date.getTime() - offsetMs
}

/** Undefined if the zone is unknown, or the offset is 24 hours or more. */
function offsetMsOf(zone = 'Z'): number | undefined {
  const [, sign, hours = 0, minutes = 0, seconds = 0] = /^([+-])(\d\d):?(\d\d)?:?(\d\d)?$/.exec(zone) ?? []
  if (sign === undefined) {
    const zoneHours = ZONE_HOURS[zone.toUpperCase()]
    return zoneHours === undefined ? undefined : zoneHours * HOUR_MS
  }
  if (Number(hours) > 23 || Number(minutes) > 59 || Number(seconds) > 59) return undefined
  const ms = Number(hours) * HOUR_MS + Number(minutes) * MINUTE_MS + Number(seconds) * SECOND_MS
  return sign === '-' ? -ms : ms
}
