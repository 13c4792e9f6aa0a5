import { gzipSync } from 'node:zlib'
import t from 'tap'
import { range } from '../helpers/helper.ts'
import { serveApp } from './served-app.ts'

const JSON_TYPE = 'application/json'
const NDJSON_TYPE = 'application/x-ndjson'
const FORM_TYPE = 'application/x-www-form-urlencoded'
const KIB = 1024

function post(url: string, body: string | Buffer, type = JSON_TYPE, headers: Record<string, string> = {}) {
  return fetch(`${url}/api/t/batch`, { method: 'POST', headers: { 'content-type': type, ...headers }, body })
}

const numbered = (count: number) =>
  range(count).map(n => `{"event":"counted","n":${n},"id":9007199254740993}`)

t.test('takes an array, an object with a batch, and NDJSON, and archives each event unchanged', async t => {
  const served = await serveApp(t)
  const events = numbered(3)
  const bodies = [
    [`[${events.join(',')}]`, JSON_TYPE],
    [` [ ${events.join(' ,\n ')} ] `, JSON_TYPE],
    [`{"sentBy":"us","batch":[${events.join(',')}]}`, JSON_TYPE],
    [events.join('\n'), NDJSON_TYPE],
    [`\n${events.join('\r\n\n')}\n`, NDJSON_TYPE],
    [events.join('\n'), 'application/jsonl'],
    [events.join('\n'), 'application/x-jsonlines'],
    [events.join('\n'), JSON_TYPE],
    [`${events.join('\r\n')}\r\n`, 'text/plain'],
    [`[${events}]`, FORM_TYPE],
    [events.join('\n'), FORM_TYPE],
  ] as const
  for (const [body, type] of bodies) {
    const response = await post(served.url, body, type)
    t.equal(response.status, 200)
    t.equal(response.headers.get('frequency-ack'), 'disk')
    t.same(await response.json(), { accepted: 3, refused: [] })
  }
  const lines = await served.archivedLines()
  t.equal(lines.length, bodies.length * events.length)
  t.ok(
    lines.every(line => line.includes('"id":9007199254740993')),
    'with all digits',
  )
  t.equal(new Set(lines.map(line => JSON.parse(line).messageId)).size, lines.length)
})

t.test('lists the refused events, and archives the others', async t => {
  const served = await serveApp(t, { BODY_BYTES_MAX: String(KIB) })
  const events = [
    '{"event":"good","n":0}',
    '{"name":"no event"}',
    '[]',
    '{"event":"good","n":3}',
    '{"event":"e","__proto__":{}}',
    `{"event":"e","filler":"${'x'.repeat(KIB)}"}`,
    '{"event":"e","timestamp":"yesterday"}',
  ]
  const response = await post(served.url, `[${events}]`)
  t.equal(response.status, 200)
  t.match(await response.json(), {
    accepted: 2,
    refused: [
      { index: 1, code: 'FRQ_EVENT_INVALID', message: /event is required/ },
      { index: 2, code: 'FRQ_EVENT_INVALID', message: /JSON object/ },
      { index: 4, code: 'FRQ_BODY_INVALID', message: /prototype/ },
      { index: 5, code: 'FRQ_BODY_INVALID', message: /BODY_BYTES_MAX/ },
      { index: 6, code: 'FRQ_EVENT_INVALID', message: /timestamp/ },
    ],
  })
  const lines = await post(
    served.url,
    ['{"event":"good","n":1}', '{"event":', '{"event":"good","n":2}'].join('\n'),
    NDJSON_TYPE,
  )
  t.match(await lines.json(), {
    accepted: 2,
    refused: [{ index: 1, code: 'FRQ_BODY_INVALID', message: /JSON/ }],
  })
  const archived = await served.archivedLines()
  t.same(
    archived.map(line => JSON.parse(line).n),
    [0, 3, 1, 2],
  )
})

t.test('a batch without a valid event gets 400', async t => {
  const { url } = await serveApp(t)
  const response = await post(url, '[{"a":1},2]')
  t.equal(response.status, 400)
  t.match(await response.json(), {
    statusCode: 400,
    code: 'FRQ_BATCH_REFUSED',
    error: 'Bad Request',
    message: /2 refused, the first \(index 0\) because: event is required/,
    refused: [{ index: 0 }, { index: 1 }],
  })
  const empty = await post(url, '[]')
  t.equal(empty.status, 200)
  t.same(await empty.json(), { accepted: 0, refused: [] })
})

t.test('a body that is not a batch is refused with what to correct', async t => {
  const { url } = await serveApp(t, {
    BATCH_BODY_BYTES_MAX: String(64 * KIB),
    REQUEST_EVENTS_MAX: '1000',
  })
  const refusals: [string | Buffer, string, number, string, RegExp][] = [
    ['{"batch":{"event":"e"}}', JSON_TYPE, 400, 'FRQ_BODY_INVALID', /array/],
    ['[{"event":"a"},\n{"event":"b"}\n', JSON_TYPE, 400, 'FRQ_BODY_INVALID', /JSON/],
    ['{\n"batch": [\n{"event":"a"}', JSON_TYPE, 400, 'FRQ_BODY_INVALID', /JSON/],
    [Buffer.from('[{"event":"e"}]', 'utf16le'), JSON_TYPE, 400, 'FRQ_BODY_INVALID', /UTF-16/],
    ['7', JSON_TYPE, 400, 'FRQ_BODY_INVALID', /array/],
    ['[{"event":"e"}', JSON_TYPE, 400, 'FRQ_BODY_INVALID', /JSON/],
    [Buffer.from([0x5b, 0xff, 0x5d]), JSON_TYPE, 400, 'FRQ_BODY_INVALID', /UTF-8/],
    ['event=e', FORM_TYPE, 415, 'FRQ_MEDIA_TYPE_UNSUPPORTED', /x-ndjson/],
    [`[${numbered(1001).map(() => '{"event":"e"}')}]`, JSON_TYPE, 413, 'FRQ_BATCH_TOO_LONG', /1000/],
    [`[${'x'.repeat(65 * KIB)}]`, JSON_TYPE, 413, 'FRQ_BODY_TOO_LARGE', /BATCH_BODY_BYTES_MAX/],
  ]
  for (const [body, type, status, code, message] of refusals) {
    const response = await post(url, body, type)
    t.equal(response.status, status, code)
    t.match(await response.json(), { statusCode: status, code, message })
  }
})

t.test('a request without a body is refused with this reason', async t => {
  const { url } = await serveApp(t)
  const response = await fetch(`${url}/api/t/batch`, { method: 'POST' })
  t.equal(response.status, 400)
  t.match(await response.json(), { code: 'FRQ_BODY_INVALID', message: /empty/ })
})

t.test('a gzipped body is unpacked, within the limit of the route', async t => {
  const served = await serveApp(t, {
    BATCH_BODY_BYTES_MAX: String(256 * KIB),
    BODY_BYTES_MAX: String(64 * KIB),
  })
  const GZIP = { 'content-encoding': 'gzip' }
  const single = (body: Buffer, headers: Record<string, string> = GZIP) =>
    fetch(`${served.url}/api/t`, { method: 'POST', headers: { 'content-type': JSON_TYPE, ...headers }, body })

  t.same(await (await post(served.url, gzipSync(`[${numbered(500)}]`), JSON_TYPE, GZIP)).json(), {
    accepted: 500,
    refused: [],
  })
  t.equal((await single(gzipSync('{"event":"alone"}'))).status, 200)

  const bomb = gzipSync(Buffer.alloc(64 * KIB * KIB, ' '))
  t.ok(bomb.length < 64 * KIB * 2)
  const refusals = [
    await single(gzipSync(Buffer.alloc(64 * KIB + 1, ' '))),
    await post(served.url, bomb, JSON_TYPE, GZIP),
    await single(Buffer.from('{"event":"not packed"}')),
    await single(gzipSync('{"event":"cut short"}').subarray(0, 20)),
    await single(Buffer.from('{"event":"e"}'), { 'content-encoding': 'br' }),
  ]
  t.same(
    refusals.map(({ status }) => status),
    [413, 413, 400, 400, 415],
  )
  for (const refusal of refusals) t.match(await refusal.json(), { code: /^FRQ_/, message: /\.$/ })
  t.equal((await served.archivedLines()).length, 501)
})

t.test('takes a single event with any of the content types, as log shippers send it', async t => {
  const served = await serveApp(t)
  const bodies = [
    ['{"event":"one","n":1}', JSON_TYPE],
    ['{"event":"one","n":2}\n', JSON_TYPE],
    ['{\n  "event": "one",\n  "n": 3\n}\n', JSON_TYPE],
    ['{"event":"one","n":4}', NDJSON_TYPE],
    ['\ufeff{"event":"one","n":5}', 'text/plain'],
  ] as const
  for (const [body, type] of bodies)
    t.same(await (await post(served.url, body, type)).json(), { accepted: 1, refused: [] }, body)
  const lines = await served.archivedLines()
  t.same(
    lines.map(line => JSON.parse(line).n),
    [1, 2, 3, 4, 5],
  )
})

t.test('a line that is not UTF-8 does not affect the others, with any content type', async t => {
  const served = await serveApp(t)
  const bad = Buffer.from('{"event":"n1"}\n{"event":"n2","at":"caf\xe9"}\n{"event":"n3"}\n', 'latin1')
  for (const type of [NDJSON_TYPE, JSON_TYPE, 'text/plain']) {
    const answer = await (await post(served.url, bad, type)).json()
    t.match(
      answer,
      { accepted: 2, refused: [{ index: 1, code: 'FRQ_BODY_INVALID', message: /UTF-8/ }] },
      type,
    )
  }
  t.equal((await served.archivedLines()).length, 6)
})

t.test('of many refused events the first thousand are listed', async t => {
  const { url } = await serveApp(t)
  const answer = await (await post(url, `[${range(5000).map(() => '7')},{"event":"good"}]`)).json()
  t.match(answer, { accepted: 1, refused: { length: 1000 } })
})

t.test('empty lines take little time', async t => {
  const { url } = await serveApp(t)
  const startedAt = performance.now()
  const body = gzipSync(`{x}\n${'{\n'.repeat(4_000_000)}`)
  t.equal((await post(url, body, JSON_TYPE, { 'content-encoding': 'gzip' })).status, 400)
  t.ok(performance.now() - startedAt < 5_000)
})

t.test('an invalid first line does not affect the others, also if the body is labelled as JSON', async t => {
  const { url } = await serveApp(t)
  for (const first of ['garbage', '{"event":"a"', '{bad}']) {
    const answer = await (await post(url, `${first}\n{"event":"b"}\n`)).json()
    t.match(answer, { accepted: 1, refused: [{ index: 0, code: 'FRQ_BODY_INVALID' }] }, first)
  }
  const one = await post(url, '{"event":"e","batch":"b-17"}')
  t.same(await one.json(), { accepted: 1, refused: [] })
})
