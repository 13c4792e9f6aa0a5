import { connect } from 'node:net'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { until } from '../services/wait.ts'
import { serveApp } from './served-app.ts'
import { isAccepted, isRefused, JSON_TYPE, NO_BODY, post } from './track-client.ts'

t.test('takes a content coding in any case, and an empty one', async t => {
  const { url } = await serveApp(t)
  const plain = Buffer.from('{"event":"e"}')
  const send = (coding: string, body: Buffer) => post(url, body, { ...JSON_TYPE, 'content-encoding': coding })
  for (const coding of ['Identity', '', ' ', 'identity, identity', ','])
    await isAccepted(t, await send(coding, plain))
  for (const coding of ['gzip', 'GZIP', 'x-gzip', 'identity, Gzip'])
    await isAccepted(t, await send(coding, gzipSync(plain)))
  for (const coding of ['br', 'gzip, gzip', 'deflate'])
    t.equal((await send(coding, gzipSync(plain))).status, 415, coding)
})

t.test('UTF-16 is refused with this reason', async t => {
  const { url } = await serveApp(t)
  const little = Buffer.from('{"event":"a"}', 'utf16le')
  const big = Buffer.from(little).swap16()
  for (const body of [little, big, Buffer.concat([Buffer.from([0xff, 0xfe]), little])])
    await isRefused(t, await post(url, body), { ...NO_BODY, message: /UTF-16: send it in UTF-8/ })
})

t.test('the bodies of all requests together have a limit', async t => {
  const { url } = await serveApp(t, {
    BODIES_BYTES_MAX: '1MiB',
    BODY_BYTES_MAX: '1MiB',
    BATCH_BODY_BYTES_MAX: '1MiB',
  })
  const { hostname, port } = new URL(url)
  const head = `POST /api/t HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${600 * 1024}\r\n\r\n`
  const held = connect(Number(port), hostname)
  held.write(`${head}{"event":"held","pad":"${'x'.repeat(500 * 1024)}`)
  const pad = 'x'.repeat(700 * 1024)
  const body = JSON.stringify({ event: 'e', pad })
  await until('another finds no room', 10_000, async () => (await post(url, body)).status === 503)
  const refused = await post(url, body)
  t.match(refused.headers.get('retry-after'), /^[1-9]\d*$/)
  await isRefused(t, refused, { status: 503, code: 'FRQ_BODIES_TOO_MANY', message: /BODIES_BYTES_MAX/ })
  await isAccepted(t, await post(url, '{"event":"small"}'))
  held.destroy()
  await until('there is room again', 10_000, async () => (await post(url, body)).status === 200)
})

t.test('a body no longer counts when its connection is closed, also behind another request', async t => {
  const { url } = await serveApp(t, {
    BODIES_BYTES_MAX: '1MiB',
    BODY_BYTES_MAX: '1MiB',
    BATCH_BODY_BYTES_MAX: '1MiB',
  })
  const { hostname, port } = new URL(url)
  const body = JSON.stringify({ event: 'e', pad: 'x'.repeat(300 * 1024) })
  const head = 'POST /api/t HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n'
  for (let n = 0; n < 12; n++) {
    const client = connect(Number(port), hostname)
    client.write(`GET /ui/stream HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\n\r\n`)
    client.write(`${head}content-length: ${body.length}\r\n\r\n${body}`)
    await new Promise(resolve => client.once('data', resolve))
    await new Promise(resolve => client.destroy().once('close', resolve))
  }
  await until('there is room', 10_000, async () => (await post(url, body)).status === 200)
})
