/** frequency as a plugin in a server of one's own. */
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import cors from '@fastify/cors'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import t, { type Test } from 'tap'
import frequency, { type FrequencyOptions } from '../../plugins/frequency.ts'
import { readConfig } from '../../src/config/config.ts'
import { openEmbeddedQueue } from '../../src/queue/embedded/embedded.ts'
import { openStore } from '../../src/store/open-store.ts'
import { archivedObjects } from '../bin/archived.ts'
import { silent, temporaryDirectory } from '../helpers/helper.ts'
import { until } from '../services/wait.ts'

const JSON_TYPE = { 'content-type': 'application/json' }

interface Host {
  readonly app: FastifyInstance
  readonly url: string
  readonly dataDir: string
  archived(): Promise<Record<string, unknown>[]>
}

/** A server with routes, an error handler and a parser of its own, and frequency at `prefix`. */
async function host(
  t: Test,
  options: FrequencyOptions,
  { before, server }: { before?: (app: FastifyInstance) => void; server?: FastifyServerOptions } = {},
): Promise<Host> {
  const dataDir = String(options.dataDir ?? temporaryDirectory(t))
  const app = Fastify({ ...server })
  t.teardown(() => app.close())
  app.addContentTypeParser('text/x-shout', { parseAs: 'string' }, (_, text, done) =>
    done(null, String(text).toUpperCase()),
  )
  app.setErrorHandler((error, _, reply) => reply.code(418).send({ own: (error as Error).message }))
  app.setNotFoundHandler((_, reply) => reply.code(404).send('nothing of mine'))
  app.post('/own', async ({ body }) => ({ body }))
  app.get('/own/broken', async () => {
    throw new Error('mine')
  })
  before?.(app)
  app.register(frequency, { batchAgeMsMax: 600_000, archiveCompression: 'none', ...options, dataDir })
  await app.listen({ port: 0 })
  const { port } = app.server.address() as AddressInfo
  async function archived(): Promise<Record<string, unknown>[]> {
    await app.close()
    const objects = await archivedObjects(readConfig({}, { DATA_DIR: dataDir }))
    return objects.flatMap(({ lines }) => lines.map(line => JSON.parse(line)))
  }
  return { app, url: `http://127.0.0.1:${port}`, dataDir, archived }
}

const post = (url: string, body: unknown, headers: Record<string, string> = JSON_TYPE) =>
  fetch(url, { method: 'POST', headers, body: typeof body === 'string' ? body : JSON.stringify(body) })

t.test('events come in below the prefix, and closing the server archives them', async t => {
  const { url, archived } = await host(t, { prefix: '/events' })
  const answer = await post(`${url}/events/api/t`, { event: 'one' })
  t.equal(answer.status, 200)
  t.equal(answer.headers.get('frequency-ack'), 'disk')
  t.equal((await post(`${url}/events/api/t/batch`, [{ event: 'two' }, { event: 'three' }])).status, 200)
  t.equal((await post(`${url}/events/v1/track`, { event: 'four', userId: '1' })).status, 200)
  t.equal((await post(`${url}/events/api/hook/five`, { any: 1 })).status, 200)
  t.equal((await fetch(`${url}/events/api/t.gif?event=six`)).status, 200)
  t.equal((await post(`${url}/api/t`, { event: 'elsewhere' })).status, 404)
  const events = await archived()
  t.same(events.map(({ event }) => event).sort(), ['five', 'four', 'one', 'six', 'three', 'two'])
})

t.test('what the server has of its own stays as it is', async t => {
  const { app, url } = await host(t, { prefix: '/events' })
  t.same(await (await post(`${url}/own`, 'quiet', { 'content-type': 'text/x-shout' })).json(), {
    body: 'QUIET',
  })
  const broken = await fetch(`${url}/own/broken`)
  t.equal(broken.status, 418)
  t.same(await broken.json(), { own: 'mine' })
  t.equal(await (await fetch(`${url}/nowhere`)).text(), 'nothing of mine')
  t.equal((await post(`${url}/events/api/t`, 'x', { 'content-type': 'text/x-shout' })).status, 415)
  t.notOk(app.hasDecorator('queue'), 'decorators are encapsulated')
  t.notOk(app.hasRequestDecorator('bodyJson'))
  t.equal(app.server.listenerCount('checkExpectation'), 0)
  t.equal(app.server.listenerCount('drop'), 0)
})

t.test('refusals below the prefix are those of frequency', async t => {
  const { url } = await host(t, { prefix: '/events', bodyBytesMax: 100 })
  t.match(await (await post(`${url}/events/api/t`, {})).json(), { code: 'FRQ_EVENT_INVALID' })
  t.match(await (await fetch(`${url}/events/api/nothing`)).json(), { code: 'FRQ_NOT_FOUND' })
  const method = await fetch(`${url}/events/api/t`)
  t.equal(method.status, 405)
  t.equal(method.headers.get('allow'), 'POST')
  const large = await post(`${url}/events/api/t`, { event: 'x'.repeat(100) })
  t.equal(large.status, 413)
  t.match(await large.json(), { message: /100 bytes \(BODY_BYTES_MAX\)/ })
  const inPath = await fetch(`${url}/events/api/hook/name/secret/more`)
  t.notMatch(await inPath.text(), 'secret', 'a key in the path is not shown')
})

t.test('operators find their routes below the prefix', async t => {
  const { url } = await host(t, { prefix: '/events', uiToken: 'a'.repeat(16) })
  t.equal((await fetch(`${url}/events/readyz`)).status, 200)
  t.match(await (await fetch(`${url}/events/metrics`)).text(), /frequency_ready 1/)
  t.match(await (await fetch(`${url}/events/status`)).json(), { role: 'all' })
  const page = await fetch(`${url}/events?a=1`, { redirect: 'manual' })
  t.equal(page.headers.get('location'), '/events/?a=1')
  t.match(await (await fetch(`${url}/events/`)).text(), /<html/)
  t.equal((await fetch(`${url}/events/ui/page.js`)).status, 200)
  t.equal((await fetch(`${url}/events/ui/stream`)).status, 401, 'the data needs the token')
  const stream = await fetch(`${url}/events/ui/stream`, {
    headers: { authorization: `Bearer ${'a'.repeat(16)}` },
  })
  t.equal(stream.status, 200)
  await stream.body?.cancel()
  t.match(await (await fetch(`${url}/events/documentation/json`)).json(), { paths: { '/events/api/t': {} } })
  t.equal((await fetch(`${url}/events/documentation`)).status, 200)
})

t.test('Segment libraries get a URL with the prefix', async t => {
  const { url } = await host(t, { prefix: '/events' })
  const apiHost = `${url.slice('http://'.length)}/events/v1`
  t.match(await (await fetch(`${url}/events/v1/projects/key/settings`)).json(), {
    integrations: { 'Segment.io': { apiHost } },
  })
})

t.test('without a prefix the routes are beside those of the server', async t => {
  const { url, archived } = await host(t, { ui: 'off' })
  t.equal((await post(`${url}/api/t`, { event: 'one' })).status, 200)
  t.equal(await (await fetch(`${url}/nowhere`)).text(), 'nothing of mine')
  t.equal((await archived()).length, 1)
})

t.test('two with different prefixes', async t => {
  const second = temporaryDirectory(t)
  const { url, archived } = await host(
    t,
    { prefix: '/a' },
    {
      before: app => {
        app.register(frequency, { prefix: '/b', dataDir: second, batchAgeMsMax: '10m' })
      },
    },
  )
  t.equal((await post(`${url}/a/api/t`, { event: 'a' })).status, 200)
  t.equal((await post(`${url}/b/api/t`, { event: 'b' })).status, 200)
  t.match(await archived(), [{ event: 'a' }])
  const other = await archivedObjects(readConfig({}, { DATA_DIR: second }))
  t.equal(other.length, 1)
})

t.test('CORS, write keys and limits are those of the options', async t => {
  const origin = 'https://example.com'
  const { url, archived } = await host(t, {
    prefix: '/events',
    writeKeys: 'web:browser=key-of-the-web-page',
    corsOrigins: origin,
    rateAddressMax: 100,
  })
  const preflight = await fetch(`${url}/events/api/t`, {
    method: 'OPTIONS',
    headers: { origin, 'access-control-request-method': 'POST' },
  })
  t.equal(preflight.headers.get('access-control-allow-origin'), origin)
  t.equal((await post(`${url}/events/api/t`, { event: 'a' })).status, 401)
  const keyed = await post(
    `${url}/events/api/t`,
    { event: 'a' },
    { ...JSON_TYPE, origin, 'x-write-key': 'key-of-the-web-page' },
  )
  t.equal(keyed.status, 200)
  t.equal(keyed.headers.get('ratelimit-limit'), '100')
  t.match(await archived(), [{ source: 'web' }])
})

t.test('a given queue and a given store stay open', async t => {
  const dataDir = temporaryDirectory(t)
  const config = readConfig({}, { DATA_DIR: dataDir, ARCHIVE_COMPRESSION: 'none' })
  const queue = await openEmbeddedQueue(join(dataDir, 'queue'), config, silent)
  const store = await openStore(config)
  let closed = 0
  for (const each of [queue, store]) {
    const close = each.close.bind(each)
    each.close = () => {
      closed++
      return close()
    }
    t.teardown(close)
  }
  const first = await host(t, { prefix: '/events', role: 'ingest', queue, dataDir: temporaryDirectory(t) })
  t.equal((await post(`${first.url}/events/api/t`, { event: 'kept' })).status, 200)
  await first.app.close()
  const second = await host(t, { role: 'archive', queue, store, dataDir })
  await until('the event is in a batch', 10_000, async () => (await queue.depth()) === 0)
  t.match(await second.archived(), [{ event: 'kept' }])
  t.equal(closed, 0)
})

t.test('a hook of the server can close the routes for operators', async t => {
  const before = (app: FastifyInstance): void => {
    app.addHook('onRequest', async (request, reply) => {
      if (request.routeOptions.config.forOperators && !request.headers['x-operator'])
        return reply.code(403).send()
    })
  }
  const { url } = await host(t, { prefix: '/events' }, { before })
  for (const path of ['metrics', 'status', 'readyz', 'documentation', ''])
    t.equal((await fetch(`${url}/events/${path}`)).status, 403, path)
  t.equal((await fetch(`${url}/events/metrics`, { headers: { 'x-operator': '1' } })).status, 200)
  t.equal((await post(`${url}/events/api/t`, { event: 'a' })).status, 200)
})

t.test('a request decorator of the server with one of our names is an error at the start', async t => {
  const before = (app: FastifyInstance): void => {
    app.decorateRequest('source', undefined)
  }
  await t.rejects(host(t, { prefix: '/events' }, { before }), { code: 'FST_ERR_DEC_ALREADY_PRESENT' })
})

t.test("CORS of the server's own works beside it, without corsOrigins", async t => {
  const origin = 'https://example.com'
  const before = (app: FastifyInstance): void => {
    app.register(cors, { origin })
  }
  const { url } = await host(t, { prefix: '/events' }, { before })
  const answer = await post(`${url}/events/api/t`, { event: 'a' }, { ...JSON_TYPE, origin })
  t.equal(answer.headers.get('access-control-allow-origin'), origin)
  await t.rejects(host(t, { prefix: '/events', corsOrigins: origin }, { before }), {
    code: 'FRQ_CONFIG_INVALID',
    message: /Leave CORS_ORIGINS out/,
  })
})

t.test('options that cannot work are refused, with the way out', async t => {
  const refused = async (options: object, message: RegExp) => {
    const app = Fastify()
    app.register(frequency, { dataDir: temporaryDirectory(t), ...options })
    await t.rejects(Promise.resolve(app.ready()), { code: 'FRQ_CONFIG_INVALID', message })
    await app.close()
  }
  await refused({ port: 1 }, /^port belongs to your own server, not to the plugin: pass it to listen\(\)\.$/)
  await refused({ retention: '90d' }, /run `frequency expire` from time to time/)
  await refused({ batchEventsMx: 1 }, /^batchEventsMx is not a setting of frequency/)
  await refused({ batchEventsMax: 0 }, /^BATCH_EVENTS_MAX must be a whole number/)
  await refused({ role: 'ingest' }, /needs AMQP_URL/)
})
