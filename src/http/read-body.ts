import { isUtf8 } from 'node:buffer'
import { parse as parseJson } from 'secure-json-parse'
import { BodyInvalid } from '../errors.ts'
import { parseForm } from './form.ts'

const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf])
const UTF_16_BYTE_ORDER_MARKS = new Set([0xfeff, 0xfffe])
const FORM = 'application/x-www-form-urlencoded'
const JSON_OBJECT = /^\s*\{/
const JSON_ARRAY = /^\s*\[/
/** Bytes at the beginning of a body that are tested for a brace or bracket, with leading spaces. */
const BEGINNING_BYTES = 64

/** A body as JSON: its bytes and its parsed value. */
export interface JsonBody {
  /** UTF-8. If the body was JSON, the received bytes themselves. */
  readonly json: Buffer
  readonly value: unknown
}

/** @throws BodyInvalid if the body is not UTF-8, not JSON, or has a key that would poison a prototype */
export function readJson(body: Buffer): JsonBody {
  const json = textOf(body)
  try {
    return { json, value: parseJson(json.toString(), { protoAction: 'error', constructorAction: 'error' }) }
  } catch (cause) {
    throw new BodyInvalid(`The body is not JSON that can be taken: ${(cause as Error).message}.`, { cause })
  }
}

/**
 * Reads a body that is labelled as a form: a form, or JSON. curl, Java's HttpURLConnection, Ruby, Python's urllib and
 * PowerShell label every body as a form by default.
 *
 * @throws BodyInvalid as `readJson` or `parseForm` does
 */
export function readForm(body: Buffer): JsonBody {
  const text = textOf(body)
  if (JSON_OBJECT.test(beginningOf(text)) || isJsonArray(text)) return readJson(text)
  return formAsJson(text.toString())
}

/** The first 64 bytes of a body, to see whether it begins like JSON, whatever its content type is. */
export function beginningOf(body: Buffer): string {
  return body.toString('latin1', 0, BEGINNING_BYTES)
}

/** Reads a form or JSON if the content type is that of a form, else JSON. @throws BodyInvalid if it is neither */
export function readJsonOrForm(body: Buffer, contentType = ''): JsonBody {
  return contentType.toLowerCase().startsWith(FORM) ? readForm(body) : readJson(body)
}

/** Whether the body is a JSON array. It is parsed to be sure: a form may begin with a bracket as well. */
function isJsonArray(text: Buffer): boolean {
  if (!JSON_ARRAY.test(beginningOf(text))) return false
  try {
    JSON.parse(text.toString())
    return true
  } catch {
    return false
  }
}

/** The fields of a form as JSON. @throws BodyInvalid as `parseForm` does */
export function formAsJson(text: string, options: { allowDots?: boolean } = {}): JsonBody {
  const value = parseForm(text, options)
  return { json: Buffer.from(JSON.stringify(value)), value }
}

/** The bytes of the text, without a byte order mark. @throws BodyInvalid if they are not UTF-8 */
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

/**
 * Detects UTF-16 by its byte order mark, or by a zero byte in the first two: JSON or a form in UTF-8 has none there.
 */
function isUtf16(body: Buffer): boolean {
  if (body.length < 2) return false
  return body[0] === 0 || body[1] === 0 || UTF_16_BYTE_ORDER_MARKS.has(body.readUInt16BE(0))
}
