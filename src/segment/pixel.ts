import { BodyInvalid } from '../errors.ts'
import { formFields } from '../http/form.ts'
import { formAsJson, type JsonBody, readJson, textOf } from '../http/read-body.ts'

const BASE64 = /^[A-Za-z0-9+/_-]+={0,2}$/
const NOT_ASCII = /[\u0080-\u00ff]/

/**
 * Reads the query of a pixel as JSON. `data` is JSON, plain or in base64 (URL-safe as well; padding is optional).
 * Without `data` the other parameters are the members, and dots nest: `properties.plan=pro`.
 *
 * @param query of the URL as Node gives it, without the question mark
 * @throws BodyInvalid if the query is none of these
 */
export function readPixelQuery(query: string): JsonBody {
  const text = decodedQuery(query)
  const [, data] = formFields(text).find(([name]) => name === 'data') ?? []
  if (data === undefined) return formAsJson(text, { allowDots: true })
  if (data.trimStart().startsWith('{')) return readJson(Buffer.from(data))
  // A plus sign that the client did not percent-encode has become a space.
  const base64 = data.trim().replaceAll(' ', '+')
  if (!BASE64.test(base64)) throw new BodyInvalid('data must be a JSON object in base64.')
  return readJson(Buffer.from(base64, 'base64'))
}

/** The parameters of a query as JSON. @throws BodyInvalid as `parseForm` does */
export function readQuery(query: string): JsonBody {
  return formAsJson(decodedQuery(query))
}

/**
 * Some clients send UTF-8 without percent-encoding. Node gives each byte of a URL as one character.
 *
 * @throws BodyInvalid if these bytes are not UTF-8
 */
function decodedQuery(query: string): string {
  return NOT_ASCII.test(query) ? textOf(Buffer.from(query, 'latin1')).toString() : query
}
