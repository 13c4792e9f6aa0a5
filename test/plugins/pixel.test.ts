import t from 'tap'
import { openNetwork, uniqueQueueName } from '../helpers/queue-helper.ts'
import { serveApp } from './served-app.ts'

const CALL = {
  userId: 'u1',
  event: 'Opened >>> ???',
  properties: { subject: 'Grüße', n: 1 },
  writeKey: 'secret',
}

function encoded(call: unknown, encoding: 'base64' | 'base64url' = 'base64'): string {
  return Buffer.from(JSON.stringify(call)).toString(encoding)
}

t.test('takes a call in base64, as JSON, or in the query', async t => {
  const served = await serveApp(t)
  const base64 = encoded(CALL)
  t.match(base64, /[+/].*=$/, 'it has the characters that URLs treat specially')
  const queries = [
    `data=${encodeURIComponent(base64)}&writeKey=secret`,
    `data=${base64}`,
    `data=${base64.replace(/=+$/, '')}`,
    `data=${encoded(CALL, 'base64url')}`,
    `data=${encodeURIComponent(JSON.stringify(CALL))}`,
  ]
  const paths = ['/pixel/v1/track', '/v1/pixel/track']
  for (const path of paths) {
    for (const query of queries) t.equal((await fetch(`${served.url}${path}?${query}`)).status, 200, query)
  }
  const dotted = 'userId=u1&event=Opened%20mail&properties.subject=Hi&writeKey=secret'
  t.equal((await fetch(`${served.url}/pixel/v1/track?${dotted}`)).status, 200)
  const page = encodeURIComponent(encoded({ anonymousId: 'a1', name: 'Start' }))
  t.equal((await fetch(`${served.url}/pixel/v1/page?data=${page}`)).status, 200)

  const lines = await served.archivedLines()
  t.strictSame(
    lines.filter(line => /secret|writeKey/.test(line)),
    [],
  )
  const events = lines.map(line => JSON.parse(line))
  t.equal(events.length, 12)
  const { writeKey, ...kept } = CALL
  for (const event of events.slice(0, 10)) t.match(event, { ...kept, type: 'track', messageId: String })
  t.match(events[10], { event: 'Opened mail', properties: { subject: 'Hi' }, type: 'track' })
  t.match(events[11], { type: 'page', anonymousId: 'a1', name: 'Start' })
})

t.test('takes an event in the query, as in a form', async t => {
  const served = await serveApp(t)
  const response = await fetch(
    `${served.url}/api/t.gif?event=Opened&user_id=42&properties[plan]=pro&writeKey=secret`,
  )
  t.equal(response.status, 200)
  const [line, ...others] = await served.archivedLines()
  t.strictSame(others, [])
  const { messageId, receivedAt, ...event } = JSON.parse(String(line))
  t.strictSame(event, {
    event: 'Opened',
    user_id: '42',
    properties: { plan: 'pro' },
    context: { ip: '127.0.0.1' },
  })
})

t.test('the answer is an image that is not cached', async t => {
  const served = await serveApp(t)
  const response = await fetch(`${served.url}/api/t.gif?event=e`)
  t.equal(response.headers.get('content-type'), 'image/gif')
  t.match(response.headers.get('cache-control'), /no-store/)
  t.equal(response.headers.get('frequency-ack'), 'disk')
  t.equal(served.app.requests.seconds.get('/api/t.gif')?.count, 1, 'it is counted like other requests')
  const gif = Buffer.from(await response.arrayBuffer())
  t.equal(gif.toString('latin1', 0, 6), 'GIF89a')
  t.strictSame([gif.readUInt16LE(6), gif.readUInt16LE(8)], [1, 1], 'of one pixel')
  t.equal(Number(response.headers.get('content-length')), gif.length)
})

t.test('a refused event is not answered with 200', async t => {
  const served = await serveApp(t)
  const refused = [
    '/api/t.gif',
    '/api/t.gif?event=',
    '/api/t.gif?event=e&__proto__[a]=1',
    '/pixel/v1/track',
    '/pixel/v1/track?data=',
    '/pixel/v1/track?data=!!!',
    `/pixel/v1/track?data=${encoded('text')}`,
    `/pixel/v1/track?data=${encoded({ event: 'e' })}`,
    '/pixel/v1/track?userId=u1&event=e&a.__proto__.b=1',
    '/pixel/v1/track?userId=u1&event=e&constructor.prototype.b=1',
  ]
  for (const path of refused) {
    const response = await fetch(served.url + path)
    t.equal(response.status, 400, path)
    t.match(await response.json(), { message: String })
  }
  t.equal((await fetch(`${served.url}/api/t.gif?event=e`, { method: 'HEAD' })).status, 405)
  t.strictSame(await served.archivedLines(), [])
})

t.test('a write key is required in the query or the call, and its source is archived', async t => {
  const served = await serveApp(t, { WRITE_KEYS: 'mail:browser=key-of-mail' })
  const data = encoded({ ...CALL, writeKey: undefined }, 'base64url')
  const paths = [`/pixel/v1/track?data=${data}`, '/api/t.gif?event=e']
  for (const path of paths) {
    t.equal((await fetch(served.url + path)).status, 401)
    t.equal((await fetch(`${served.url}${path}&writeKey=other`)).status, 401)
    t.equal((await fetch(`${served.url}${path}&writeKey=key-of-mail`)).status, 200)
  }
  const inside = encoded({ ...CALL, writeKey: 'key-of-mail' }, 'base64url')
  t.equal((await fetch(`${served.url}/pixel/v1/track?data=${inside}`)).status, 200)
  const lines = await served.archivedLines()
  t.equal(lines.length, 3)
  for (const line of lines) {
    t.match(JSON.parse(line), { source: 'mail', channel: 'browser' })
    t.notMatch(line, /key-of-mail|writeKey/)
  }
})

t.test('503 while nothing takes events durably', async t => {
  const network = await openNetwork(t)
  const served = await serveApp(t, { AMQP_URL: network.url, AMQP_QUEUE: uniqueQueueName(t), SPOOL: 'off' })
  await network.refuse()
  network.cut()
  t.equal((await fetch(`${served.url}/api/t.gif?event=e`)).status, 503)
  await network.accept()
})
