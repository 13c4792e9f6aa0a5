import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { until } from '../services/wait.ts'
import { postOf, RawClient } from './raw-http.ts'
import { serveApp } from './served-app.ts'

/** Far longer than an answer takes, also on a busy machine. */
const ANSWER_MS_MAX = 20_000
const EVENT = '{"event":"a"}'

t.test('answers requests on one connection in order, pipelined or not', async t => {
  const served = await serveApp(t)
  const client = new RawClient(t, served.port)
  for (const count of [1, 2, 3]) {
    client.send(postOf(`{"event":"in turn","number":${count}}`))
    t.equal((await client.responses(count))[count - 1]?.status, 200)
  }
  const pipelined = [4, 5, 6].map(number => postOf(`{"event":"pipelined","number":${number}}`))
  client.send([...pipelined, postOf('{"event":""}'), postOf('{"event":"last","number":7}')].join(''))
  const statuses = (await client.responses(8)).map(response => response.status)
  t.strictSame(statuses, [200, 200, 200, 200, 200, 200, 400, 200])

  const numbers = (await served.archivedLines()).map(line => JSON.parse(line).number)
  t.strictSame(numbers, [1, 2, 3, 4, 5, 6, 7])
})

t.test('closes the connection when the client asks for it', async t => {
  const { port } = await serveApp(t)
  const client = new RawClient(t, port)
  client.send(postOf(EVENT, 'connection: close\r\ncontent-type: application/json'))
  t.match(await client.responsesUntilClosed(), [{ status: 200, body: '200' }])
})

t.test('takes a chunked body, and one after 100 Continue', async t => {
  const served = await serveApp(t)
  const chunked = new RawClient(t, served.port)
  chunked.send('POST /api/t HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n')
  chunked.send('transfer-encoding: chunked\r\n\r\n9\r\n{"event":\r\n')
  chunked.send('4\r\n"a"}\r\n0\r\n\r\n')
  t.match(await chunked.responses(1), [{ status: 200 }])

  const expecting = new RawClient(t, served.port)
  const [head = '', body = ''] = postOf(
    EVENT,
    'expect: 100-continue\r\ncontent-type: application/json',
  ).split(/(?<=\r\n\r\n)/)
  expecting.send(head)
  t.match(await expecting.responses(1), [{ status: 100 }])
  expecting.send(body)
  t.match(await expecting.responses(2), [{ status: 100 }, { status: 200 }])
  t.equal((await served.archivedLines()).length, 2)
})

t.test('takes no event from a malformed request', async t => {
  const served = await serveApp(t, { BODY_BYTES_MAX: '1024' })
  const json = 'content-type: application/json'

  t.test('a truncated body', async t => {
    const ended = new RawClient(t, served.port)
    ended.send(postOf(EVENT).slice(0, -1))
    ended.socket.end()
    const answers = await ended.responsesUntilClosed()
    t.notOk(answers.some(({ status }) => status === 200))

    const reset = new RawClient(t, served.port)
    reset.socket.once('connect', () => reset.send(postOf(EVENT).slice(0, -1)).socket.resetAndDestroy())
    await reset.closed
  })

  t.test('a content-length that is too small', async t => {
    const client = new RawClient(t, served.port)
    client.send(`POST /api/t HTTP/1.1\r\nhost: localhost\r\n${json}\r\ncontent-length: 5\r\n\r\n${EVENT}`)
    const answers = await client.responsesUntilClosed()
    t.ok(answers.length > 0)
    for (const { status, body } of answers) {
      t.equal(status, 400)
      t.match(JSON.parse(body), { statusCode: 400, code: /^FRQ_/, error: 'Bad Request', message: String })
    }
  })

  t.test('two lengths, or an invalid one', async t => {
    for (const headers of [
      'content-length: 13\r\ncontent-length: 12',
      'content-length: 13\r\ntransfer-encoding: chunked',
      'transfer-encoding: gzip',
      'content-length: -1',
      'content-length: thirteen',
    ]) {
      const client = new RawClient(t, served.port)
      client.send(`POST /api/t HTTP/1.1\r\nhost: localhost\r\n${json}\r\n${headers}\r\n\r\n${EVENT}`)
      t.match((await client.responsesUntilClosed()).at(0), { status: 400 }, headers)
    }
  })

  t.test('a chunk without a length', async t => {
    const client = new RawClient(t, served.port)
    client.send(
      `POST /api/t HTTP/1.1\r\nhost: localhost\r\n${json}\r\ntransfer-encoding: chunked\r\n\r\n${EVENT}`,
    )
    t.match((await client.responsesUntilClosed()).at(-1), { status: 400 })
  })

  t.test('a body above the limit', async t => {
    const announced = new RawClient(t, served.port)
    announced.send(`POST /api/t HTTP/1.1\r\nhost: localhost\r\n${json}\r\ncontent-length: 1025\r\n\r\n`)
    t.match(await announced.responses(1), [{ status: 413 }], 'refused before it is sent')

    const headers = new RawClient(t, served.port)
    headers.send(postOf(EVENT, `${json}\r\nx-large: ${'x'.repeat(40_000)}`))
    const [answer] = await headers.responsesUntilClosed()
    t.match(answer, { status: 431, body: /FRQ_HEADERS_TOO_LARGE/ })
  })

  t.test('bytes that are not HTTP', async t => {
    const client = new RawClient(t, served.port)
    client.send('\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03')
    const [answer] = await client.responsesUntilClosed()
    t.equal(answer?.status, 400)
    t.match(JSON.parse(answer?.body ?? ''), { statusCode: 400, code: 'FRQ_REQUEST_INVALID' })
  })

  t.test('a method that fetch does not send', async t => {
    const client = new RawClient(t, served.port)
    client.send('TRACE /api/t HTTP/1.1\r\nhost: localhost\r\n\r\n')
    t.match(await client.responses(1), [{ status: 405, headers: { allow: 'POST' } }])
  })

  t.test('other requests are still answered', async t => {
    const client = new RawClient(t, served.port)
    client.send(postOf('{"event":"the only one"}'))
    t.match(await client.responses(1), [{ status: 200 }])
    const events = (await served.archivedLines()).map(line => JSON.parse(line))
    t.match(events, [{ event: 'the only one' }])
    t.equal(events.length, 1)
  })
})

t.test('answers in order, also if the next bytes are not a request', async t => {
  const served = await serveApp(t)
  for (const follows of [
    'garbage\r\n\r\n',
    `${postOf(EVENT).slice(0, -1)}x`.replace('application/json', '\x00'),
  ]) {
    const client = new RawClient(t, served.port)
    client.send(postOf(EVENT).repeat(5) + follows)
    const answers = await client.responsesUntilClosed()
    t.strictSame(
      answers.map(({ status }) => status),
      [200, 200, 200, 200, 200, 400],
    )
    t.match(JSON.parse(answers.at(-1)?.body ?? ''), { code: 'FRQ_REQUEST_INVALID' })
  }
  const closing = new RawClient(t, served.port)
  closing.send(`${postOf(EVENT, 'connection: close\r\ncontent-type: application/json')}garbage`)
  t.match(await closing.responsesUntilClosed(), [{ status: 200, body: '200' }])
  t.equal((await served.archivedLines()).length, 11)
})

t.test('answers requests that Node would refuse without a message', async t => {
  const served = await serveApp(t)
  const noHost = new RawClient(t, served.port)
  noHost.send(postOf(EVENT).replace('host: localhost\r\n', ''))
  const [refusal] = await noHost.responses(1)
  t.match(JSON.parse(refusal?.body ?? ''), { statusCode: 400, code: 'FRQ_REQUEST_INVALID' })

  const old = new RawClient(t, served.port)
  old.send(postOf(EVENT).replace('host: localhost\r\n', '').replace('HTTP/1.1', 'HTTP/1.0'))
  t.match(await old.responsesUntilClosed(), [{ status: 200 }], 'HTTP/1.0 has no Host header')

  const expecting = new RawClient(t, served.port)
  expecting.send(postOf(EVENT, 'expect: much\r\ncontent-type: application/json'))
  t.match(await expecting.responses(1), [{ status: 200 }])

  const upgrading = new RawClient(t, served.port)
  const upgrade = 'connection: upgrade\r\nupgrade: websocket\r\ncontent-type: application/json'
  upgrading.send(postOf(EVENT, upgrade) + postOf(EVENT))
  t.match(await upgrading.responsesUntilClosed(), [{ status: 200, headers: { connection: 'close' } }])
  t.equal((await served.archivedLines()).length, 3, 'no event is archived without an answer')
})

t.test('disconnects clients that are too slow, and serves the others meanwhile', async t => {
  const REQUEST_MS_MAX = 1_000
  /** The server checks its connections once a second; the rest is for a busy machine. */
  const CUT_MS_MAX = REQUEST_MS_MAX + 10_000
  const served = await serveApp(t, { REQUEST_MS_MAX: String(REQUEST_MS_MAX) })
  const slow = {
    'headers a byte at a time': new RawClient(t, served.port).trickle(postOf(EVENT), 90),
    'a body a byte at a time': new RawClient(t, served.port)
      .send(postOf(`{"event":"${'x'.repeat(200)}"}`).slice(0, -200))
      .trickle('x'.repeat(200), 90),
    'nothing after the headers': new RawClient(t, served.port).send(postOf(EVENT).slice(0, -EVENT.length)),
    'nothing at all': new RawClient(t, served.port),
  }

  const startedAt = performance.now()
  let areAllCut = false
  const cuts = Object.entries(slow).map(async ([name, client]) => {
    const answers = await client.responsesUntilClosed()
    const ms = performance.now() - startedAt
    t.ok(ms < CUT_MS_MAX, `${name}: cut after ${Math.round(ms)} ms`)
    const answer = { status: 503, headers: { 'retry-after': /^\d+$/ }, body: /FRQ_REQUEST_TOO_SLOW/ }
    t.match(answers, name === 'nothing at all' ? [] : [answer], name)
  })
  const allCut = Promise.all(cuts).then(() => {
    areAllCut = true
  })

  let served200 = 0
  while (!areAllCut) {
    const signal = AbortSignal.timeout(ANSWER_MS_MAX)
    const headers = { 'content-type': 'application/json' }
    const response = await fetch(`${served.url}/api/t`, { method: 'POST', headers, body: EVENT, signal })
    t.equal(await response.text(), '200')
    served200++
    await delay(20)
  }
  await allCut
  t.ok(served200 > 10, `${served200} others were served`)
  t.equal((await served.archivedLines()).length, served200, 'no event of the slow clients is archived')
})

t.test('a client that does not read its answers does not delay others', async t => {
  const { port, url } = await serveApp(t)
  const unread = new RawClient(t, port)
  unread.socket.pause()
  unread.send('GET /nothing HTTP/1.1\r\nhost: localhost\r\n\r\n'.repeat(200_000))

  for (let count = 1; count <= 20; count++) {
    const headers = { 'content-type': 'application/json' }
    const signal = AbortSignal.timeout(ANSWER_MS_MAX)
    const response = await fetch(`${url}/api/t`, { method: 'POST', headers, body: EVENT, signal })
    t.equal(await response.text(), '200')
  }
  t.ok(unread.socket.writableLength > 0, 'the server stops reading requests that it cannot answer')
})

t.test('a gzipped body that no route reads does not harm the process or the next request', async t => {
  const { port } = await serveApp(t)
  const length = 400_000
  const client = new RawClient(t, port)
  for (const path of ['/status', '/healthz', '/metrics']) {
    client.send(
      `GET ${path} HTTP/1.1\r\nhost: localhost\r\ncontent-encoding: gzip\r\ncontent-length: ${length}\r\n\r\n`,
    )
    client.send(Buffer.alloc(length, 'not gzip'))
  }
  client.send(postOf('{"event":"after"}'))
  const answers = await client.responses(4)
  t.same(
    answers.map(({ status }) => status),
    [200, 200, 200, 200],
  )
})

t.test('connections above CONNECTIONS_MAX are closed and counted', async t => {
  const { app, port, url } = await serveApp(t, { CONNECTIONS_MAX: '2' })
  const open = [new RawClient(t, port), new RawClient(t, port)]
  for (const client of open) {
    client.send(postOf(EVENT))
    t.match(await client.responses(1), [{ status: 200 }])
  }
  const third = new RawClient(t, port)
  t.same(await third.responsesUntilClosed(), [])
  for (const client of open) client.socket.destroy()
  await until('there is room again', ANSWER_MS_MAX, async () => {
    const response = await fetch(`${url}/healthz`).catch(() => undefined)
    return response?.ok === true
  })
  t.equal((app.requests.refused.get('FRQ_CONNECTIONS_TOO_MANY') ?? 0) > 0, true)
})
