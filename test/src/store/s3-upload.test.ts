/** An upload is never aborted after its completion was requested; others are aborted. */
import { CreateMultipartUploadCommand } from '@aws-sdk/client-s3'
import { test } from 'tap'
import {
  createClient,
  faultOf,
  isWhole,
  MIB,
  open,
  openWithServer,
  operationsOf,
  startServer,
  UNAVAILABLE,
} from '../../helpers/s3-helper.ts'
import { bodyOf, keysOf } from '../../helpers/store-helper.ts'
import { until } from '../../services/wait.ts'

const WAIT_MS_MAX = 30_000
const HOUR_MS = 3_600_000
const BYTES = 6 * MIB
const STAGED = 'p/_frequency/staged/1'
const COMPLETE = ['CompleteMultipartUpload']

test('an upload whose completion took effect succeeds, whatever the answer says', async t => {
  const { store, server } = await openWithServer(t)
  server.traits.losesAborted = true
  for (const [what, fault] of Object.entries({
    'the answers are lost': { reset: true, after: true },
    'the answers are errors': { status: 500, after: true },
    'the answers are refusals': { status: 403, after: true },
  })) {
    server.fault(faultOf(COMPLETE, fault))
    t.equal(await store.put(STAGED, bodyOf(BYTES)), BYTES, what)
    server.fault()
    server.collectGarbage()
    t.ok(await isWhole(store, STAGED, BYTES), `${what}: the object stays`)
    t.notOk(operationsOf(server).includes('AbortMultipartUpload'), `${what}: nothing was aborted`)
  }
})

test('an object whose completion takes effect later appears later, and stays', async t => {
  const { store, server } = await openWithServer(t)
  server.traits.losesAborted = true
  server.fault(faultOf(COMPLETE, { reset: true, lateMs: 5_000 }))
  await t.rejects(store.put(STAGED, bodyOf(BYTES)), UNAVAILABLE)
  server.fault()
  await until('the object appears', WAIT_MS_MAX, () => server.objects('bucket').has(STAGED))
  server.collectGarbage()
  t.ok(await isWhole(store, STAGED, BYTES))
  t.notOk(operationsOf(server).includes('AbortMultipartUpload'))
})

test('an object whose bytes are lost counts as missing', async t => {
  const { store, server } = await openWithServer(t)
  server.fault(faultOf(COMPLETE, { reset: true, after: true }))
  const fault = faultOf(['GetObject'], { status: 404, code: 'NoSuchKey' })
  const complete = faultOf(COMPLETE, { reset: true, after: true })
  server.fault(request => fault(request) ?? complete(request))
  await t.rejects(store.put(STAGED, bodyOf(BYTES)), UNAVAILABLE)
  server.fault()
  t.notOk(operationsOf(server).includes('HeadObject'))
})

test('an upload that failed before its completion is aborted before put rejects', async t => {
  const { store, server } = await openWithServer(t)
  server.fault(({ partNumber }) => (partNumber === 2 ? { status: 403 } : undefined))
  await t.rejects(store.put(STAGED, bodyOf(12 * MIB)), UNAVAILABLE)
  t.same(server.uploads('bucket'), [])
  t.equal(operationsOf(server).filter(each => each === 'AbortMultipartUpload').length, 1)

  const fails = faultOf(['AbortMultipartUpload'], { status: 403 })
  server.fault(request => (request.partNumber === 2 ? { status: 400 } : fails(request)))
  await t.rejects(store.put(STAGED, bodyOf(12 * MIB)), { ...UNAVAILABLE, message: /InvalidRequest/ })
})

test('an upload that took half a day is not completed, because others may abort it', async t => {
  const { store, server } = await openWithServer(t)
  const { now } = Date
  t.teardown(() => {
    Date.now = now
  })
  server.fault(({ operation }) => {
    if (operation === 'UploadPart') Date.now = () => now() + 13 * HOUR_MS
    return undefined
  })
  await t.rejects(store.put(STAGED, bodyOf(BYTES)), { ...UNAVAILABLE, message: /half a day/ })
  t.same(server.uploads('bucket'), [])
  t.same(await keysOf(store), [])
  t.notOk(operationsOf(server).includes('CompleteMultipartUpload'))
})

test('opening a store aborts uploads of staged objects that are a day old, and no others', async t => {
  const server = await startServer(t)
  const client = createClient(t)
  const begin = (Key: string) => client.send(new CreateMultipartUploadCommand({ Bucket: 'bucket', Key }))
  server.traits.clockShiftMs = -25 * HOUR_MS
  await begin('p/_frequency/staged/old-1')
  await begin('p/_frequency/staged/old-2')
  await begin('p/elsewhere')
  await begin('q/_frequency/staged/of-another-archive')
  server.traits.clockShiftMs = -23 * HOUR_MS
  await begin('p/_frequency/staged/young')
  server.traits.clockShiftMs = 0
  await open(t)
  await until('two are aborted', WAIT_MS_MAX, () => server.uploads('bucket').length === 3)
  t.same(
    server
      .uploads('bucket')
      .map(({ key }) => key)
      .sort(),
    ['p/_frequency/staged/young', 'p/elsewhere', 'q/_frequency/staged/of-another-archive'],
  )
})

test('a store works without the permission to list uploads', async t => {
  const server = await startServer(t)
  server.fault(faultOf(['ListMultipartUploads'], { status: 403 }))
  const store = await open(t)
  t.equal(await store.put(STAGED, bodyOf(BYTES)), BYTES)
  await store.close()
})
