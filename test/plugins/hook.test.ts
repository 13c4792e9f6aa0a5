import { Writable } from 'node:stream'
import { pino } from 'pino'
import t from 'tap'
import { createApp } from '../../plugins/app.ts'
import { configOf, temporaryDirectory } from '../helpers/helper.ts'
import { serveApp } from './served-app.ts'

const JSON_TYPE = 'application/json'
const FORM_TYPE = 'application/x-www-form-urlencoded'

function post(url: string, path: string, body: string | Buffer, headers: Record<string, string> = {}) {
  return fetch(url + path, { method: 'POST', headers: { 'content-type': JSON_TYPE, ...headers }, body })
}

t.test('JSON and forms become the properties of an event, with unchanged digits', async t => {
  const served = await serveApp(t)
  const bodies: [body: string, type: string, properties: string][] = [
    ['{"id":"evt_1",\n "amount":1.50}', JSON_TYPE, '{"id":"evt_1",  "amount":1.50}'],
    [
      '[{"sg_event_id":"1"},{"sg_event_id":"2"}]',
      JSON_TYPE,
      '{"body":[{"sg_event_id":"1"},{"sg_event_id":"2"}]}',
    ],
    ['"text"', JSON_TYPE, '{"body":"text"}'],
    ['{"Type":"Notification"}', 'text/plain; charset=UTF-8', '{"Type":"Notification"}'],
    ['{"labelled":"form"}', FORM_TYPE, '{"labelled":"form"}'],
    ['Body=Hi+there&From=%2B15550100', FORM_TYPE, '{"Body":"Hi there","From":"+15550100"}'],
    ['{"specversion":"1.0"}', 'application/cloudevents+json', '{"specversion":"1.0"}'],
    [
      '{"type":"track","event":"other","writeKey":"theirs"}',
      JSON_TYPE,
      '{"type":"track","event":"other","writeKey":"theirs"}',
    ],
  ]
  for (const [body, type] of bodies) {
    const response = await post(served.url, '/api/hook/stripe', body, { 'content-type': type })
    t.equal(response.status, 200, body)
    t.equal(response.headers.get('frequency-ack'), 'disk')
    t.strictSame(await response.json(), { success: true })
  }
  const lines = await served.archivedLines()
  t.equal(lines.length, bodies.length)
  for (const [index, [, , properties]] of bodies.entries()) {
    t.match(lines[index], `"properties":${properties}`)
    t.match(JSON.parse(lines[index] as string), { event: 'stripe', messageId: String })
  }
})

t.test('the id of a delivery becomes the messageId, so a repeated delivery is archived once', async t => {
  const served = await serveApp(t)
  const ids: Record<string, string> = {
    'X-GitHub-Delivery': '72d3162e-cc78-11e3-81ab-4c9367dc0958',
    'X-Shopify-Webhook-Id': 'b54557e4-bdd9-4b37-8a5f-bf7d70bcd043',
    'x-amz-sns-message-id': '22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324',
    'webhook-id': 'msg_2KWPBgLlAfxdpx2AI54pPJ85f4W',
    'Idempotency-Key': 'f5e57ad8-5b6f-4b8c-a2c3-1f1e8b1f2f3e',
  }
  for (const [name, id] of Object.entries(ids))
    for (const _ of [1, 2])
      t.equal((await post(served.url, '/api/hook/any', '{}', { [name]: id })).status, 200)
  await post(served.url, '/api/hook/any', '{}', { 'x-github-delivery': 'x'.repeat(300) })
  const events = (await served.archivedLines()).map(line => JSON.parse(line))
  t.strictSame(
    events.slice(0, 5).map(({ messageId }) => messageId),
    Object.values(ids),
  )
  t.equal(events.length, 6)
  t.match(events[5], { messageId: /^[0-9a-f-]{36}$/ }, 'a header that cannot be an id is ignored')
})

t.test('the write key is read from the path or the query, not from the body', async t => {
  const served = await serveApp(t, { WRITE_KEYS: 'shop=key-1' })
  const answers = [
    await post(served.url, '/api/hook/order?writeKey=key-1', '{"n":1}'),
    await post(served.url, '/api/hook/order/key-1', '{"n":2}'),
    await post(served.url, '/api/hook/order', '{"n":3,"writeKey":"key-1"}'),
    await post(served.url, '/api/hook/order/key-2', '{"n":4}'),
  ]
  t.strictSame(
    answers.map(({ status }) => status),
    [200, 200, 401, 401],
  )
  const events = (await served.archivedLines()).map(line => JSON.parse(line))
  t.match(events, [
    { event: 'order', source: 'shop', properties: { n: 1 } },
    { event: 'order', source: 'shop', properties: { n: 2 } },
  ])
  t.equal(events.length, 2)
})

t.test('a body that cannot be read is refused with a reason', async t => {
  const { url } = await serveApp(t)
  const refusals: [body: string | Buffer, type: string, message: RegExp][] = [
    ['<xml/>', 'text/xml', /JSON/],
    ['--x\r\n', 'multipart/form-data; boundary=x', /multipart.*JSON/],
    [Buffer.from([0x7b, 0xff, 0x7d]), JSON_TYPE, /UTF-8/],
    ['{"__proto__":{}}', JSON_TYPE, /prototype/],
  ]
  for (const [body, type, message] of refusals) {
    const response = await post(url, '/api/hook/x', body, { 'content-type': type })
    t.equal(response.status, 400, type)
    t.match(await response.json(), { message })
  }
  t.equal((await post(url, `/api/hook/${'x'.repeat(99)}`, '{}')).status, 200)
})

t.test('the confirmation URL of an SNS topic is logged, and not opened', async t => {
  const asked: string[] = []
  const logged: Record<string, unknown>[] = []
  const log = pino(
    {},
    new Writable({
      write(line, _, done) {
        logged.push(JSON.parse(line))
        done()
      },
    }),
  )
  const app = await createApp(configOf({ DATA_DIR: temporaryDirectory(t) }), log)
  t.teardown(() => app.close())
  app.get('/confirm', async ({ url }) => void asked.push(url))
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  const body = JSON.stringify({ Type: 'SubscriptionConfirmation', SubscribeURL: `${url}/confirm` })
  const headers = { 'content-type': 'text/plain', 'x-amz-sns-message-type': 'SubscriptionConfirmation' }
  t.equal((await post(url, '/api/hook/sns', body, headers)).status, 200)
  t.match(
    logged.find(({ url }) => url !== undefined),
    { name: 'sns', url: `${url}/confirm`, msg: /SNS.*confirm/ },
  )
  await app.close()
  t.strictSame(asked, [])
})

t.test('another method gets 405 with the right one, and the answer does not repeat the key', async t => {
  const { url } = await serveApp(t, { WRITE_KEYS: 'shop=key-1' })
  for (const path of ['/api/hook/x', '/api/hook/x/secret-key']) {
    for (const method of ['GET', 'PUT', 'DELETE']) {
      const response = await fetch(url + path, { method })
      t.equal(response.status, 405)
      t.equal(response.headers.get('allow'), 'POST')
      t.notMatch(await response.text(), 'secret-key')
    }
  }
  const deeper = await fetch(`${url}/api/hook/x/secret-key/y`, { method: 'POST', body: '{}' })
  t.equal(deeper.status, 404)
  t.notMatch(await deeper.text(), 'secret-key')
})
