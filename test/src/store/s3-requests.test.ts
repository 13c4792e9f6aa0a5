/** The requests of the S3 store, and how it reads the answers: times, conditions, ranges, refusals. */
import { once } from 'node:events'
import { test } from 'tap'
import { openStore } from '../../../src/store/open-store.ts'
import { configOf, elapsed, range } from '../../helpers/helper.ts'
import {
  faultOf,
  MIB,
  open,
  openWithServer,
  operationsOf,
  startServer,
  UNAVAILABLE,
} from '../../helpers/s3-helper.ts'
import { bodyOf, keysOf, setEnvironment } from '../../helpers/store-helper.ts'

const HOUR_MS = 3_600_000
const IDLE_MS_MIN = 300

test('each operation sends exactly the expected requests', async t => {
  const { store, server } = await openWithServer(t)
  await store.check()
  operationsOf(server)
  const works: [() => Promise<unknown>, string[]][] = [
    [() => store.create('p/1', Buffer.from('x')), ['PutObject']],
    [() => store.create('p/1', Buffer.from('x')), ['PutObject']],
    [() => store.replace('p/1', Buffer.from('x')), ['PutObject']],
    [() => store.read('p/1'), ['GetObject']],
    [() => store.read('p/none'), ['GetObject']],
    [() => store.read('p/1', { start: 0, length: 10 }), ['GetObject']],
    [() => store.read('p/1', { start: 1, length: 10 }), ['GetObject', 'HeadObject']],
    [() => store.put('p/2', bodyOf(MIB)), ['PutObject']],
    [
      () => store.put('p/3', bodyOf(6 * MIB)),
      ['CreateMultipartUpload', 'UploadPart', 'UploadPart', 'CompleteMultipartUpload'],
    ],
    [() => store.move('p/3', 'p/4'), ['CopyObject', 'DeleteObject']],
    [() => store.move('p/3', 'p/4'), ['CopyObject']],
    [() => store.remove(['p/4']), ['DeleteObject']],
    [() => store.put('p/5', bodyOf(1)), ['PutObject']],
    [() => store.put('p/6', bodyOf(1)), ['PutObject']],
    [
      () =>
        store.moveAll([
          { from: 'p/5', to: 'p/1' },
          { from: 'p/none', to: 'p/3' },
          { from: 'p/6', to: 'p/2' },
        ]),
      ['CopyObject', 'CopyObject', 'CopyObject', 'DeleteObjects'],
    ],
    [() => store.remove(['p/1', 'p/2']), ['DeleteObjects']],
    [() => store.remove([]), []],
    [() => store.check(), ['HeadBucket']],
  ]
  for (const [work, operations] of works) {
    await work()
    t.same(operationsOf(server), operations, String(work))
  }
  t.same(await keysOf(store), [])
})

test('a request is not repeated because the clocks differ', async t => {
  const { store, server } = await openWithServer(t)
  for (const shiftMs of [HOUR_MS / 4, -30 * HOUR_MS]) {
    server.traits.clockShiftMs = shiftMs
    await store.replace('p/there', Buffer.from('x'))
    operationsOf(server)
    await store.read('p/none')
    await store.create('p/there', Buffer.from('y'))
    t.same(operationsOf(server), ['GetObject', 'PutObject'])
  }
})

test('every answer has the time of the server, also an error', async t => {
  const { store, server } = await openWithServer(t)
  const isTime = (date: number | undefined, what: string) =>
    t.ok(Math.abs((date ?? 0) - Date.now() - server.traits.clockShiftMs) < 5_000, what)
  for (const [i, shiftMs] of [0, 2 * HOUR_MS, -30 * HOUR_MS].entries()) {
    server.traits.clockShiftMs = shiftMs
    isTime((await store.create(`p/${i}`, Buffer.from('x'))).date, 'created')
    isTime((await store.create(`p/${i}`, Buffer.from('x'))).date, 'exists')
    isTime((await store.read(`p/${i}`)).date, 'read')
    isTime((await store.read(`p/${i}`)).object?.modifiedAt, 'when it was stored')
    isTime((await store.read(`p/${i}`, { start: 9, length: 9 })).date, 'read past the end')
    isTime((await store.read('p/none')).date, 'missing')
  }
})

test('concurrent calls get the times of their own answers', async t => {
  const { store, server } = await openWithServer(t)
  await store.create('p/0', Buffer.from('x'))
  server.fault(({ key }) => {
    server.traits.clockShiftMs = Number(key.slice(2)) * HOUR_MS
    return undefined
  })
  const read = await Promise.all(range(20).map(i => store.read(`p/${i}`)))
  t.same(
    read.map(({ date = 0 }) => Math.round((date - Date.now()) / HOUR_MS)),
    range(20),
  )
})

test('a create that meets another write (409) is retried', async t => {
  const { store, server } = await openWithServer(t)
  const conflict = { status: 409, code: 'ConditionalRequestConflict' }
  server.fault(faultOf(['PutObject'], conflict, 3))
  t.equal((await store.create('p/1', Buffer.from('x'))).outcome, 'created')
  t.equal(store.stats.retries, 3)
  server.fault(faultOf(['PutObject'], conflict, 1))
  t.equal((await store.create('p/1', Buffer.from('y'))).outcome, 'exists')
  server.fault(faultOf(['PutObject'], conflict))
  await t.rejects(store.create('p/2', Buffer.from('x')), UNAVAILABLE)
  t.same(await keysOf(store), ['p/1'])
})

test('a server without conditional writes is refused with the reason', async t => {
  const server = await startServer(t)
  server.traits.condition = 'unknown'
  const refused = { code: 'FRQ_CONFIG_INVALID' }
  await t.rejects(open(t), { ...refused, message: /does not know conditional writes/ })
  server.traits.condition = 'nowhere'
  await t.rejects(open(t), { ...refused, message: /ignores If-None-Match on PutObject/ })
  t.equal(server.objects('bucket').size, 0, 'the probe is removed')
  server.traits.condition = 'PutObject'
  const store = await open(t)
  server.traits.condition = 'unknown'
  await t.rejects(store.create('p/1', Buffer.from('x')), { ...refused, message: /does not know/ })
})

test('a read that breaks off, or whose server falls silent, fails', async t => {
  const { store, server } = await openWithServer(t, { S3_IDLE_MS_MAX: String(IDLE_MS_MIN) })
  await store.create('p/1', Buffer.alloc(MIB, 'x'))
  for (const fault of [
    { reset: true, bodyBytes: 1_000 },
    { hang: true, bodyBytes: 1_000 },
    { hang: true, bodyBytes: 0 },
  ]) {
    server.fault(faultOf(['GetObject'], fault))
    for (const part of [undefined, { start: 10, length: 100_000 }]) {
      const ms = await elapsed(t.rejects(store.read('p/1', part), UNAVAILABLE, JSON.stringify(fault)))
      t.ok(ms < 20 * IDLE_MS_MIN, `after ${Math.round(ms)} ms`)
    }
    const body = await store.get('p/1')
    const [error] = await once(body.resume(), 'error')
    t.ok(error, 'the stream of a get fails too')
  }
})

test("AWS's 403 for a missing object, if listing is not allowed, is explained", async t => {
  const { store, server } = await openWithServer(t)
  server.fault(faultOf(['GetObject'], { status: 403 }))
  const explained = { ...UNAVAILABLE, message: /AWS answers 403 .* s3:ListBucket is not allowed/ }
  await t.rejects(store.read('p/1'), explained)
  await t.rejects(store.get('p/1'), explained)
})

test('a missing bucket, or a 404 without a reason, is not taken for a missing object', async t => {
  const { store, server } = await openWithServer(t)
  for (const code of ['NoSuchBucket', 'NotFound']) {
    server.fault(faultOf(['GetObject'], { status: 404, code }))
    await t.rejects(store.read('p/1'), UNAVAILABLE, code)
    await t.rejects(store.get('p/1'), UNAVAILABLE, code)
  }
})

test('keys are removed by the thousand, and a refused removal is reported', async t => {
  const { store, server } = await openWithServer(t)
  const keys = range(2_001).map(i => `p/${i}`)
  await Promise.all(
    [keys[0], keys[1_500], keys[2_000]].map(key => store.create(String(key), Buffer.from('x'))),
  )
  operationsOf(server)
  await store.remove(keys)
  t.same(operationsOf(server), ['DeleteObjects', 'DeleteObjects', 'DeleteObject'])
  t.same(await keysOf(store), [])

  await store.create('p/kept', Buffer.from('x'))
  await store.create('p/other', Buffer.from('x'))
  server.traits.undeletable = new Set(['p/kept'])
  await t.rejects(store.remove(['p/other', 'p/kept']), { ...UNAVAILABLE, message: /p\/kept: AccessDenied/ })
  t.same(await keysOf(store), ['p/kept'])
})

test('an endpoint that is not a URL is refused with the name of its setting', async t => {
  const server = await startServer(t)
  for (const name of ['AWS_ENDPOINT_URL_S3', 'AWS_ENDPOINT_URL']) {
    for (const value of ['localhost:9000', 'minio', 'ftp://minio', 'http://', '//minio']) {
      setEnvironment(t, { AWS_ENDPOINT_URL_S3: '', [name]: value })
      const config = configOf({ ARCHIVE_URL: 's3://bucket/p' })
      const error = {
        code: 'FRQ_CONFIG_INVALID',
        message: new RegExp(`^${name} must be a URL like http://`),
      }
      await t.rejects(openStore(config), error, value)
    }
  }
  setEnvironment(t, { AWS_ENDPOINT_URL_S3: server.endpoint, AWS_ENDPOINT_URL: 'not this one' })
  await (await open(t)).check()
})
