/** The S3 store during failures: error answers, lost answers, silence, refusals. */
import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'tap'
import { elapsed, range, temporaryDirectory } from '../../helpers/helper.ts'
import {
  faultOf,
  isWhole,
  MIB,
  open,
  openWithServer,
  startServer,
  UNAVAILABLE,
} from '../../helpers/s3-helper.ts'
import { bodyOf, chunksOf, getBytes, keysOf, putText, setEnvironment } from '../../helpers/store-helper.ts'
import type { S3Fault, S3FaultFunction } from '../../services/s3-server.ts'
import { startTcpProxy } from '../../services/tcp-proxy.ts'
import { until } from '../../services/wait.ts'

const QUIET_MS = 500
const WAIT_MS_MAX = 30_000
const IDLE_MS_MIN = 300
/** Four attempts at a part and four at an abort, each with its idle time, and the pauses between them. */
const GIVE_UP_MS_MAX = 8 * IDLE_MS_MIN + 8_000

const PASSING: Record<string, S3Fault> = {
  'a 500': { status: 500 },
  'a 503': { status: 503 },
  'a reset connection': { reset: true },
  'a lost answer': { reset: true, after: true },
  'a silent server': { hang: true },
}

for (const [what, fault] of Object.entries(PASSING)) {
  test(`${what} is retried: an upload of several parts`, async t => {
    const { store, server } = await openWithServer(t)
    server.fault(faultOf(['UploadPart'], fault, 1))
    await store.put('p/large', bodyOf(12 * MIB))
    t.ok(await isWhole(store, 'p/large', 12 * MIB))
    t.equal(server.requests.filter(({ operation }) => operation === 'UploadPart').length, 4)
    t.same(server.uploads('bucket'), [])
  })

  test(`${what} is retried: a small object`, async t => {
    const { store, server } = await openWithServer(t)
    server.fault(faultOf(['PutObject'], fault, 1))
    await store.put('p/small', bodyOf(1_000))
    t.ok(await isWhole(store, 'p/small', 1_000))
    t.equal(store.stats.retries, 1)
  })

  test(`${what} is retried: a create`, async t => {
    const { store, server } = await openWithServer(t)
    server.fault(faultOf(['PutObject'], fault, 1))
    const { outcome } = await store.create('p/created', Buffer.from('mine'))
    t.equal(
      outcome,
      fault.after ? 'exists' : 'created',
      'after a lost answer the object may be of another writer',
    )
    t.equal((await store.read('p/created')).object?.body.toString(), 'mine')
  })
}

test('an answer of 200 with an error in its body counts as failed', async t => {
  const { store, server } = await openWithServer(t)
  server.fault(faultOf(['CompleteMultipartUpload'], { status: 200, code: 'InternalError' }, 1))
  await store.put('p/once', bodyOf(6 * MIB))
  t.ok(await isWhole(store, 'p/once', 6 * MIB))

  server.fault(faultOf(['CompleteMultipartUpload'], { status: 200, code: 'InternalError' }))
  await t.rejects(store.put('p/always', bodyOf(6 * MIB)), UNAVAILABLE)
  t.same(await keysOf(store), ['p/once'])
  t.equal(server.uploads('bucket').length, 1, 'the upload is not aborted: it may still be completed')
})

test('a failed put leaves no object, and leaves parts only if its completion was requested', async t => {
  const { store, server } = await openWithServer(t)
  const faults: Record<string, S3FaultFunction> = {
    'the second part': ({ partNumber }) => (partNumber === 2 ? { status: 500 } : undefined),
    'every part': faultOf(['UploadPart'], { status: 500 }),
    'every part, denied': faultOf(['UploadPart'], { status: 403 }),
    'every part, reset': faultOf(['UploadPart'], { reset: true }),
    'the creation': faultOf(['CreateMultipartUpload'], { status: 500 }),
    'the bucket': () => ({ status: 404, code: 'NoSuchBucket' }),
    'the completion': faultOf(['CompleteMultipartUpload'], { status: 500 }),
  }
  for (const [what, fault] of Object.entries(faults)) {
    server.fault(fault)
    const body = bodyOf(30 * MIB)
    await t.rejects(store.put('p/never', body), UNAVAILABLE, what)
    t.ok(body.destroyed, `${what}: the body is destroyed`)
    server.fault()
    t.equal(server.uploads('bucket').length, what === 'the completion' ? 1 : 0, what)
    t.same(await keysOf(store), [], what)
  }
  server.fault(faultOf(['PutObject'], { status: 500 }))
  await t.rejects(putText(store, 'p/never', 'small'), UNAVAILABLE)
  t.same(server.objects('bucket').size, 0)

  server.fault()
  await store.put('p/after', bodyOf(6 * MIB))
  t.ok(await isWhole(store, 'p/after', 6 * MIB), 'the store works again')
})

test('an upload ends as soon as a request has failed for good, not when its body ends', async t => {
  const { store, server } = await openWithServer(t)
  const faults: Record<string, [fault: S3FaultFunction, written: number]> = {
    'the first part': [faultOf(['UploadPart'], { status: 403 }, 1), 6 * MIB],
    'the second part': [({ partNumber }) => (partNumber === 2 ? { status: 403 } : undefined), 11 * MIB],
    'the second part, retried': [
      ({ partNumber }) => (partNumber === 2 ? { status: 500 } : undefined),
      16 * MIB,
    ],
    'the creation': [faultOf(['CreateMultipartUpload'], { status: 403 }), 6 * MIB],
  }
  for (const [what, [fault, written]] of Object.entries(faults)) {
    server.fault(fault)
    const body = new PassThrough()
    const put = store.put('p/never', body).then(
      () => 'stored',
      error => error.code,
    )
    for (const chunk of chunksOf(written)) {
      if (!body.write(chunk)) await Promise.race([once(body, 'drain').catch(() => {}), put])
    }
    t.equal(await Promise.race([put, sleep(WAIT_MS_MAX, 'nothing')]), UNAVAILABLE.code, what)
    t.ok(body.destroyed, `${what}: the body is destroyed`)
    t.same(server.uploads('bucket'), [], `${what}: the upload is aborted`)
    t.same(await keysOf(store), [], what)
  }
})

test('requests to a silent server fail in time', async t => {
  const server = await startServer(t)
  const store = await open(t, { S3_IDLE_MS_MAX: String(IDLE_MS_MIN) })
  for (const operation of ['UploadPart', 'CreateMultipartUpload', 'CompleteMultipartUpload']) {
    server.fault(faultOf([operation], { hang: true }))
    const ms = await elapsed(t.rejects(store.put('p/never', bodyOf(12 * MIB)), UNAVAILABLE, operation))
    t.ok(ms < GIVE_UP_MS_MAX, `after ${Math.round(ms)} ms`)
  }
  server.fault(() => ({ hang: true }))
  const works: Record<string, () => Promise<unknown>> = {
    'a small object': () => putText(store, 'p/never', 'small'),
    'a create': () => store.create('p/never', Buffer.from('small')),
    'a move': () => store.move('p/1', 'p/2'),
    'a removal': () => store.remove(['p/1', 'p/2']),
    'a read': () => store.read('p/1'),
    'a get': () => store.get('p/1'),
    'a list': () => keysOf(store),
    'a check': () => store.check(),
  }
  for (const [what, work] of Object.entries(works)) {
    const ms = await elapsed(t.rejects(async () => void (await work()), UNAVAILABLE, what))
    t.ok(ms < GIVE_UP_MS_MAX, `after ${Math.round(ms)} ms`)
  }
  t.same(server.objects('bucket').size, 0)
})

test('a body is read with back-pressure', async t => {
  const server = await startServer(t)
  const store = await open(t)
  server.fault(faultOf(['UploadPart'], { hang: true }))
  const body = new PassThrough()
  const rejected = t.rejects(store.put('p/stuck', body))
  let written = 0
  for (const chunk of chunksOf(200 * MIB)) {
    written += chunk.length
    if (body.write(chunk)) continue
    const isDrained = await Promise.race([once(body, 'drain'), sleep(QUIET_MS, false)])
    if (isDrained === false) break
  }
  t.ok(written < 32 * MIB, `${Math.round(written / MIB)} MiB are read while parts are stuck`)
  server.fault()
  body.destroy(new Error('cancelled'))
  await rejected
})

test('an unusable bucket is refused with a message of one line that says what to correct', async t => {
  const server = await startServer(t)
  const secret = 'hunter2'
  const refused: [string, () => void, RegExp][] = [
    ['no such bucket', () => setEnvironment(t, {}), /s3:\/\/other: the bucket does not exist/],
    ['another region', () => server.fault(() => ({ status: 301 })), /another region: set AWS_REGION/],
    ['a bad request', () => server.fault(() => ({ status: 400 })), /check AWS_REGION and the credentials/],
    ['no access', () => server.fault(() => ({ status: 403 })), /access was refused/],
    [
      'unknown key',
      () => {
        server.fault()
        setEnvironment(t, { AWS_ACCESS_KEY_ID: 'nobody', AWS_SECRET_ACCESS_KEY: secret })
      },
      /access was refused: check AWS_ACCESS_KEY_ID/,
    ],
  ]
  for (const [what, prepare, message] of refused) {
    prepare()
    const url = what === 'no such bucket' ? 's3://other/p' : 's3://bucket/p'
    const error = await open(t, { ARCHIVE_URL: url }).then(
      () => new Error('not refused'),
      reason => reason as Error,
    )
    t.match(error, { code: 'FRQ_CONFIG_INVALID', message }, what)
    t.match(error.message, /^ARCHIVE_URL: s3:\/\/[^\r\n]+$/, what)
    t.notMatch(`${error.stack}${JSON.stringify(error)}`, secret, what)
  }
})

test('missing credentials are refused with a message that names the settings', async t => {
  await startServer(t)
  const nowhere = temporaryDirectory(t)
  setEnvironment(t, {
    AWS_ACCESS_KEY_ID: '',
    AWS_SECRET_ACCESS_KEY: '',
    AWS_EC2_METADATA_DISABLED: 'true',
    AWS_SHARED_CREDENTIALS_FILE: `${nowhere}/credentials`,
    AWS_CONFIG_FILE: `${nowhere}/config`,
  })
  await t.rejects(open(t), {
    code: 'FRQ_CONFIG_INVALID',
    message: /^ARCHIVE_URL: s3:\/\/bucket: there are no credentials: set AWS_ACCESS_KEY_ID/,
  })
})

test('a store opens before its server is reachable, and works later', async t => {
  const server = await startServer(t)
  const proxy = await startTcpProxy({ port: Number(new URL(server.endpoint).port) })
  t.teardown(() => proxy.close())
  setEnvironment(t, { AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${proxy.port}` })
  await proxy.refuse()
  const store = await open(t)
  await t.rejects(store.check(), { ...UNAVAILABLE, message: /^S3 cannot be used now: .*ECONNREFUSED/ })
  await t.rejects(store.put('p/1', bodyOf(6 * MIB)), { ...UNAVAILABLE, message: /ECONNREFUSED/ })
  await t.rejects(store.get('p/1'), UNAVAILABLE)
  await t.rejects(keysOf(store), UNAVAILABLE)

  await proxy.accept()
  await store.check()
  await putText(store, 'p/1', 'x')
  t.same(await keysOf(store), ['p/1'])
})

test('a store opens while its server fails, and works later', async t => {
  const server = await startServer(t)
  for (const fault of [{ status: 500 }, { status: 503 }, { hang: true }]) {
    server.fault(() => fault)
    const store = await open(t, { S3_IDLE_MS_MAX: String(IDLE_MS_MIN) })
    await t.rejects(store.check(), UNAVAILABLE)
    server.fault()
    await until('the store works', WAIT_MS_MAX, () =>
      store.check().then(
        () => true,
        () => false,
      ),
    )
  }
})

test('a missing bucket is a wrong setting for check, and a failure for put', async t => {
  const { store, server } = await openWithServer(t)
  server.fault(() => ({ status: 404, code: 'NoSuchBucket' }))
  await t.rejects(store.check(), { code: 'FRQ_CONFIG_INVALID', message: /does not exist/ })
  await t.rejects(putText(store, 'p/1', 'x'), UNAVAILABLE)
  server.fault()
  await store.check()
})

test('a failed read is not taken for a missing object', async t => {
  const { store, server } = await openWithServer(t)
  await putText(store, 'p/1', 'x')
  await t.rejects(store.get('p/2'), { code: 'FRQ_OBJECT_NOT_FOUND' })
  server.fault(faultOf(['GetObject'], { status: 500 }))
  await t.rejects(store.get('p/1'), UNAVAILABLE)
  server.fault(faultOf(['GetObject'], { status: 500 }, 2))
  t.equal((await getBytes(store, 'p/1')).toString(), 'x')
})

test('a listing has all pages', async t => {
  const { store, server } = await openWithServer(t)
  const keys = range(1_050).map(i => `p/${String(i).padStart(4, '0')}`)
  const headers = { authorization: `AWS4-HMAC-SHA256 Credential=${server.accessKeyId}/` }
  for (const key of keys)
    await fetch(`${server.endpoint}/bucket/${key}`, { method: 'PUT', headers, body: 'x' })
  t.same(await keysOf(store, 'p/'), keys)
  t.equal(server.requests.filter(({ operation }) => operation === 'ListObjectsV2').length, 2)
})
