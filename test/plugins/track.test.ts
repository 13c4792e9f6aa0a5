import t from 'tap'
import { type ServedApp, serveApp } from './served-app.ts'
import { FORM_TYPE, isAccepted, isRefused, JSON_TYPE, NO_BODY, post } from './track-client.ts'

async function archivedEvents(served: ServedApp): Promise<Record<string, unknown>[]> {
  return (await served.archivedLines()).map(line => JSON.parse(line))
}

t.test('answers an event with 200 in plain text, and archives it with messageId and receivedAt', async t => {
  const served = await serveApp(t)
  const before = Date.now()
  await isAccepted(t, await post(served.url, '{"event":"signed_up","user_id":"42"}'))
  const after = Date.now()

  const [event, ...others] = await archivedEvents(served)
  t.strictSame(others, [])
  t.match(event, { event: 'signed_up', user_id: '42' })
  t.match(
    event?.messageId,
    /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
    'a UUIDv7',
  )
  t.match(event?.receivedAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  const receivedAt = Date.parse(String(event?.receivedAt))
  t.ok(receivedAt >= before && receivedAt <= after, 'between request and answer')
})

t.test('takes every field that an event may have', async t => {
  const served = await serveApp(t)
  const event = {
    event: 'e'.repeat(255),
    user_id: 'u1',
    userId: null,
    anonymousId: 'a1',
    messageId: 'an id of ours',
    timestamp: '2026-11-24T13:05:07.123+01:00',
    properties: { plan: 'pro', seats: 3 },
    context: { ip: '::1', page: { path: '/' } },
    anything: ['else', { is: null }, true],
  }
  await isAccepted(t, await post(served.url, JSON.stringify(event)))
  await isAccepted(
    t,
    await post(served.url, JSON.stringify({ event: 'charset' }), charset('application/json')),
  )

  const [first, second] = await archivedEvents(served)
  const { receivedAt, ...asSent } = first ?? {}
  t.strictSame(asSent, event)
  t.type(receivedAt, 'string')
  t.match(second, { event: 'charset' })
})

function charset(type: string): Record<string, string> {
  return { 'content-type': `${type}; charset=utf-8` }
}

t.test('takes a form post', async t => {
  const forms: [form: string, event: Record<string, unknown>][] = [
    ['event=sent_a_message&user_id=xyz', { event: 'sent_a_message', user_id: 'xyz' }],
    [
      'event=nested&properties[plan]=pro&properties[address][city]=Z%C3%BCrich',
      { event: 'nested', properties: { plan: 'pro', address: { city: 'Zürich' } } },
    ],
    ['event=encoded&properties%5Bplan%5D=a%26b', { event: 'encoded', properties: { plan: 'a&b' } }],
    [
      'event=repeated&tag=a&tag=b&list[]=1&list[]=2',
      { event: 'repeated', tag: ['a', 'b'], list: ['1', '2'] },
    ],
    ['event=two+words&empty=&no_value', { event: 'two words', empty: '', no_value: '' }],
    ['event=large&id=9007199254740993&price=1.10', { event: 'large', id: '9007199254740993', price: '1.10' }],
    ['event=ids&messageId=form-1', { event: 'ids', messageId: 'form-1' }],
    ['event=names&toString=x&hasOwnProperty=y', { event: 'names', toString: 'x', hasOwnProperty: 'y' }],
  ]
  const served = await serveApp(t)
  for (const [form] of forms) await isAccepted(t, await post(served.url, form, FORM_TYPE))
  await isAccepted(t, await post(served.url, 'event=charset', charset('application/x-www-form-urlencoded')))

  const events = await archivedEvents(served)
  t.equal(events.length, forms.length + 1)
  for (const [index, [form, event]] of forms.entries()) {
    const { receivedAt, messageId, ...asSent } = { ...event, ...events[index] }
    const { messageId: _, ...wanted } = event
    t.strictSame(asSent, wanted, form)
    if ('messageId' in event) t.equal(messageId, event.messageId)
  }
})

const FIELDS: [field: string, wrong: unknown][] = [
  ['event', ''],
  ['event', 'e'.repeat(256)],
  ['event', 7],
  ['event', null],
  ['event', ['signed_up']],
  ['user_id', [42]],
  ['userId', { id: 1 }],
  ['anonymousId', false],
  ['messageId', true],
  ['messageId', ''],
  ['messageId', 'm'.repeat(256)],
  ['messageId', 'ü'.repeat(128)],
  ['timestamp', { seconds: 1764000000 }],
  ['timestamp', 'yesterday'],
  ['timestamp', '2026-02-30T00:00:00Z'],
  ['timestamp', '2026-11-24T25:00:00Z'],
  ['properties', 'plan=pro'],
  ['properties', ['plan']],
  ['context', 1],
]

const NO_EVENT = { status: 400, code: 'FRQ_EVENT_INVALID' }
const TOO_LARGE = { status: 413, code: 'FRQ_BODY_TOO_LARGE', message: /\b1024 bytes.*BODY_BYTES_MAX/ }
const MEDIA_TYPE = {
  status: 415,
  code: 'FRQ_MEDIA_TYPE_UNSUPPORTED',
  message: /application\/json.*application\/x-www-form-urlencoded/,
}

const NOT_JSON = ['', '{', '{"event":"a"', "{'event':'a'}", '{"event":"a"}}', 'event=a', '{"event":NaN}']
const NO_OBJECTS = ['null', '1', '"event"', 'true', '[]', '[{"event":"a"}]']
const POISONED_JSON = [
  '{"event":"a","__proto__":{"x":1}}',
  '{"event":"a","__proto__":null}',
  '{"event":"a","\\u005f_proto\\u005f_":{"x":1}}',
  '{"event":"a","properties":{"a":[{"b":{"__proto__":{"x":1}}}]}}',
  '{"event":"a","constructor":{"prototype":{"x":1}}}',
  '{"event":"a","properties":{"c":{"con\\u0073tructor":{"prototyp\\u0065":{"x":1}}}}}',
  `{"event":"a","deep":${'{"a":['.repeat(100)}{"__proto__":1}${']}'.repeat(100)}}`,
]
const POISONED_FORMS = [
  'event=a&__proto__=1',
  'event=a&__proto__[x]=1',
  'event=a&properties[__proto__][x]=1',
  'event=a&properties[a][b][c][__proto__]=1',
  'event=a&%5f%5fproto%5F%5F[x]=1',
  'event=a&properties%5B__proto__%5D%5Bx%5D=1',
  'event=a&constructor[prototype][x]=1',
  'event=a&properties[constructor][prototype][x]=1',
  'event=a&a%5Bconstructor%5D%5Bprototype%5D=1',
]

t.test('refuses a body that is not an event with what to correct, and queues nothing', async t => {
  const served = await serveApp(t, { BODY_BYTES_MAX: '1024' })
  const { url } = served

  t.test('a body that is not JSON', async t => {
    for (const body of NOT_JSON) await isRefused(t, await post(url, body), { ...NO_BODY, message: /JSON/ })
  })

  t.test('a body that is not UTF-8', async t => {
    const latin1 = Buffer.from('{"event":"größe"}', 'latin1')
    await isRefused(t, await post(url, latin1), { ...NO_BODY, message: /UTF-8/ })
    const utf16 = Buffer.from('{"event":"a","name":"\ud800"}', 'utf16le')
    await isRefused(t, await post(url, utf16), { ...NO_BODY, message: /UTF-8|JSON/ })
    const form = Buffer.from('event=größe', 'latin1')
    await isRefused(t, await post(url, form, FORM_TYPE), { ...NO_BODY, message: /UTF-8/ })
  })

  t.test('JSON that is not an object', async t => {
    for (const body of NO_OBJECTS)
      await isRefused(t, await post(url, body), { ...NO_EVENT, message: /object/ })
  })

  t.test('an object without an event', async t => {
    const message = /\bevent\b.*required.*1 to 255/
    await isRefused(t, await post(url, '{}'), { ...NO_EVENT, message })
    await isRefused(t, await post(url, '{"Event":"a","user_id":"1"}'), { ...NO_EVENT, message })
    await isRefused(t, await post(url, '', FORM_TYPE), { ...NO_EVENT, message })
    await isRefused(t, await post(url, 'user_id=1', FORM_TYPE), { ...NO_EVENT, message })
  })

  t.test('a field of another type', async t => {
    for (const [field, wrong] of FIELDS) {
      const body = JSON.stringify({ event: 'a', [field]: wrong })
      const message = new RegExp(`^${field} must be `)
      await isRefused(t, await post(url, body), { ...NO_EVENT, message })
    }
    await isRefused(t, await post(url, 'event=a&event=b', FORM_TYPE), {
      ...NO_EVENT,
      message: /^event must be/,
    })
    await isRefused(t, await post(url, 'event=a&properties=b', FORM_TYPE), {
      ...NO_EVENT,
      message: /^properties must be/,
    })
  })

  t.test('a body above BODY_BYTES_MAX', async t => {
    const bodyOf = (bytes: number) => `{"event":"a","pad":"${'x'.repeat(bytes - 22)}"}`
    t.equal(bodyOf(1024).length, 1024)
    await isRefused(t, await post(url, bodyOf(1025)), TOO_LARGE)
    await isRefused(t, await post(url, bodyOf(1024 * 1024)), TOO_LARGE)
    await isRefused(t, await post(url, `event=a&pad=${'x'.repeat(1024)}`, FORM_TYPE), TOO_LARGE)
    const chunked = new Blob([bodyOf(2048)]).stream()
    const response = await fetch(`${url}/api/t`, {
      method: 'POST',
      headers: JSON_TYPE,
      body: chunked,
      duplex: 'half',
    })
    await isRefused(t, response, TOO_LARGE)
  })

  t.test('another content type', async t => {
    for (const type of ['text/html', 'application/xml', 'multipart/form-data; boundary=x', 'json', '']) {
      await isRefused(t, await post(url, '{"event":"a"}', { 'content-type': type }), MEDIA_TYPE)
    }
  })

  t.test('names that would poison a prototype', async t => {
    for (const body of POISONED_JSON) {
      await isRefused(t, await post(url, body), { ...NO_BODY, message: /prototype/ })
    }
    for (const body of POISONED_FORMS) {
      await isRefused(t, await post(url, body, FORM_TYPE), { ...NO_BODY, message: /name.*not allowed/ })
    }
    t.notOk('x' in {}, 'no prototype was touched')
  })

  t.test('a form above the limits', async t => {
    const nested = `event=a&p${'[x]'.repeat(25)}=1`
    await isRefused(t, await post(url, nested, FORM_TYPE), { ...NO_BODY, message: /nests deeper/ })
  })

  t.test('nothing refused is archived', async t => {
    await isAccepted(t, await post(url, '{"event":"the only one"}'))
    t.equal(await served.app.queue.depth(), 0, 'the archiver has it')
    const events = await archivedEvents(served)
    t.equal(events.length, 1)
    t.match(events, [{ event: 'the only one' }])
  })
})

t.test('takes a body of exactly BODY_BYTES_MAX', async t => {
  const served = await serveApp(t, { BODY_BYTES_MAX: '1024' })
  await isAccepted(t, await post(served.url, `{"event":"a","pad":"${'x'.repeat(1024 - 22)}"}`))
  t.equal((await served.archivedLines()).length, 1)
})

t.test('additional slashes in a path are ignored: clients that join a host and a path add them', async t => {
  const { url } = await serveApp(t)
  for (const path of ['/api/t/', '//api/t', '/api//t', '//api//t//?x=1'])
    t.equal(
      (await fetch(url + path, { method: 'POST', headers: JSON_TYPE, body: '{"event":"a"}' })).status,
      200,
    )
  const refused = await fetch(`${url}//api/t/`, { method: 'PUT' })
  t.equal(refused.status, 405)
  t.equal(refused.headers.get('allow'), 'POST')
})

t.test('answers another method with 405, and another path with 404, whatever the body', async t => {
  const { url } = await serveApp(t, { UI: 'off' })
  const bodies: [body: string, type: string][] = [
    ['{"event":"a"}', 'application/json'],
    ['not JSON', 'application/json'],
    ['event=a', 'application/x-www-form-urlencoded'],
    ['<event/>', 'application/xml'],
  ]
  for (const [body, type] of bodies) {
    for (const method of ['PUT', 'PATCH', 'DELETE']) {
      const response = await fetch(`${url}/api/t`, { method, headers: { 'content-type': type }, body })
      t.equal(response.headers.get('allow'), 'POST')
      await isRefused(t, response, { status: 405, code: 'FRQ_METHOD_NOT_ALLOWED', message: /POST/ })
    }
    for (const path of ['/', '/api', '/api/track', '/API/T', '/api/t/1']) {
      const response = await fetch(url + path, { method: 'POST', headers: { 'content-type': type }, body })
      const message = new RegExp(`POST ${path}\\.`)
      await isRefused(t, response, { status: 404, code: 'FRQ_NOT_FOUND', message })
    }
  }
  for (const method of ['GET', 'OPTIONS']) {
    const response = await fetch(`${url}/api/t`, { method })
    t.equal(response.headers.get('allow'), 'POST')
    await isRefused(t, response, { status: 405, code: 'FRQ_METHOD_NOT_ALLOWED', message: /POST/ })
  }
  const head = await fetch(`${url}/api/t`, { method: 'HEAD' })
  t.equal(head.status, 405)
  t.equal(head.headers.get('allow'), 'POST')
  t.equal(await head.text(), '')

  const secret = await fetch(`${url}/nothing?token=secret`)
  t.notMatch(await secret.text(), 'secret', 'a query is not echoed')
  await isRefused(t, await fetch(`${url}/%zz`), { status: 400, code: 'FST_ERR_BAD_URL', message: /url/ })
})

t.test('answers 503 with Retry-After while the queue takes no events, and archives earlier ones', async t => {
  const served = await serveApp(t, { SPOOL_BYTES_MAX: '1MiB' })
  const pad = 'x'.repeat(64 * 1024)
  let accepted = 0
  let response: Response
  do {
    response = await post(served.url, JSON.stringify({ event: 'fill', number: accepted, pad }))
    if (response.status === 200) accepted++
  } while (response.status === 200 && accepted < 1000)

  t.match(response.headers.get('retry-after'), /^[1-9]\d*$/)
  await isRefused(t, response, { status: 503, code: 'FRQ_QUEUE_UNAVAILABLE', message: /SPOOL_BYTES_MAX/ })
  t.ok(accepted >= 8, `${accepted} were accepted`)
  const numbers = (await archivedEvents(served)).map(event => event.number)
  t.strictSame(numbers, [...Array(accepted).keys()])
})

t.test('null counts as missing, and ids and times may be numbers; all is archived unchanged', async t => {
  const served = await serveApp(t)
  const bodies = [
    '{"event":"nulls","user_id":null,"properties":null,"context":null,"timestamp":null,"messageId":null}',
    '{"event":"numbers","user_id":42,"userId":12345678901234567890,"timestamp":1337197600,"messageId":98765432109876543210}',
    '{"event":"php","properties":[],"context":[]}',
  ]
  for (const body of bodies) await isAccepted(t, await post(served.url, body))
  const lines = await served.archivedLines()
  const [nulls, numbers, php] = lines as [string, string, string]
  t.match(nulls, /"properties":null,"context":null,"timestamp":null/)
  t.match(JSON.parse(nulls), { messageId: /^[0-9a-f-]{36}$/ })
  t.match(numbers, '"user_id":42,"userId":12345678901234567890,"timestamp":1337197600')
  t.match(numbers, '"messageId":"98765432109876543210"', 'a number as id becomes a string of its digits')
  t.match(php, '"properties":[],"context":[]')
})

t.test('takes JSON that is labelled as a form, as curl does by default', async t => {
  const served = await serveApp(t)
  for (const body of ['{"event":"j","n":1.10}', '\n {"event":"j","n":1.10}', '\ufeff{"event":"j","n":1.10}'])
    await isAccepted(t, await post(served.url, body, FORM_TYPE))
  const lines = await served.archivedLines()
  t.equal(lines.filter(line => line.includes('"n":1.10')).length, 3)
})

t.test('takes cookies of 20 KiB, and refuses headers above HEADER_BYTES_MAX with a reason', async t => {
  const { url } = await serveApp(t)
  const send = (bytes: number) =>
    post(url, '{"event":"e"}', { ...JSON_TYPE, cookie: `c=${'x'.repeat(bytes)}` })
  await isAccepted(t, await send(20 * 1024))
  t.equal((await send(40 * 1024)).status, 431)
})

t.test('a number as id becomes its digits, with any spaces around it in the JSON', async t => {
  const served = await serveApp(t)
  const bodies = [
    '{\n "event":"p",\n "messageId": 42\n}',
    '{"event":"p","messageId":42 }',
    '{ "messageId" :\t42\r\n, "event":"p"}',
  ]
  await Promise.all([
    ...bodies.map(async body => isAccepted(t, await post(served.url, body))),
    ...Array.from({ length: 20 }, async (_, n) =>
      isAccepted(t, await post(served.url, `{"event":"beside","n":${n}}`)),
    ),
  ])
  const events = await archivedEvents(served)
  t.same(
    events.filter(({ event }) => event === 'p').map(({ messageId }) => messageId),
    ['42'],
  )
  t.equal(events.filter(({ event }) => event === 'beside').length, 20)
})
