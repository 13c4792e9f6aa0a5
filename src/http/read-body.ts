import { isUtf8 } from 'node:buffer'
import { parse as parseJson } from 'secure-json-parse'
import { BodyInvalid } from '../errors.ts'
import { parseForm } from './form.ts'

const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf])
const UTF_16_BYTE_ORDER_MARKS = new Set([0xfeff, 0xfffe])
const FORM = 'application/x-www-form-urlencoded'
const JSON_OBJECT = /^\s*\{/
const JSON_ARRAY = /^\s*\[/
/** What stands before the first byte of JSON that matters: at most so many spaces are looked at. */
const SPACES_MAX = 64

/** A body as JSON, and what it says. */
export interface JsonBody {
  /** UTF-8, in the bytes that came where the body came as JSON. */
  readonly json: Buffer
  readonly value: unknown
}

/** @throws BodyInvalid where it is not UTF-8, not JSON, or holds a key that would poison a prototype. */
export function readJson(body: Buffer): JsonBody {
  const json = textOf(body)
  try {
    return { json, value: parseJson(json.toString(), { protoAction: 'error', constructorAction: 'error' }) }
  } catch (cause) {
    throw new BodyInvalid(`The body is not JSON that can be taken: ${(cause as Error).message}.`, { cause })
  }
}

/**
 * A form, or JSON that says that it is one: curl, Java's HttpURLConnection, Ruby, Python's urllib and PowerShell say so
 * of every body where they are not told otherwise.
 *
 * @throws BodyInvalid where it is not UTF-8, or what `readJson` or `parseForm` refuses.
 */
export function readForm(body: Buffer): JsonBody {
  const text = textOf(body)
  if (JSON_OBJECT.test(beginningOf(text)) || isJson(text)) return readJson(text)
  return formAsJson(text.toString())
}

/** What shows whether a body is JSON, whatever it says that it is. */
export function beginningOf(body: Buffer): string {
  return body.toString('latin1', 0, SPACES_MAX)
}

/** A form, where it says so; else JSON. @throws BodyInvalid where it is neither */
export function readJsonOrForm(body: Buffer, contentType = ''): JsonBody {
  return contentType.toLowerCase().startsWith(FORM) ? readForm(body) : readJson(body)
}

/** A form may begin with a bracket as well. */
function isJson(text: Buffer): boolean {
  if (!JSON_ARRAY.test(beginningOf(text))) return false
  try {
    JSON.parse(text.toString())
    return true
  } catch {
    return false
  }
}

/** @throws BodyInvalid as `parseForm` does */
export function formAsJson(text: string, options: { allowDots?: boolean } = {}): JsonBody {
  const value = parseForm(text, options)
  return { json: Buffer.from(JSON.stringify(value)), value }
}

/** The text without its byte order mark. @throws BodyInvalid where it is not UTF-8. */
export function textOf(body: Buffer): Buffer {
  if (isUtf16(body)) throw new BodyInvalid('The body is UTF-16: send it in UTF-8.')
  if (!isUtf8(body)) throw new BodyInvalid('The body is not UTF-8: send it in UTF-8.')
  return withoutByteOrderMark(body)
}

export function withoutByteOrderMark(body: Buffer): Buffer {
  return body[0] === BYTE_ORDER_MARK[0] && body.subarray(0, 3).equals(BYTE_ORDER_MARK)
    ? body.subarray(3)
    : body
}

/** By its byte order mark, or because a half of its first character is 0, as in no JSON or form in UTF-8. */
function isUtf16(body: Buffer): boolean {
  if (body.length < 2) return false
  return body[0] === 0 || body[1] === 0 || UTF_16_BYTE_ORDER_MARKS.has(body.readUInt16BE(0))
}
