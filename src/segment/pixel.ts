import { type JsonBody, readJson } from '../body.ts'
import { BodyInvalid } from '../errors.ts'
import { parseForm } from '../form.ts'

const BASE64 = /^[A-Za-z0-9+/_-]+={0,2}$/

/**
 * What the query of a pixel says: `data` as JSON, in base64 (also its URL-safe form, and without the
 * padding) or as it is; without `data` its other parameters, in which dots nest: `properties.plan=pro`.
 *
 * @throws BodyInvalid where it is none of these
 */
export function readPixelQuery(query: string): JsonBody {
  const data = new URLSearchParams(query).get('data')
  if (data === null) return readQuery(query, { allowDots: true })
  if (data.trimStart().startsWith('{')) return readJson(Buffer.from(data))
  // A plus sign that nobody percent-encoded has come as a space.
  const base64 = data.trim().replaceAll(' ', '+')
  if (!BASE64.test(base64)) throw new BodyInvalid('data must be a JSON object in base64.')
  return readJson(Buffer.from(base64, 'base64'))
}

/** The parameters of a query as JSON. @throws BodyInvalid as `parseForm` does */
export function readQuery(query: string, options: { allowDots?: boolean } = {}): JsonBody {
  const value = parseForm(query, options)
  return { json: Buffer.from(JSON.stringify(value)), value }
}
