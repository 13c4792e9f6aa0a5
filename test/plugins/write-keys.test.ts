import { Writable } from 'node:stream'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { createApp } from '../../plugins/app.ts'
import { configOf, temporaryDirectory } from '../helpers/helper.ts'
import { serveApp } from './served-app.ts'

const WRITE_KEYS = 'web:browser=browser-key-1,api=server-key-2'
const JSON_TYPE = { 'content-type': 'application/json' }

function basic(text: string): string {
  return `Basic ${Buffer.from(text).toString('base64')}`
}

interface Sent {
  path?: string
  headers?: Record<string, string>
  body?: string
}

function send(
  url: string,
  { path = '/api/t', headers = {}, body = '{"event":"a"}' }: Sent,
): Promise<Response> {
  return fetch(url + path, { method: 'POST', headers: { ...JSON_TYPE, ...headers }, body })
}

/** Each way in which a client may send a key. */
function waysOf(key: string): Sent[] {
  return [
    { headers: { 'x-write-key': key } },
    { headers: { authorization: basic(`${key}:`) } },
    { headers: { authorization: basic(`${key}:ignored:password`) } },
    { headers: { authorization: basic(key) } },
    { headers: { authorization: `Bearer ${key}` } },
    { headers: { authorization: `bearer  ${key}` } },
    { path: `/api/t?writeKey=${key}` },
    { body: `{"event":"a","writeKey":"${key}"}` },
    { body: `{"writeKey":"first","event":"a","\\u0077riteKey":"${key}"}` },
    { body: `event=a&writeKey=${key}`, headers: { 'content-type': 'application/x-www-form-urlencoded' } },
    { body: `{"event":"a","writeKey":"${key}"}`, headers: { 'content-type': 'text/plain;charset=UTF-8' } },
    { path: '/api/t/batch', body: `{"writeKey":"${key}","batch":[{"event":"a"}]}` },
    { path: '/api/t/batch', body: `[{"event":"a","writeKey":"${key}"}]`, headers: { 'x-write-key': key } },
    {
      path: `/api/t/batch?writeKey=${key}`,
      body: '{"event":"a"}\n',
      headers: { 'content-type': 'application/x-ndjson' },
    },
  ]
}

async function isRefused(t: Test, response: Response, message: RegExp, what: string): Promise<void> {
  const text = await response.text()
  t.equal(response.status, 401, what)
  t.match(
    JSON.parse(text),
    { statusCode: 401, code: 'FRQ_WRITE_KEY_INVALID', error: 'Unauthorized', message },
    what,
  )
  t.match(response.headers.get('www-authenticate'), /^Bearer/)
  t.notMatch(text, 'key-9', 'the key is not repeated')
}

t.test('a request without a key is told where this route takes one', async t => {
  const { url } = await serveApp(t, { WRITE_KEYS })
  const places: [method: string, path: string, says: RegExp, not: RegExp][] = [
    ['POST', '/api/t', /X-Write-Key.*or as writeKey in the query or the body\.$/, /path/],
    ['POST', '/v1/track', /in the query or the body\.$/, /path/],
    ['POST', '/api/hook/stripe', /at the end of the path \(\/api\/hook\/NAME\/KEY\), in the query/, /body/],
    ['GET', '/api/t.gif?event=a', /or as writeKey in the query\.$/, /body|path/],
  ]
  for (const [method, path, says, not] of places) {
    const body = method === 'POST' ? '{"event":"a","userId":"u"}' : null
    const response = await fetch(url + path, { method, headers: JSON_TYPE, body })
    t.equal(response.status, 401, path)
    const { message } = (await response.json()) as { message: string }
    t.match(message, says, path)
    t.notMatch(message, not, path)
  }
})

t.test('takes a key at each place, and archives its source but not the key', async t => {
  const served = await serveApp(t, { WRITE_KEYS })
  const ways = waysOf('server-key-2')
  for (const way of ways) {
    const response = await send(served.url, way)
    t.equal(response.status, 200, JSON.stringify(way))
    await response.text()
  }
  const lines = await served.archivedLines()
  t.equal(lines.length, ways.length)
  for (const line of lines) {
    t.match(JSON.parse(line), { event: 'a', source: 'api' })
    t.notMatch(line, /writeKey|server-key/)
    t.match(line, /"receivedAt":"[^"]+"\}$/, 'the stamp is last')
  }
})

t.test('refuses a wrong key at each place, and a missing one, and archives nothing', async t => {
  const served = await serveApp(t, { WRITE_KEYS })
  for (const key of ['browser-key-9', 'browser-key-', 'browser-key-11', 'web', '__proto__']) {
    for (const way of waysOf(key))
      await isRefused(t, await send(served.url, way), /unknown.*WRITE_KEYS/, JSON.stringify(way))
  }
  const missing: Sent[] = [
    {},
    { body: '{"event":"a","writeKey":""}' },
    { path: '/api/t?writeKey=' },
    { headers: { authorization: basic(':browser-key-1') } },
    { headers: { authorization: 'Digest browser-key-1' } },
    { body: '{"event":7}' },
    { body: '7' },
    { path: '/api/t/batch', body: '[{"event":"a","writeKey":"browser-key-1"}]' },
  ]
  for (const way of missing)
    await isRefused(
      t,
      await send(served.url, way),
      /required.*X-Write-Key.*Bearer.*Basic.*query.*body/,
      JSON.stringify(way),
    )
  const odd: Sent[] = [
    { body: '{"event":"a","writeKey":7}' },
    { body: '{"event":"a","writeKey":["browser-key-1"]}' },
    { path: '/api/t?writeKey=browser-key-1&writeKey=browser-key-1' },
  ]
  for (const way of odd) await isRefused(t, await send(served.url, way), /unknown/, JSON.stringify(way))

  t.equal((await fetch(`${served.url}/healthz`)).status, 200, 'health needs no key')
  t.strictSame(await served.archivedLines(), [])
})

t.test('refuses a wrong key in a header before it reads the body', async t => {
  const { url } = await serveApp(t, { WRITE_KEYS })
  const headers = { 'x-write-key': 'browser-key-9', 'content-type': 'application/xml' }
  await isRefused(t, await send(url, { headers, body: '<no/>' }), /unknown/, 'not 415')
  const right = await send(url, { headers: { 'x-write-key': 'browser-key-1' }, body: '{"event":7}' })
  t.equal(right.status, 400, 'with the right key the event is checked')
})

t.test("events with a browser's key are marked, and cannot set what only servers may set", async t => {
  const served = await serveApp(t, { WRITE_KEYS })
  const event =
    '{"event":"a","source":"api","channel":"server","n":1.10,"context":{"ip":"198.51.100.1","a":1}}'
  for (const path of ['/api/t', '/api/t/batch']) {
    const body = path === '/api/t' ? event : `[${event}]`
    for (const key of ['browser-key-1', 'server-key-2'])
      t.equal((await send(served.url, { path, body, headers: { 'x-write-key': key } })).status, 200)
  }
  const stamps = /"messageId":"[^"]+",|,"receivedAt":"[^"]+"/g
  const [first, second, ...others] = (await served.archivedLines()).map(line => line.replaceAll(stamps, ''))
  t.equal(first, '{"event":"a","n":1.10,"context":{"a":1},"source":"web","channel":"browser"}')
  t.equal(
    second,
    '{"event":"a","channel":"server","n":1.10,"context":{"ip":"198.51.100.1","a":1},"source":"api"}',
  )
  t.strictSame(others, [first, second])
})

t.test('without keys everybody may send, and no member of an event is changed', async t => {
  const served = await serveApp(t)
  const event =
    '{"event":"a","source":"me","channel":"x","writeKey":"of another system","context":{"ip":"198.51.100.1"}'
  t.equal((await send(served.url, { body: `${event}}`, headers: { 'x-write-key': 'any' } })).status, 200)
  const [line] = await served.archivedLines()
  t.ok(line?.startsWith(event))
})

t.test('no key is logged, and a process without keys that others can reach logs a warning', async t => {
  for (const [host, keys] of [
    ['127.0.0.1', ''],
    ['::1', ''],
    ['localhost', ''],
    ['0.0.0.0', ''],
    ['0.0.0.0', WRITE_KEYS],
  ] as const) {
    let log = ''
    const stream = new Writable({
      write(chunk, _, done) {
        log += chunk
        done()
      },
    })
    const env = { DATA_DIR: temporaryDirectory(t), HOST: host, WRITE_KEYS: keys }
    const app = await createApp(configOf(env), pino({ level: 'trace' }, stream))
    t.teardown(() => app.close())
    for (const { path = '/api/t', headers, body = '{"event":"a"}' } of [
      ...waysOf('browser-key-1'),
      ...waysOf('browser-key-9'),
    ])
      await app.inject({ method: 'POST', url: path, headers: { ...JSON_TYPE, ...headers }, body })
    await app.close()
    t.notMatch(log, /browser-key|server-key/)
    t.equal(
      /Anybody who reaches this server.*WRITE_KEYS/.test(log),
      host === '0.0.0.0' && keys === '',
      `${host} ${keys}`,
    )
  }
})
