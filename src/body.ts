import { isUtf8 } from 'node:buffer'
import { parse as parseJson } from 'secure-json-parse'
import { BodyInvalid } from './errors.ts'
import { parseForm } from './form.ts'

const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf])

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

/** @throws BodyInvalid where it is not UTF-8, or what `parseForm` refuses. */
export function readForm(body: Buffer): JsonBody {
  const value = parseForm(textOf(body).toString())
  return { json: Buffer.from(JSON.stringify(value)), value }
}

/** The text without its byte order mark. @throws BodyInvalid where it is not UTF-8. */
export function textOf(body: Buffer): Buffer {
  if (!isUtf8(body)) throw new BodyInvalid('The body is not UTF-8: send it in UTF-8.')
  return body[0] === BYTE_ORDER_MARK[0] && body.subarray(0, 3).equals(BYTE_ORDER_MARK)
    ? body.subarray(3)
    : body
}
