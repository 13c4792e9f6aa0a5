import { BodyInvalid } from '../errors.ts'
import { formFields } from '../http/form.ts'
import { formAsJson, type JsonBody, readJson, textOf } from '../http/read-body.ts'

const BASE64 = /^[A-Za-z0-9+/_-]+={0,2}$/
const NOT_ASCII = /[\u0080-\u00ff]/

/**
 * What the query of a pixel says: `data` as JSON, in base64 (also its URL-safe form, and without the
 * padding) or as it is; without `data` its other parameters, in which dots nest: `properties.plan=pro`.
 *
 * @param query as Node has it
 * @throws BodyInvalid where it is none of these
 */
export function readPixelQuery(query: string): JsonBody {
  const text = decodedQuery(query)
  const [, data] = formFields(text).find(([name]) => name === 'data') ?? []
  if (data === undefined) return formAsJson(text, { allowDots: true })
  if (data.trimStart().startsWith('{')) return readJson(Buffer.from(data))
  // A plus sign that nobody percent-encoded has come as a space.
  const base64 = data.trim().replaceAll(' ', '+')
  if (!BASE64.test(base64)) throw new BodyInvalid('data must be a JSON object in base64.')
  return readJson(Buffer.from(base64, 'base64'))
}

/** The parameters of a query as JSON. @param query as Node has it. @throws BodyInvalid as `parseForm` does */
export function readQuery(query: string): JsonBody {
  return formAsJson(decodedQuery(query))
}

/** Node has a byte a character; some clients encode nothing. @throws BodyInvalid where it is not UTF-8 */
function decodedQuery(query: string): string {
  return NOT_ASCII.test(query) ? textOf(Buffer.from(query, 'latin1')).toString() : query
}
