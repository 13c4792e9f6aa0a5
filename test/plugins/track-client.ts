/** Requests of `POST /api/t`, and their expected answers. */
import type { Test } from 'tap'

export const JSON_TYPE = { 'content-type': 'application/json' }
export const FORM_TYPE = { 'content-type': 'application/x-www-form-urlencoded' }

interface Refusal {
  status: number
  code: string
  /** A pattern of the message, which says what to correct. */
  message: RegExp
}

export function post(url: string, body: string | Buffer, headers: Record<string, string> = JSON_TYPE) {
  return fetch(`${url}/api/t`, { method: 'POST', headers, body })
}

export async function isRefused(
  t: Test,
  response: Response,
  { status, code, message }: Refusal,
): Promise<void> {
  const body = (await response.json()) as Record<string, unknown>
  t.match(
    { status: response.status, type: response.headers.get('content-type'), body },
    { status, type: 'application/json', body: { statusCode: status, code, error: String, message } },
  )
  t.strictSame(Object.keys(body).sort(), ['code', 'error', 'message', 'statusCode'])
}

export async function isAccepted(t: Test, response: Response): Promise<void> {
  t.equal(response.status, 200)
  t.match(response.headers.get('content-type'), /^text\/plain/)
  t.equal(response.headers.get('frequency-ack'), 'disk')
  t.equal(await response.text(), '200')
}

export const NO_BODY = { status: 400, code: 'FRQ_BODY_INVALID' }
