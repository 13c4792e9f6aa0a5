/**
 * Random JSON as text. A value would lose what JSON.parse() does not keep: digits, escapes, the order of keys, repeated
 * keys, and white space.
 */
import type { Random } from './helper.ts'

const DEPTH_MAX = 6
const CHILDREN_MAX = 5
const SPACES = ['', '', ' ', '\t', '\n', '\r\n', '\n    ']
const NUMBERS = [
  '0',
  '-0',
  '1.10',
  '1e3',
  '1E+03',
  '-1.50e-7',
  '9223372036854775807',
  '18446744073709551616',
  '123456789012345678901234567890.123456789012345678901234567890',
  '1e400',
]
const CHARACTERS = [
  'a',
  'Z',
  '7',
  ' ',
  ',',
  ':',
  '{',
  '}',
  '[',
  ']',
  "'",
  '/',
  '\u007f',
  '\u00e9',
  '\u2028',
  '\u65e5',
  '\u{1f600}',
  '\\"',
  '\\\\',
  '\\/',
  '\\n',
  '\\r',
  '\\t',
  '\\b',
  '\\u0000',
  '\\u000a',
  '\\u00e9',
  '\\uD83D\\uDE00',
  '\\ud800',
]

export interface Member {
  /** JSON text, with its quotes. */
  readonly name: string
  /** JSON text. */
  readonly value: string
}

export function pick<T>(random: Random, values: readonly T[]): T {
  return values[random(values.length)] as T
}

export function randomString(random: Random): string {
  const length = random(12)
  return `"${Array.from({ length }, () => pick(random, CHARACTERS)).join('')}"`
}

export function randomValue(random: Random, depth = 0): string {
  const kind = random(depth < DEPTH_MAX ? 6 : 4)
  if (kind === 0) return pick(random, NUMBERS)
  if (kind === 1) return pick(random, ['true', 'false', 'null'])
  if (kind <= 3) return randomString(random)
  const children = Array.from({ length: random(CHILDREN_MAX) }, () => randomMember(random, depth + 1))
  return kind === 4 ? objectText(random, children) : arrayText(random, children)
}

export function randomMember(random: Random, depth = 0): Member {
  return { name: randomString(random), value: randomValue(random, depth) }
}

/** Returns an object of these members, in this order, with white space at places where JSON allows it. */
export function objectText(random: Random, members: readonly Member[]): string {
  const space = () => pick(random, SPACES)
  const parts = members.map(({ name, value }) => `${space()}${name}${space()}:${space()}${value}${space()}`)
  return `{${parts.join(',') || space()}}`
}

function arrayText(random: Random, members: readonly Member[]): string {
  const parts = members.map(({ value }) => pick(random, SPACES) + value + pick(random, SPACES))
  return `[${parts.join(',') || pick(random, SPACES)}]`
}

/** Returns `text` as a JSON string, with some characters as `\uXXXX`: other JSON text of the same string. */
export function randomlyEscaped(random: Random, text: string): string {
  const asEscape = (char: string) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`
  return `"${[...text].map(char => (random(2) === 0 ? asEscape(char) : char)).join('')}"`
}

/** Removes white space between tokens, not within strings. */
export function compact(json: string): string {
  return json.replace(/("(?:[^"\\]|\\.)*")|[ \t\r\n]+/g, '$1')
}
