/** Issue 11, finding 2: an event of one source does not suppress an event of another source. */
import t from 'tap'
import { parseLines, serveApp } from './served-app.ts'

const WRITE_KEYS = 'web:browser=browser-key,backend=server-key-1,backend=server-key-2'

interface Sent {
  readonly path: string
  readonly body?: string
  readonly type?: string
}

/** Sends an order by each route, with an id that anybody can guess. */
const ROUTES: Record<string, (event: string, extra?: object) => Sent> = {
  '/api/t': (event, extra) => ({ path: '/api/t', body: jsonOf({ event, ...extra }) }),
  '/api/t, as a form': (event, extra) => ({
    path: '/api/t',
    body: queryOf({ event, ...extra }),
    type: 'application/x-www-form-urlencoded',
  }),
  '/api/t/batch': (event, extra) => ({ path: '/api/t/batch', body: jsonOf([{ event, ...extra }]) }),
  '/v1/track': (event, extra) => ({ path: '/v1/track', body: jsonOf({ event, userId: 'u', ...extra }) }),
  '/v1/batch': (event, extra) => ({
    path: '/v1/batch',
    body: jsonOf({ batch: [{ type: 'track', event, userId: 'u', ...extra }] }),
  }),
  '/api/t.gif': (event, extra) => ({ path: `/api/t.gif?${queryOf({ event, ...extra })}` }),
  '/v1/pixel/track': (event, extra) => ({
    path: `/v1/pixel/track?${queryOf({ event, userId: 'u', ...extra })}`,
  }),
}

const jsonOf = (value: object) => JSON.stringify(value)
const queryOf = (fields: object) => new URLSearchParams(Object.entries(fields)).toString()

async function send(url: string, { path, body, type = 'application/json' }: Sent, key?: string) {
  const headers = { ...(key && { 'x-write-key': key }), ...(body && { 'content-type': type }) }
  const response = await fetch(url + path, { method: body ? 'POST' : 'GET', headers, ...(body && { body }) })
  await response.arrayBuffer()
  return response.status
}

t.test("an event with a web page's key does not suppress the event of a server, by any route", async t => {
  const { url, archivedLines } = await serveApp(t, { WRITE_KEYS })
  for (const [route, orderOf] of Object.entries(ROUTES)) {
    const messageId = `order-1001 ${route}`
    t.equal(await send(url, orderOf('junk', { messageId, source: 'backend' }), 'browser-key'), 200, route)
    t.equal(await send(url, orderOf('order_paid', { messageId }), 'server-key-1'), 200, route)
  }
  const archived = parseLines(await archivedLines())
  for (const route of Object.keys(ROUTES)) {
    t.match(
      archived.filter(({ messageId }) => messageId === `order-1001 ${route}`),
      [
        { event: 'junk', source: 'web' },
        { event: 'order_paid', source: 'backend' },
      ],
      route,
    )
  }
  t.equal(archived.length, 2 * Object.keys(ROUTES).length)
})

t.test('an event that is sent twice is archived once, also with another key of its source', async t => {
  const { url, archivedLines } = await serveApp(t, { WRITE_KEYS })
  for (const [route, orderOf] of Object.entries(ROUTES)) {
    const order = orderOf('order_paid', { messageId: `order-1001 ${route}` })
    for (const key of ['server-key-1', 'server-key-1', 'server-key-2'])
      t.equal(await send(url, order, key), 200, route)
  }
  const archived = parseLines(await archivedLines())
  t.same(
    archived.map(({ messageId }) => messageId),
    Object.keys(ROUTES).map(route => `order-1001 ${route}`),
  )
})

t.test('an event that is sent twice, by different routes, is archived once', async t => {
  const { url, archivedLines } = await serveApp(t, { WRITE_KEYS })
  for (const orderOf of Object.values(ROUTES))
    t.equal(await send(url, orderOf('order_paid', { messageId: 'order-1001' }), 'server-key-1'), 200)
  t.equal((await archivedLines()).length, 1)
})

t.test('without keys the source of an event is its own member `source`', async t => {
  const { url, archivedLines } = await serveApp(t)
  for (const [route, orderOf] of Object.entries(ROUTES)) {
    const messageId = `order-1001 ${route}`
    const orders = [
      orderOf('first', { messageId }),
      orderOf('of web', { messageId, source: 'web' }),
      orderOf('of backend', { messageId, source: 'backend' }),
      orderOf('again', { messageId, source: 'web' }),
      orderOf('again', { messageId }),
    ]
    for (const order of orders) t.equal(await send(url, order), 200, route)
  }
  const archived = parseLines(await archivedLines())
  t.same(
    archived.map(({ event }) => event),
    Object.keys(ROUTES).flatMap(() => ['first', 'of web', 'of backend']),
  )
})

t.test('a source that is not a string is ignored, and of several the last counts', async t => {
  const { url, archivedLines } = await serveApp(t)
  const bodies = [
    '{"event":"none","messageId":"m"}',
    '{"event":"again","messageId":"m","source":null}',
    '{"event":"again","messageId":"m","source":7}',
    '{"event":"again","messageId":"m","source":{"source":"web"}}',
    '{"event":"again","messageId":"m","source":"web","source":["web"]}',
    '{"event":"again","messageId":"m","context":{"source":"web"}}',
    '{"event":"web","messageId":"m","source":7,"sour\\u0063e":"web"}',
    '{"event":"again","messageId":"other","\\u0073ource":"w\\u0065b","messageId":"m"}',
    '{"event":"half","messageId":"m","source":"\\ud800"}',
    '{"event":"other half","messageId":"m","source":"\\udc00"}',
    '{"event":"again","messageId":"m","source":"\\uDC00"}',
  ]
  for (const body of bodies) t.equal(await send(url, { path: '/api/t', body }), 200, body)
  t.same(
    parseLines(await archivedLines()).map(({ event }) => event),
    ['none', 'web', 'half', 'other half'],
  )
})
