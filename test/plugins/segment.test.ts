import { gzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { openNetwork, uniqueQueueName } from '../helpers/queue-helper.ts'
import { type ServedApp, serveApp } from './served-app.ts'

const JSON_TYPE = 'application/json'
const CALLS = {
  track: { event: 'Signed Up', properties: { plan: 'pro' } },
  identify: { traits: { plan: 'pro' } },
  page: { name: 'Start', category: 'Docs', properties: {} },
  screen: { name: 'Home' },
  group: { groupId: 'g1', traits: { name: 'Acme' } },
  alias: { previousId: 'a1' },
} as const
const TYPES = Object.keys(CALLS) as (keyof typeof CALLS)[]

function post(url: string, path: string, body: unknown, headers: Record<string, string> = {}) {
  const isText = typeof body === 'string' || body instanceof Uint8Array
  return fetch(url + path, {
    method: 'POST',
    headers: { 'content-type': JSON_TYPE, ...headers },
    body: isText ? (body as string) : JSON.stringify(body),
  })
}

async function isTaken(t: Test, response: Response, refused?: unknown): Promise<void> {
  t.equal(response.status, 200)
  t.equal(response.headers.get('frequency-ack'), 'disk')
  const answer = await response.json()
  if (refused === undefined) t.strictSame(answer, { success: true })
  else t.match(answer, { success: true, refused })
}

async function isRefused(t: Test, response: Response, status: number, message: RegExp): Promise<void> {
  t.match({ status: response.status, body: await response.json() }, { status, body: { message } })
}

async function archived(served: ServedApp): Promise<Record<string, unknown>[]> {
  return (await served.archivedLines()).map(line => JSON.parse(line))
}

t.test('every call at every path gets the type of the path', async t => {
  const served = await serveApp(t)
  for (const type of TYPES) {
    for (const path of [`/v1/${type}`, `/v1/${type.charAt(0)}`, `/api/s/${type}`, `/api/s/s2s/${type}`]) {
      const body = { userId: 'u1', messageId: path, type: 'other', writeKey: 'secret', ...CALLS[type] }
      await isTaken(t, await post(served.url, path, body))
    }
  }
  const lines = await served.archivedLines()
  t.equal(lines.length, 4 * TYPES.length)
  for (const [index, type] of TYPES.entries()) {
    for (const line of lines.slice(4 * index, 4 * index + 4)) {
      t.match(JSON.parse(line), { userId: 'u1', type, messageId: String, ...CALLS[type] })
      t.notMatch(line, /writeKey|secret|other/)
      t.match(line, /"receivedAt":"[^"]+"}$/, 'receivedAt is last')
    }
  }
})

t.test('the members of a call stay the same bytes, with all digits', async t => {
  const served = await serveApp(t)
  const kept =
    '"userId":9007199254740993,"event":"e","properties":{"n":1.10,"m":123456789012345678901234567890,"u":"\\u00fc"}'
  await isTaken(t, await post(served.url, '/v1/track', `{\n${kept},\n"write\\u004bey":"secret"}`))
  await isTaken(
    t,
    await post(
      served.url,
      '/v1/batch',
      `{"batch":[ {"type":"track",${kept}} ],"context":{"n":1.10,\n"m":2.50}}`,
    ),
  )
  const [single, batched] = await served.archivedLines()
  t.ok(single?.includes(kept))
  t.notMatch(single, /secret/)
  t.ok(batched?.includes(kept))
  t.ok(batched?.includes('"context":{"n":1.10, "m":2.50,"ip":"127.0.0.1"}'))
})

t.test('a body of any content type is read as JSON, or as a form if it is one', async t => {
  const served = await serveApp(t)
  const body = '{"userId":"u1","event":"e"}'
  for (const type of [
    'text/plain',
    'text/plain;charset=UTF-8',
    'application/json; charset=utf-8',
    'application/x-www-form-urlencoded',
    '',
    'json',
    'unknown/type; =',
  ]) {
    await isTaken(t, await post(served.url, '/v1/t', body, { 'content-type': type }))
  }
  const blob = new Blob([body])
  await isTaken(t, await fetch(`${served.url}/v1/t`, { method: 'POST', body: blob }))
  const form = 'userId=u1&event=e&properties[plan]=pro'
  await isTaken(
    t,
    await post(served.url, '/v1/track', form, { 'content-type': 'application/x-www-form-urlencoded' }),
  )
  const gzipped = gzipSync(JSON.stringify({ batch: [{ type: 'track', userId: 'u1', event: 'e' }] }))
  await isTaken(t, await post(served.url, '/v1/batch', gzipped, { 'content-encoding': 'gzip' }))
  const events = await archived(served)
  t.equal(events.length, 10)
  for (const event of events) t.match(event, { userId: 'u1', event: 'e', type: 'track' })
})

t.test("a batch: each call gets its own type and the batch's common members", async t => {
  const served = await serveApp(t)
  for (const path of ['/v1/batch', '/v1/import', '/v1/b', '/beacon/v1/batch']) {
    const batch = [
      { type: 'track', userId: 'u1', ...CALLS.track, context: { ip: '1.2.3.4', app: { name: 'own' } } },
      { type: 'page', anonymousId: 'a1', integrations: { All: true }, writeKey: 'secret', sentAt: 'own' },
      { type: 'alias', userId: 'u2', previousId: 'u1', context: null },
    ]
    const body = {
      writeKey: 'secret',
      batch,
      context: { app: { name: 'all', build: 1 }, 'é"': [1] },
      integrations: { All: false, Mixpanel: false },
      sentAt: new Date().toISOString(),
    }
    await isTaken(t, await post(served.url, path, body))
  }
  const lines = await served.archivedLines()
  t.equal(lines.length, 12)
  t.strictSame(
    lines.filter(line => /secret|writeKey/.test(line)),
    [],
  )
  const [track, page, alias] = lines.map(line => JSON.parse(line))
  t.strictSame(track.context, { ip: '1.2.3.4', app: { name: 'own' }, 'é"': [1] })
  t.strictSame(track.integrations, { All: false, Mixpanel: false })
  t.strictSame(page.integrations, { All: true, Mixpanel: false })
  t.strictSame(alias.context, { app: { name: 'all', build: 1 }, 'é"': [1], ip: '127.0.0.1' })
  t.match(page.sentAt, /^\d{4}-.*Z$/, "the batch's sentAt")
})

t.test('a batch over several lines becomes one line for each event', async t => {
  const served = await serveApp(t)
  const batch = [{ type: 'page', userId: 'u1', context: { a: [1] }, properties: { b: {} } }]
  const body = { batch, context: { c: [2] }, integrations: { d: {} }, sentAt: { not: 'a time' } }
  await isTaken(
    t,
    await post(served.url, '/v1/batch', JSON.stringify(body, null, 2).replaceAll('\n', '\r\n')),
  )
  const [line, ...others] = await served.archivedLines()
  t.strictSame(others, [])
  t.match(JSON.parse(String(line)), {
    context: { a: [1], c: [2] },
    integrations: { d: {} },
    properties: { b: {} },
    sentAt: { not: 'a time' },
  })
})

t.test('the time is corrected, and the original time is kept', async t => {
  const served = await serveApp(t)
  const hourAgo = new Date(Date.now() - 3_600_000).toISOString()
  const call = { userId: 'u1', event: 'e', timestamp: '2020-01-01T00:00:00.000Z' }
  await post(served.url, '/v1/track', { ...call, timestamp: hourAgo, sentAt: hourAgo })
  await post(served.url, '/v1/batch', {
    batch: [{ ...call, type: 'track', timestamp: hourAgo }],
    sentAt: hourAgo,
  })
  await post(served.url, '/v1/track', call)
  await post(served.url, '/v1/track', { ...call, timestamp: '2099-01-01T00:00:00Z', timestampSuspect: false })
  await post(served.url, '/v1/track', { ...call, timestamp: null, timestampSuspect: true })
  const [single, batched, old, future, none] = await archived(served)
  for (const event of [single, batched]) {
    t.match(event, { timestamp: event?.receivedAt, originalTimestamp: hourAgo, sentAt: hourAgo })
    t.notOk('timestampSuspect' in (event ?? {}))
  }
  t.match(old, { timestamp: call.timestamp, originalTimestamp: call.timestamp })
  t.match(future, { timestamp: '2099-01-01T00:00:00Z', timestampSuspect: true })
  t.equal(none?.timestamp, none?.receivedAt)
  t.notOk('originalTimestamp' in (none ?? {}) || 'timestampSuspect' in (none ?? {}))
})

const BAD: [type: keyof typeof CALLS, call: unknown, message: RegExp][] = [
  ['track', { userId: 'u1' }, /^event is required: a string/],
  ['track', { userId: 'u1', event: '' }, /^event must be a string of at least one character, or a number/],
  ['track', { event: 'e' }, /^userId or anonymousId is required/],
  ['track', { event: 'e', userId: '', anonymousId: null }, /^userId or anonymousId is required/],
  ['track', { event: 'e', userId: {} }, /^userId or anonymousId is required/],
  ['group', { userId: 'u1' }, /^groupId is required/],
  ['alias', { userId: 'u1' }, /^previousId is required/],
  ['track', [], /JSON object/],
  ['track', null, /JSON object/],
  ['track', '{"userId":', /not JSON/],
  ['track', '{"userId":"u1","event":"e","__proto__":{}}', /not JSON that can be taken/],
]

t.test('an invalid call is refused with a reason', async t => {
  const served = await serveApp(t)
  for (const [type, call, message] of BAD) {
    await isRefused(t, await post(served.url, `/v1/${type}`, call), 400, message)
  }
  t.equal((await fetch(`${served.url}/v1/track`)).status, 405)
  t.equal((await post(served.url, '/v1/unknown', {})).status, 404)
  t.strictSame(await served.archivedLines(), [])
})

t.test('an invalid call of a batch is listed, and the valid calls are archived', async t => {
  const served = await serveApp(t)
  const good = { type: 'track', userId: 'u1', event: 'good' }
  const bad = BAD.filter(([, call]) => typeof call !== 'string')
  const calls = bad.map(([type, call]) =>
    typeof call === 'object' && call !== null && !Array.isArray(call) ? { type, ...call } : call,
  )
  const others = [
    { ...good, type: 'other' },
    { ...good, type: undefined },
    'text',
    1,
    { ...good, messageId: 'bad', event: {} },
  ]
  const batch = [good, ...calls, good, ...others, good]
  const refused = [
    ...bad.map(([, , message], at) => ({ index: at + 1, code: 'FRQ_EVENT_INVALID', message })),
    { index: bad.length + 2, message: /^type must be one of track, identify/ },
    { index: bad.length + 3, message: /^type must be one of/ },
    { index: bad.length + 4, message: /JSON object/ },
    { index: bad.length + 5, message: /JSON object/ },
    { index: bad.length + 6, messageId: 'bad', message: /^event must be/ },
  ].map(each => ({
    ...each,
    message: /JSON object/.test(String(each.message)) ? /JSON object/ : each.message,
  }))
  await isTaken(t, await post(served.url, '/v1/batch', { batch }), refused)

  const poisoned =
    '{"batch":[{"type":"track","userId":"u1","event":"good"},{"type":"track","userId":"u1","event":"e","properties":{"__proto__":{}}}]}'
  await isTaken(t, await post(served.url, '/v1/batch', poisoned), [{ index: 1, code: 'FRQ_BODY_INVALID' }])
  const twice =
    '{"batch":[{"type":"page"}],"b\\u0061tch":[{"type":"track","userId":"u1","event":"good","messageId":"m"}]}'
  await isTaken(t, await post(served.url, '/v1/batch', twice))

  const events = await archived(served)
  t.equal(events.length, 5)
  t.strictSame(new Set(events.map(({ event }) => event)), new Set(['good']))
})

t.test('a write key is required in a header, the query or the body, and its source is archived', async t => {
  const served = await serveApp(t, { WRITE_KEYS: 'web:browser=key-of-web,api:server=key-of-api' })
  const call = { type: 'track', userId: 'u1', event: 'e', source: 'forged', channel: 'forged' }
  for (const path of ['/v1/track', '/v1/batch']) {
    const body = path === '/v1/track' ? call : { batch: [call] }
    await isRefused(t, await post(served.url, path, body), 401, /write key is required/)
    await isRefused(t, await post(served.url, path, { ...body, writeKey: 'other' }), 401, /unknown/)
    const basic = { authorization: `Basic ${btoa('key-of-api:')}` }
    await isTaken(t, await post(served.url, path, { ...body, writeKey: 'key-of-api' }))
    await isTaken(t, await post(served.url, path, body, basic))
    await isTaken(t, await post(served.url, `${path}?writeKey=key-of-api`, body))
    await isTaken(
      t,
      await post(served.url, path, { ...body, writeKey: 'key-of-web', context: { ip: '9.9.9.9' } }),
    )
  }
  const lines = await served.archivedLines()
  t.equal(lines.length, 8)
  t.strictSame(
    lines.filter(line => /key-of|writeKey/.test(line)),
    [],
  )
  const events = lines.map(line => JSON.parse(line))
  for (const at of [0, 1, 2, 4, 5, 6]) t.match(events[at], { source: 'api' })
  for (const at of [3, 7]) {
    t.match(events[at], { source: 'web', channel: 'browser', context: { ip: '127.0.0.1' } })
  }
})

t.test('the policy holds for the address of the client, and for one in the batch', async t => {
  const wanted = {
    keep: ['1.2.3.4', '127.0.0.1'],
    truncate: ['1.2.3.0', '127.0.0.0'],
    drop: [undefined, undefined],
  }
  for (const [IP_POLICY, [given, seen]] of Object.entries(wanted)) {
    const served = await serveApp(t, { IP_POLICY })
    const call = { type: 'page', userId: 'u1' }
    await isTaken(t, await post(served.url, '/v1/page', { ...call, context: { ip: '1.2.3.4' } }))
    await isTaken(t, await post(served.url, '/v1/batch', { batch: [call], context: { ip: '1.2.3.4', a: 1 } }))
    await isTaken(t, await post(served.url, '/v1/page', call))
    await isTaken(
      t,
      await post(served.url, '/v1/batch', { batch: [{ ...call, context: { b: 1 } }], context: { a: 1 } }),
    )
    const contexts = (await archived(served)).map(({ context }) => context as { ip?: string } | undefined)
    t.strictSame(
      contexts.map(context => context?.ip),
      [given, given, seen, seen],
      IP_POLICY,
    )
  }
})

t.test('a body that is not a batch, or has no valid call, is refused', async t => {
  const served = await serveApp(t)
  for (const body of [{}, { batch: {} }, [], 'text', '']) {
    await isRefused(t, await post(served.url, '/v1/batch', body), 400, /./)
  }
  const poisoned = '{"batch":[{"type":"page","userId":"u1"}],"context":{"__proto__":{}}}'
  await isRefused(t, await post(served.url, '/v1/batch', poisoned), 400, /not JSON that can be taken/)
  const none = await post(served.url, '/v1/batch', { batch: [{ type: 'track' }] })
  t.equal(none.status, 400)
  t.match(await none.json(), {
    code: 'FRQ_BATCH_REFUSED',
    refused: [{ index: 0, message: /^event is required/ }],
  })
  t.strictSame(await served.archivedLines(), [])
})

t.test('an empty batch is accepted', async t => {
  const served = await serveApp(t)
  const response = await post(served.url, '/v1/batch', { batch: [], sentAt: new Date() })
  t.equal(response.status, 200)
  t.strictSame(await response.json(), { success: true })
})

t.test('limits: 32 KiB for a call, 500 KiB for a batch', async t => {
  const served = await serveApp(t)
  const callOf = (bytes: number, type = 'track') => {
    const call = { type, userId: 'u1', event: 'e', text: '' }
    return { ...call, text: 'x'.repeat(bytes - JSON.stringify(call).length) }
  }
  await isTaken(t, await post(served.url, '/v1/track', callOf(32 * 1024)))
  const large = await post(served.url, '/v1/track', callOf(32 * 1024 + 1))
  await isRefused(t, large, 413, /32768 bytes \(SEGMENT_EVENT_BYTES_MAX\)/)

  const batch = [callOf(32 * 1024), callOf(32 * 1024 + 1), callOf(100)]
  await isTaken(t, await post(served.url, '/v1/batch', { batch }), [
    { index: 1, code: 'FRQ_EVENT_TOO_LARGE', message: /32768 bytes/ },
  ])
  const full = { batch: Array.from({ length: 15 }, () => callOf(32 * 1024)), text: '' }
  full.text = 'x'.repeat(500 * 1024 - JSON.stringify(full).length)
  await isTaken(t, await post(served.url, '/v1/batch', full))
  full.text += 'x'
  await isRefused(
    t,
    await post(served.url, '/v1/batch', full),
    413,
    /512000 bytes \(SEGMENT_BATCH_BYTES_MAX\)/,
  )
  const bomb = gzipSync(JSON.stringify(full))
  t.ok(bomb.length < 10_000)
  const unpacked = await post(served.url, '/v1/batch', bomb, { 'content-encoding': 'gzip' })
  await isRefused(t, unpacked, 413, /512000 bytes/)
  t.equal((await served.archivedLines()).length, 1 + 2 + 15)
})

t.test("limits: 2,500 calls in a batch, and the bytes of the batch's context copied into each", async t => {
  const served = await serveApp(t)
  const batchOf = (calls: number) =>
    Array.from({ length: calls }, () => ({ type: 'page', userId: 'u1', context: { a: 1 } }))
  await isTaken(t, await post(served.url, '/v1/batch', { batch: batchOf(2500) }))
  await isRefused(t, await post(served.url, '/v1/batch', { batch: batchOf(2501) }), 413, /2500 events/)

  const context = { text: 'x'.repeat(200_000) }
  await isTaken(t, await post(served.url, '/v1/batch', { context, batch: batchOf(10) }))
  const much = await post(served.url, '/v1/batch', { context, batch: batchOf(11) })
  await isRefused(t, much, 400, /200011 bytes, too many to copy into each of 11 calls/)
  const both = { context: { text: 'x'.repeat(100_000) }, integrations: { text: 'x'.repeat(100_000) } }
  await isRefused(t, await post(served.url, '/v1/batch', { ...both, batch: batchOf(11) }), 400, /too many/)
  t.equal((await served.archivedLines()).length, 2510)
})

t.test('an empty array counts as an empty object, as PHP writes it', async t => {
  const served = await serveApp(t)
  const call = { type: 'track', userId: 'u1', event: 'e', properties: [], context: [], integrations: [] }
  await isTaken(t, await post(served.url, '/v1/track', call))
  await isTaken(t, await post(served.url, '/v1/batch', { context: [], integrations: [], batch: [call] }))
  const context = { library: { name: 'php' } }
  await isTaken(
    t,
    await post(served.url, '/v1/batch', { context, integrations: { All: true }, batch: [call] }),
  )
  for (const nothing of ['null', '[ \n]'])
    await isTaken(t, await post(served.url, '/v1/track', `{"userId":"u1","event":"e","context":${nothing} }`))
  const [alone, batched, joined, ...withNothing] = await archived(served)
  for (const event of [alone, batched]) t.match(event, { properties: [], integrations: [] })
  for (const event of [alone, batched, ...withNothing])
    t.strictSame(event?.context, { ip: '127.0.0.1' }, 'the address is added as to an empty object')
  t.match(joined, { context: { ...context, ip: '127.0.0.1' }, integrations: { All: true }, properties: [] })
})

t.test('503 while nothing takes events durably', async t => {
  const network = await openNetwork(t)
  const served = await serveApp(t, { AMQP_URL: network.url, AMQP_QUEUE: uniqueQueueName(t), SPOOL: 'off' })
  await network.refuse()
  network.cut()
  const call = { type: 'track', userId: 'u1', event: 'e' }
  for (const [path, body] of [
    ['/v1/track', call],
    ['/v1/batch', { batch: [call] }],
  ] as const) {
    const response = await post(served.url, path, body)
    t.equal(response.status, 503)
    t.ok(response.headers.has('retry-after'))
  }
  await network.accept()
})

t.test('the settings that libraries load name this server', async t => {
  const served = await serveApp(t)
  const response = await fetch(`${served.url}/v1/projects/my-key/settings`)
  t.equal(response.status, 200)
  t.match(response.headers.get('cache-control'), /private/)
  t.match(await response.json(), {
    integrations: {
      'Segment.io': { apiKey: 'my-key', apiHost: `${new URL(served.url).host}/v1`, protocol: 'http' },
    },
    metrics: { sampleRate: 0 },
  })
  const headers = { 'x-forwarded-proto': 'https' }
  const proxied = await fetch(`${served.url}/v1/projects/my-key/settings`, { headers })
  t.match(await proxied.json(), { integrations: { 'Segment.io': { protocol: 'https' } } })
})

t.test("the source configuration for RudderStack's libraries has no destinations", async t => {
  const served = await serveApp(t, { CORS_ORIGINS: 'https://example.com', WRITE_KEYS: 'web:browser=my-key' })
  for (const path of ['/sourceConfig', '/sourceConfig/']) {
    const url = `${served.url}${path}?p=npm&v=3.34.1&writeKey=my-key`
    const headers = { origin: 'https://example.com' }
    const preflight = await fetch(url, {
      method: 'OPTIONS',
      headers: {
        ...headers,
        'access-control-request-method': 'GET',
        'access-control-request-headers': 'authorization',
      },
    })
    t.equal(preflight.headers.get('access-control-allow-headers'), 'authorization')
    const response = await fetch(url, { headers })
    t.equal(response.headers.get('access-control-allow-origin'), 'https://example.com')
    t.match(await response.json(), {
      source: { id: String, writeKey: 'my-key', enabled: true, config: {}, destinations: [] },
    })
  }
})

t.test('a member of the wrong type is kept under another name, and the call is accepted', async t => {
  const served = await serveApp(t)
  const calls = [
    { messageId: true },
    { messageId: 'm'.repeat(256) },
    { messageId: 'half a \ud83d pair' },
    { anonymousId: {} },
    { properties: [1] },
    { context: 'web' },
    { context: [{ ip: '203.0.113.9' }], originalContext: 'theirs' },
    { integrations: true },
    { event: 42 },
    { type: 'Track' },
  ].map((odd, n) => ({ type: 'track', event: 'e', userId: 'u', n, ...odd }))
  const batch = { batch: calls, context: 'of all', integrations: 7 }
  await isTaken(t, await post(served.url, '/v1/batch', batch))
  const events = (await archived(served)).sort((a, b) => Number(a.n) - Number(b.n))
  t.equal(events.length, calls.length)
  const minted = /^[0-9a-f-]{36}$/
  t.match(events, [
    { messageId: minted, originalMessageId: true },
    { messageId: minted, originalMessageId: 'm'.repeat(256) },
    { messageId: minted, originalMessageId: 'half a \ud83d pair' },
    { userId: 'u', originalAnonymousId: {} },
    { originalProperties: [1] },
    { originalContext: 'web', context: { ip: '127.0.0.1' } },
    { originalContext: [{ ip: '203.0.113.9' }] },
    { originalIntegrations: true },
    { event: 42 },
    { type: 'track' },
  ])
  t.ok(
    events.every(event => event.originalBatchContext === 'of all' && event.originalBatchIntegrations === 7),
  )
})

t.test('a context that is not an object is removed if the policy does not keep addresses', async t => {
  const served = await serveApp(t, { IP_POLICY: 'drop' })
  const context = [{ ip: '203.0.113.9' }]
  const batch = { context, batch: [{ type: 'track', event: 'e', userId: 'u', context }] }
  await isTaken(t, await post(served.url, '/v1/batch', batch))
  const [line = ''] = await served.archivedLines()
  t.notMatch(line, /203\.0\.113/)
})

t.test('thousands of member names of a client take little time', async t => {
  const { url } = await serveApp(t, { SEGMENT_EVENT_BYTES_MAX: '64KiB' })
  const named = (count: number, from: number) =>
    Object.fromEntries(Array.from({ length: count }, (_, n) => [String(10_000_000 + from + n), 1]))
  const batch = Array.from({ length: 14 }, () => ({
    type: 'track',
    event: 'e',
    userId: 'u',
    context: named(2_000, 50_000),
  }))
  const startedAt = performance.now()
  const body = JSON.stringify({ context: named(10_500, 0), batch })
  t.equal((await post(url, '/v1/batch', body)).status, 200)
  t.ok(performance.now() - startedAt < 5_000)
})

t.test('an unreadable sentAt makes the time of the call suspect', async t => {
  const served = await serveApp(t)
  const call = { type: 'track', event: 'e', userId: 'u', timestamp: '2026-11-24T13:05:07Z' }
  await isTaken(t, await post(served.url, '/v1/track', { ...call, sentAt: 'just now' }))
  await isTaken(t, await post(served.url, '/v1/batch', { batch: [call], sentAt: {} }))
  await isTaken(t, await post(served.url, '/v1/track', { ...call, sentAt: null }))
  const suspect = (await archived(served)).map(({ timestampSuspect }) => timestampSuspect)
  t.strictSame(suspect, [true, true, undefined])
})
