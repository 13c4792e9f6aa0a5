import { isUtf8 } from 'node:buffer'
import { createRequire } from 'node:module'
import { BodyInvalid } from '../errors.ts'

const require = createRequire(import.meta.url)
let qs: typeof import('qs') | undefined

const FIELDS_MAX = 1000
const DEPTH_MAX = 20
const TOO_MUCH = `The form has more than ${FIELDS_MAX} fields, or nests deeper than ${DEPTH_MAX}.`
const PERCENT = 0x25

/** An empty value of these fields counts as missing: a form cannot send null. */
const ABSENT_IF_EMPTY = ['timestamp', 'originalTimestamp', 'sentAt', 'messageId']

interface Nesting {
  readonly separators: RegExp
  readonly constructorPrototype: RegExp
}

const BRACKETS: Nesting = { separators: /[[\]]+/, constructorPrototype: /\bconstructor[[\]]+prototype\b/ }
const DOTS_AND_BRACKETS: Nesting = {
  separators: /[[\].]+/,
  constructorPrototype: /\bconstructor[[\].]+prototype\b/,
}

type Field = readonly [name: string, value: string]

/**
 * The fields of `application/x-www-form-urlencoded`, read as the URL standard says (WHATWG URL, section 5.1): a percent
 * sign without two hexadecimal digits after it is kept.
 *
 * @throws BodyInvalid if decoded bytes are not UTF-8 (the standard would replace them), or for more than 1,000 fields
 */
export function formFields(text: string): Field[] {
  const parts = text.split('&', FIELDS_MAX + 1)
  if (parts.length > FIELDS_MAX) throw new BodyInvalid(TOO_MUCH)
  return parts
    .filter(field => field !== '')
    .map(field => {
      const at = field.indexOf('=')
      return at === -1 ? [decoded(field), ''] : [decoded(field.slice(0, at)), decoded(field.slice(at + 1))]
    })
}

/**
 * Parses `application/x-www-form-urlencoded`. Every value is a string. A repeated name makes an array. Brackets nest:
 * `properties[plan]=pro`. Indexes from 0 without a gap make an array: `tags[0]=a&tags[1]=b`; other indexes are names.
 * An empty `timestamp`, `originalTimestamp`, `sentAt` or `messageId` counts as missing.
 *
 * @param options.allowDots whether dots nest as well: `properties.plan=pro`. Default: false
 * @throws BodyInvalid for bytes that are not UTF-8, a name that would poison a prototype, more than 1,000 fields, or
 * nesting deeper than 20
 */
export function parseForm(
  text: string,
  { allowDots = false }: { allowDots?: boolean } = {},
): Record<string, unknown> {
  const fields = formFields(text)
  refusePoison(fields, allowDots ? DOTS_AND_BRACKETS : BRACKETS)
  const form = nested(fields, allowDots)
  for (const name of ABSENT_IF_EMPTY) if (form[name] === '') delete form[name]
  return form
}

function nested(fields: readonly Field[], allowDots: boolean): Record<string, unknown> {
  const { '': unnamed, ...named } = valuesByName(fields)
  // Loaded with the first form, to keep the start fast.
  qs ??= require('qs') as typeof import('qs')
  try {
    // The types of qs allow strings only. An array works as well: qs keeps it.
    const form = qs.parse(named as Record<string, string>, {
      allowDots,
      depth: DEPTH_MAX,
      strictDepth: true,
      // With arrays on, qs would close the gaps between indexes, and lose the indexes.
      arrayLimit: 0,
      allowPrototypes: true,
    })
    for (const [name, value] of Object.entries(form)) form[name] = withArrays(value)
    // qs drops a field without a name.
    return unnamed === undefined ? form : { ...form, '': unnamed }
  } catch (cause) {
    throw new BodyInvalid(TOO_MUCH, { cause })
  }
}

/** Replaces each object by an array if its names are the indexes from 0 without a gap. */
function withArrays(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(withArrays)
  const entries = Object.entries(value).map(([name, each]) => [name, withArrays(each)] as const)
  // JavaScript lists integer names first, in ascending order.
  const isArray = entries.length > 0 && entries.every(([name], index) => name === String(index))
  return isArray ? entries.map(([, each]) => each) : Object.fromEntries(entries)
}

function valuesByName(fields: readonly Field[]): Record<string, string | string[]> {
  const values: Record<string, string | string[]> = Object.create(null)
  for (const [name, value] of fields) {
    const before = values[name]
    values[name] = before === undefined ? value : [before, value].flat()
  }
  return values
}

/** Refuses a form with a name that would poison a prototype, as JSON is refused. qs would drop the field silently. */
function refusePoison(fields: readonly Field[], { separators, constructorPrototype }: Nesting): void {
  for (const [name] of fields) {
    if (name.split(separators).includes('__proto__') || constructorPrototype.test(name)) {
      throw new BodyInvalid(`The field name ${JSON.stringify(name)} is not allowed.`)
    }
  }
}

function decoded(text: string): string {
  const spaced = text.replaceAll('+', ' ')
  if (!spaced.includes('%')) return spaced
  const bytes = percentDecoded(Buffer.from(spaced))
  if (!isUtf8(bytes)) throw new BodyInvalid('The form is not UTF-8: encode it in UTF-8.')
  return bytes.toString()
}

function percentDecoded(bytes: Buffer): Buffer {
  let length = 0
  for (let at = 0; at < bytes.length; at++) {
    const high = hexDigit(bytes[at + 1])
    const low = hexDigit(bytes[at + 2])
    const isEncoded = bytes[at] === PERCENT && high >= 0 && low >= 0
    bytes[length++] = isEncoded ? 16 * high + low : (bytes[at] as number)
    if (isEncoded) at += 2
  }
  return bytes.subarray(0, length)
}

/** The value of a hexadecimal digit, by its ASCII code; -1 if it is not one. */
function hexDigit(code = 0): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30
  const letter = code | 0x20
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x61 + 10 : -1
}
