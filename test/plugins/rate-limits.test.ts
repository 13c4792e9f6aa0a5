import t from 'tap'
import { until } from '../services/wait.ts'
import { type ServedApp, serveApp } from './served-app.ts'

const WRITE_KEYS = 'web=key-of-web,api=key-of-api'

async function send({ url }: ServedApp, headers: Record<string, string> = {}, body = '{"event":"a"}') {
  const response = await fetch(`${url}/api/t`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body,
  })
  const text = await response.text()
  return { status: response.status, headers: response.headers, text }
}

function limitHeadersOf({ headers }: { headers: Headers }): (string | null)[] {
  return ['limit', 'remaining'].map(name => headers.get(`ratelimit-${name}`))
}

t.test('without settings there is no limit', async t => {
  const served = await serveApp(t)
  t.strictSame(limitHeadersOf(await send(served)), [null, null])
})

t.test('an address has a limit, and may send again in the next window', async t => {
  const served = await serveApp(t, { RATE_ADDRESS_MAX: '3', RATE_WINDOW_MS: '2000' })
  for (const left of ['2', '1', '0']) {
    const response = await send(served)
    t.equal(response.status, 200)
    t.strictSame(limitHeadersOf(response), ['3', left])
  }
  const refused = await send(served)
  t.equal(refused.status, 429)
  t.match(JSON.parse(refused.text), {
    statusCode: 429,
    code: 'FRQ_RATE_EXCEEDED',
    error: 'Too Many Requests',
    message: /^More than 3 requests in 2000 ms from this address: send again in [12] s\.$/,
  })
  t.match(refused.headers.get('retry-after'), /^[12]$/)
  t.match(refused.headers.get('ratelimit-reset'), /^[12]$/)
  t.strictSame(limitHeadersOf(refused), ['3', '0'])
  t.equal((await fetch(`${served.url}/healthz`)).status, 200, 'routes that take no events have no limit')

  await until('it may send again', 30_000, async () => (await send(served)).status === 200)
})

t.test("behind a trusted proxy the client's address counts, behind another the proxy's", async t => {
  const limits = { RATE_ADDRESS_MAX: '1', RATE_WINDOW_MS: '600000' }
  const trusting = await serveApp(t, { ...limits, TRUST_PROXY: 'loopback' })
  const from = (address: string) => ({ 'x-forwarded-for': address })
  t.equal((await send(trusting, from('203.0.113.1'))).status, 200)
  t.equal((await send(trusting, from('203.0.113.1'))).status, 429)
  t.equal((await send(trusting, from('203.0.113.1:4711'))).status, 429, 'with a port')
  t.equal(
    (await send(trusting, from('198.51.100.9, 203.0.113.1'))).status,
    429,
    'an address that the client has put before is ignored',
  )
  t.equal((await send(trusting, from('203.0.113.2'))).status, 200)
  t.equal((await send(trusting, from('2001:db8::1'))).status, 200)
  t.equal((await send(trusting, from('2001:db8::2'))).status, 429, 'the same network')
  t.equal((await send(trusting, from('2001:db8:0:1::2'))).status, 200)

  const wary = await serveApp(t, limits)
  t.equal((await send(wary, from('203.0.113.1'))).status, 200)
  t.equal((await send(wary, from('203.0.113.2'))).status, 429)
  const elsewhere = await serveApp(t, { ...limits, TRUST_PROXY: '192.0.2.0/24' })
  t.equal((await send(elsewhere, from('203.0.113.1'))).status, 200)
  t.equal((await send(elsewhere, from('203.0.113.2'))).status, 429)
})

t.test('a key has a limit, in the header and in the body', async t => {
  const served = await serveApp(t, { WRITE_KEYS, RATE_KEY_MAX: '2', RATE_WINDOW_MS: '600000' })
  const web = { 'x-write-key': 'key-of-web' }
  t.strictSame(limitHeadersOf(await send(served, web)), ['2', '1'])
  t.strictSame(limitHeadersOf(await send(served, {}, '{"event":"a","writeKey":"key-of-web"}')), ['2', '0'])
  const refused = await send(served, web)
  t.equal(refused.status, 429)
  t.match(JSON.parse(refused.text).message, /with this write key/)
  t.match(refused.headers.get('retry-after'), /^\d+$/)
  t.equal((await send(served, { 'x-write-key': 'key-of-api' })).status, 200)
  t.equal((await send(served, { 'x-write-key': 'wrong' })).status, 401)
  t.equal((await served.archivedLines()).length, 3, 'a refused request is not archived')
})

t.test('the headers are those of the limit with fewer requests left; wrong keys count as well', async t => {
  const env = { WRITE_KEYS, RATE_KEY_MAX: '2', RATE_ADDRESS_MAX: '5', RATE_WINDOW_MS: '600000' }
  const served = await serveApp(t, env)
  t.strictSame(limitHeadersOf(await send(served, { 'x-write-key': 'key-of-web' })), ['2', '1'])
  for (const left of ['3', '2', '1', '0']) {
    const guess = await send(served, { 'x-write-key': `guess ${left}` })
    t.equal(guess.status, 401)
    t.strictSame(limitHeadersOf(guess), ['5', left])
  }
  t.equal((await send(served, { 'x-write-key': 'key-of-api' })).status, 429)
})

t.test('the headers may be those of the limit of the address', async t => {
  const env = { WRITE_KEYS, RATE_KEY_MAX: '5', RATE_ADDRESS_MAX: '2', RATE_WINDOW_MS: '600000' }
  const served = await serveApp(t, env)
  t.strictSame(limitHeadersOf(await send(served, { 'x-write-key': 'key-of-web' })), ['2', '1'])
})
