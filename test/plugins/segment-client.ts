/** Requests of the Segment API, and their expected answers. */
import type { Test } from 'tap'
import type { ServedApp } from './served-app.ts'

const JSON_TYPE = 'application/json'
export const CALLS = {
  track: { event: 'Signed Up', properties: { plan: 'pro' } },
  identify: { traits: { plan: 'pro' } },
  page: { name: 'Start', category: 'Docs', properties: {} },
  screen: { name: 'Home' },
  group: { groupId: 'g1', traits: { name: 'Acme' } },
  alias: { previousId: 'a1' },
} as const
export const TYPES = Object.keys(CALLS) as (keyof typeof CALLS)[]

export function post(url: string, path: string, body: unknown, headers: Record<string, string> = {}) {
  const isText = typeof body === 'string' || body instanceof Uint8Array
  return fetch(url + path, {
    method: 'POST',
    headers: { 'content-type': JSON_TYPE, ...headers },
    body: isText ? (body as string) : JSON.stringify(body),
  })
}

export async function isTaken(t: Test, response: Response, refused?: unknown): Promise<void> {
  t.equal(response.status, 200)
  t.equal(response.headers.get('frequency-ack'), 'disk')
  const answer = await response.json()
  if (refused === undefined) t.strictSame(answer, { success: true })
  else t.match(answer, { success: true, refused })
}

export async function isRefused(t: Test, response: Response, status: number, message: RegExp): Promise<void> {
  t.match({ status: response.status, body: await response.json() }, { status, body: { message } })
}

export async function archived(served: ServedApp): Promise<Record<string, unknown>[]> {
  return (await served.archivedLines()).map(line => JSON.parse(line))
}
