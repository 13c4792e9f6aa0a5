import { gzipSync } from 'node:zlib'
import t from 'tap'
import { openNetwork, uniqueQueueName } from '../helpers/queue-helper.ts'
import { archived, CALLS, isRefused, isTaken, post, TYPES } from './segment-client.ts'
import { serveApp } from './served-app.ts'

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

t.test('an unreadable sentAt makes the time of the call suspect', async t => {
  const served = await serveApp(t)
  const call = { type: 'track', event: 'e', userId: 'u', timestamp: '2026-11-24T13:05:07Z' }
  await isTaken(t, await post(served.url, '/v1/track', { ...call, sentAt: 'just now' }))
  await isTaken(t, await post(served.url, '/v1/batch', { batch: [call], sentAt: {} }))
  await isTaken(t, await post(served.url, '/v1/track', { ...call, sentAt: null }))
  const suspect = (await archived(served)).map(({ timestampSuspect }) => timestampSuspect)
  t.strictSame(suspect, [true, true, undefined])
})
