import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import type { InjectOptions } from 'fastify'
import t from 'tap'
import { elapsed, range } from '../helpers/helper.ts'
import { brokerUrl, openNetwork, uniqueQueueName } from '../helpers/queue-helper.ts'
import { until } from '../services/wait.ts'
import { openStream } from './event-stream.ts'
import { RawClient } from './raw-http.ts'
import { type ServedApp, serveApp } from './served-app.ts'

const TOKEN = 'a-token-of-some-length'
const CHANGE_MS_MAX = 30_000
const DROP_MS_MAX = 60_000
/** Far below SHUTDOWN_MS_MAX (30 s). */
const SHUTDOWN_MS_MAX = 10_000
const UI_DIRECTORY = new URL('../../ui/', import.meta.url)

function post(url: string, body: object | string): Promise<Response> {
  const headers = { 'content-type': 'application/json' }
  return fetch(`${url}/api/t`, {
    method: 'POST',
    headers,
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })
}

async function postAll(url: string, bodies: object[]): Promise<void> {
  await Promise.all(bodies.map(body => post(url, body)))
}

/** The status of a request from this machine, with the changes of `from`. */
async function statusOf({ app }: ServedApp, path: string, from: InjectOptions = {}): Promise<number> {
  const { headers, ...rest } = from
  // Without this the test would wait for a stream that should have been refused.
  const response = await app.inject({
    payloadAsStream: true,
    url: path,
    remoteAddress: '127.0.0.1',
    headers: { host: '127.0.0.1:4000', ...headers },
    ...rest,
  })
  response.stream().destroy()
  return response.statusCode
}

t.test('the page and its files come from this server only, with a strict policy', async t => {
  const { url } = await serveApp(t)
  const page = await fetch(url)
  t.equal(page.status, 200)
  t.equal(page.headers.get('content-type'), 'text/html; charset=utf-8')
  const policy = page.headers.get('content-security-policy') ?? ''
  t.match(policy, /default-src 'none'.*frame-ancestors 'none'/)
  t.notMatch(policy, /unsafe|https?:|\*/)
  const html = await page.text()
  t.notMatch(html, /\son\w+=|\sstyle=|<style|<script(?![^>]*src=)/, 'nothing inline')
  t.notMatch(html, /(?:src|href)="(?:https?:)?\/\//, 'nothing from other servers')

  const own = readdirSync(UI_DIRECTORY).filter(file => !file.endsWith('.html'))
  for (const file of own) {
    const asset = await fetch(`${url}/ui/${file}`)
    t.equal(asset.status, 200, file)
    t.equal(await asset.text(), readFileSync(new URL(file, UI_DIRECTORY), 'utf8'))
    t.equal(asset.headers.get('content-security-policy'), policy)
  }
  for (const [, path = ''] of html.matchAll(/(?:src|href)="(ui\/[^"]+)"/g)) {
    t.equal((await fetch(`${url}/${path}`)).status, 200, path)
  }
})

t.test('with UI=off or ROLE=archive there is no live page', async t => {
  const off = await serveApp(t, { UI: 'off' })
  const env = { AMQP_URL: brokerUrl(), AMQP_QUEUE: uniqueQueueName(t) }
  const archive = await serveApp(t, { ...env, ROLE: 'archive' })
  for (const path of ['/', '/ui/page.js', '/ui/stream', '/ui/object?key=a']) {
    t.equal(await statusOf(off, path), 404, `UI=off ${path}`)
    t.equal(await statusOf(archive, path), 404, `archive ${path}`)
  }
})

/** Requests without a token: the sender, and the expected status of the page and of its data. */
const VISITS: [what: string, from: InjectOptions, page: number, data: number][] = [
  ['this machine', {}, 200, 404],
  ['localhost', { headers: { host: 'localhost:4000' } }, 200, 404],
  ['IPv6', { remoteAddress: '::1', headers: { host: '[::1]:4000' } }, 200, 404],
  ['IPv4 in IPv6', { remoteAddress: '::ffff:127.0.0.1' }, 200, 404],
  [
    'the page itself',
    { headers: { origin: 'http://127.0.0.1:4000', 'sec-fetch-site': 'same-origin' } },
    200,
    404,
  ],
  ['the address bar', { headers: { 'sec-fetch-site': 'none' } }, 200, 404],
  ['a link on another site', { headers: { 'sec-fetch-site': 'cross-site' } }, 200, 403],
  ['another program on this machine', { headers: { 'sec-fetch-site': 'same-site' } }, 200, 403],
  ['a script of another site', { headers: { origin: 'http://evil.example' } }, 200, 403],
  ['a script of another port', { headers: { origin: 'http://127.0.0.1:4001' } }, 200, 403],
  ['a sandboxed frame', { headers: { origin: 'null' } }, 200, 403],
  ['another machine', { remoteAddress: '192.0.2.7' }, 403, 403],
  ['another machine, IPv6', { remoteAddress: '2001:db8::7' }, 403, 403],
  ['another machine, IPv4 in IPv6', { remoteAddress: '::ffff:192.0.2.7' }, 403, 403],
  ['a name that points here', { headers: { host: 'rebound.example:4000' } }, 403, 403],
  ['a name that begins like ours', { headers: { host: 'localhost.evil.example' } }, 403, 403],
  ['a name that begins like our address', { headers: { host: '127.0.0.1.evil.example' } }, 403, 403],
  ['a proxy', { headers: { 'x-forwarded-for': '127.0.0.1' } }, 403, 403],
  ['a proxy with the standard header', { headers: { forwarded: 'for=192.0.2.7' } }, 403, 403],
]

t.test('without a token only this machine sees the page', async t => {
  const served = await serveApp(t)
  for (const [what, from, page, data] of VISITS) {
    t.equal(await statusOf(served, '/', from), page, `${what}: page`)
    t.equal(await statusOf(served, '/ui/object?key=a', from), data, `${what}: data`)
    if (data === 403) t.equal(await statusOf(served, '/ui/stream', from), 403, `${what}: stream`)
  }
})

t.test('a request without a Host header gets no page', async t => {
  const { port } = await serveApp(t)
  const client = new RawClient(t, port).send('GET / HTTP/1.0\r\n\r\n')
  t.match((await client.responses(1))[0], { status: 403 })
})

t.test('with a token only clients that send it see the data', async t => {
  const served = await serveApp(t, { UI_TOKEN: TOKEN })
  const far = { remoteAddress: '192.0.2.7', headers: { host: 'events.example' } }
  t.equal(await statusOf(served, '/', far), 200, 'the page, which asks for the token')
  const path = '/ui/object?key=a'
  const wrong = [
    '',
    'Bearer',
    'Bearer ',
    `Bearer ${TOKEN}x`,
    `Bearer ${TOKEN.slice(1)}`,
    `Basic ${TOKEN}`,
    TOKEN,
  ]
  for (const authorization of wrong) {
    const headers = { ...far.headers, authorization }
    t.equal(await statusOf(served, path, { ...far, headers }), 401, authorization)
    t.equal(await statusOf(served, '/ui/stream', { ...far, headers }), 401, authorization)
  }
  t.equal(await statusOf(served, path), 401, 'this machine needs the token, too')
  t.equal(await statusOf(served, `${path}&token=${TOKEN}`, far), 401, 'not in the URL')
  const headers = { ...far.headers, authorization: `Bearer ${TOKEN}` }
  t.equal(await statusOf(served, path, { ...far, headers }), 404, 'admitted, but there is no such object')
  const stream = await openStream(t, served.url, { headers })
  t.match(stream.hello, { role: 'all' })
})

t.test('events are watched only while there is a viewer', async t => {
  const { app, url } = await serveApp(t)
  t.equal(app.queue.watchers.size, 0)
  await post(url, { event: 'before' })
  const streams = [await openStream(t, url), await openStream(t, url)]
  t.equal(app.queue.watchers.size, 1)
  await post(url, '{"event":"seen","n":12345678901234567890}')
  for (const stream of streams) {
    await stream.shows('an event', () => stream.events.length > 0)
    t.equal(stream.events.length, 1)
    t.match(
      stream.events[0],
      /^{"event":"seen","n":12345678901234567890,"messageId":"[^"]+","receivedAt":"[^"]+"}$/,
    )
  }
  for (const stream of streams) stream.close()
  await until('nobody watches', CHANGE_MS_MAX, () => app.queue.watchers.size === 0)
})

t.test('the stream has the current state', async t => {
  const { url } = await serveApp(t, { BATCH_EVENTS_MAX: '10' })
  const stream = await openStream(t, url)
  t.match(stream.hello, {
    role: 'all',
    hasBroker: false,
    limits: { events: 10, ageMs: 600_000 },
    history: Array,
  })
  await postAll(
    url,
    range(13).map(n => ({ event: 'counted', n })),
  )
  await post(url, { evnt: 'typo' })
  await stream.shows('one object, and a batch of three', () => stream.state?.batch?.events === 3)
  t.match(stream.state, {
    counts: { in: 13, confirmed: 13, archived: 10 },
    oldestAt: Number,
    objects: [{ events: 10, key: /^frequency\/dt=/, storedBytes: Number }],
    refused: { total: 1, last: [{ code: 'FRQ_EVENT_INVALID' }] },
    takesEvents: true,
    troubles: [],
  })
  await fetch(`${url}/ui/stream`, { headers: { origin: 'http://evil.example' } })
  await fetch(`${url}/ui/object?key=none`)
  await post(url, '{')
  await stream.shows('another refusal', () => stream.state?.refused.last.length !== 1)
  t.equal(stream.state?.refused.total, 2, 'a refused viewer does not count as a refused event')
})

t.test('the oldest event keeps its age while the broker is unreachable, until it is archived', async t => {
  const network = await openNetwork(t)
  const env = { AMQP_URL: network.url, AMQP_QUEUE: uniqueQueueName(t), BATCH_EVENTS_MAX: '3' }
  const { url } = await serveApp(t, env)
  const stream = await openStream(t, url)
  await post(url, { event: 'first' })
  await stream.shows('the event is in a batch', () => stream.state?.batch?.events === 1)
  const oldestAt = stream.state?.oldestAt
  await network.refuse()
  network.cut()
  await stream.shows('the broker is unreachable', () => stream.state?.troubles.length === 1)
  t.match(stream.state, { oldestAt, takesEvents: true, batch: { events: 1 } })
  await post(url, { event: 'second' })
  await stream.shows('the event is in the spool', () => stream.state?.counts.spooled === 1)
  t.equal(stream.state?.oldestAt, oldestAt)
  await network.accept()
  await stream.shows('both events are in a batch', () => stream.state?.batch?.events === 2)
  t.equal(stream.state?.oldestAt, oldestAt)
  await post(url, { event: 'third' })
  await stream.shows('all events are archived', () => stream.state?.counts.archived === 3)
  t.equal(stream.state?.oldestAt, undefined)
})

t.test('a filter selects events; an invalid filter, and too many events per second, are refused', async t => {
  const { url } = await serveApp(t)
  const stream = await openStream(t, url, { query: '?filter=properties.plan%3Dpro' })
  await postAll(url, [
    { event: 'a', properties: { plan: 'free' } },
    { event: 'b', properties: { plan: 'pro' } },
    { event: 'pro' },
  ])
  await stream.shows('the matching event', () => stream.events.length > 0)
  t.strictSame(
    stream.events.map(json => JSON.parse(json).event),
    ['b'],
  )
  for (const query of ['?filter=%3Da', '?events=0', '?events=1001']) {
    const response = await fetch(`${url}/ui/stream${query}`)
    t.equal(response.status, 400, query)
    t.match(await response.json(), { statusCode: 400, code: String, error: 'Bad Request', message: String })
  }
})

t.test('of many events a viewer gets a sample and the number of omitted events', async t => {
  const { url } = await serveApp(t, { BATCH_EVENTS_MAX: '10000' })
  const stream = await openStream(t, url)
  for (let n = 0; n < 10; n++)
    await postAll(
      url,
      range(100).map(i => ({ event: 'counted', n: 100 * n + i })),
    )
  await stream.shows('all events are shown or counted', () => stream.events.length + stream.omitted === 1000)
  t.ok(stream.omitted > 0)
})

t.test('a viewer that does not read is disconnected, and the others are not', async t => {
  const { app, port, url } = await serveApp(t)
  const reader = await openStream(t, url, { query: '?filter=small' })
  const slow = connect(port, '127.0.0.1')
  t.teardown(() => slow.destroy())
  const [atServer] = (await once(app.server, 'connection')) as [Socket]
  slow.pause().write('GET /ui/stream HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n')

  const text = 'x'.repeat(500_000)
  // The system buffers some megabytes of the server's, although nobody reads them.
  await until('the viewer is disconnected', DROP_MS_MAX, async () => {
    await postAll(url, [{ event: 'large', text }])
    return atServer.destroyed
  })
  await post(url, { event: 'small' })
  await reader.shows('the event that matches its filter', () => reader.events.length === 1)
})

t.test('the number of viewers is limited', async t => {
  const { url } = await serveApp(t)
  const streams = await Promise.all(range(20).map(() => openStream(t, url)))
  await t.rejects(openStream(t, url), /503/)
  streams[0]?.close()
  await until('there is room again', CHANGE_MS_MAX, () =>
    openStream(t, url).then(
      () => true,
      () => false,
    ),
  )
})

t.test('the events of an object are shown if it is one of the last objects', async t => {
  const { url } = await serveApp(t, { BATCH_EVENTS_MAX: '300', ARCHIVE_COMPRESSION: 'gzip' })
  const stream = await openStream(t, url)
  await postAll(
    url,
    range(300).map(n => ({ event: 'counted', n })),
  )
  await stream.shows('an object', () => stream.state?.objects.length === 1)
  const key = stream.state?.objects[0]?.key ?? ''
  const response = await fetch(`${url}/ui/object?key=${encodeURIComponent(key)}`)
  t.equal(response.headers.get('content-type'), 'text/plain; charset=utf-8')
  t.match([response.headers.get('frequency-events'), response.headers.get('frequency-cut')], ['200', 'true'])
  const lines = (await response.text()).trimEnd().split('\n')
  t.equal(lines.length, 200)
  for (const line of lines) t.match(JSON.parse(line), { event: 'counted', receivedAt: String })

  for (const other of ['', 'frequency/none', `../${key}`, `${key}/../x`, '/etc/passwd']) {
    const refused = await fetch(`${url}/ui/object?key=${encodeURIComponent(other)}`)
    t.match(await refused.json(), { statusCode: 404, code: 'FRQ_OBJECT_NOT_LISTED' }, other)
  }
  t.equal((await fetch(`${url}/ui/object`)).status, 400)
})

t.test('a shutdown does not wait for viewers', async t => {
  const { app, url } = await serveApp(t)
  const streams = [await openStream(t, url), await openStream(t, url)]
  t.ok((await elapsed(app.close())) < SHUTDOWN_MS_MAX)
  await until('all streams are closed', CHANGE_MS_MAX, () => streams.every(stream => !stream.isOpen))
})
