import { gzipSync } from 'node:zlib'
import t from 'tap'
import { CALLS, isRefused, isTaken, post } from './segment-client.ts'
import { serveApp } from './served-app.ts'

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
