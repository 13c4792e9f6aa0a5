/** Moves on S3: a copy, whole or in parts, then a removal, and the failures of each. */
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  HeadObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3'
import { test } from 'tap'
import { type CopyLimits, moveObject } from '../../../src/store/s3-move.ts'
import {
  createClient,
  faultOf,
  isWhole,
  MIB,
  openWithServer,
  operationsOf,
  UNAVAILABLE,
} from '../../helpers/s3-helper.ts'
import { bodyOf, keysOf, putText } from '../../helpers/store-helper.ts'

const LIMITS: CopyLimits = { wholeBytesMax: 8 * MIB, partBytes: 5 * MIB, partsInFlightMax: 2 }
const SLOW_MS = 1_000
const MOVE = { bucket: 'bucket', from: 'p/from', to: 'p/to.ndjson.gz' }
const BYTES = 12 * MIB

test('a move takes two requests, and sets the content type of the new key', async t => {
  const { store, server } = await openWithServer(t)
  await store.put('p/from', bodyOf(BYTES))
  operationsOf(server)
  t.equal(await store.move('p/from', MOVE.to), 'moved')
  t.same(operationsOf(server), ['CopyObject', 'DeleteObject'])
  const { ContentType } = await createClient(t).send(
    new HeadObjectCommand({ Bucket: 'bucket', Key: MOVE.to }),
  )
  t.equal(ContentType, 'application/gzip')
  t.equal(await store.move('p/from', MOVE.to), 'gone')
  t.ok(await isWhole(store, MOVE.to, BYTES))
})

test('a failed copy, also a 200 with an error in its body, moves nothing', async t => {
  const { store, server } = await openWithServer(t)
  await putText(store, 'p/from', 'here')
  for (const fault of [
    { status: 200, code: 'InternalError' },
    { status: 500 },
    { status: 400 },
    { reset: true },
  ]) {
    server.fault(faultOf(['CopyObject'], fault))
    await t.rejects(store.move('p/from', 'p/to'), UNAVAILABLE, JSON.stringify(fault))
    t.same(await keysOf(store), ['p/from'])
  }
  server.fault(faultOf(['CopyObject'], { status: 200, code: 'InternalError' }, 1))
  t.equal(await store.move('p/from', 'p/to'), 'moved')
  t.same(await keysOf(store), ['p/to'])
})

test('a missing bucket is not taken for a missing object', async t => {
  const { store, server } = await openWithServer(t)
  server.fault(faultOf(['CopyObject'], { status: 404, code: 'NoSuchBucket' }))
  await t.rejects(store.move('p/from', 'p/to'), UNAVAILABLE)
  server.fault(faultOf(['CopyObject'], { status: 403 }))
  await t.rejects(store.move('p/from', 'p/to'), { ...UNAVAILABLE, message: /403 .* s3:ListBucket/ })
})

test('a move whose removal failed can be repeated', async t => {
  const { store, server } = await openWithServer(t)
  await putText(store, 'p/from', 'here')
  server.fault(faultOf(['DeleteObject'], { status: 500 }))
  await t.rejects(store.move('p/from', 'p/to'), UNAVAILABLE)
  t.same(await keysOf(store), ['p/from', 'p/to'])
  server.fault()
  t.equal(await store.move('p/from', 'p/to'), 'moved')
  server.fault(faultOf(['DeleteObject'], { reset: true, after: true }))
  await putText(store, 'p/from', 'here')
  await t.rejects(store.move('p/from', 'p/to'), UNAVAILABLE)
  server.fault()
  t.equal(await store.move('p/from', 'p/to'), 'gone')
  t.same(await keysOf(store), ['p/to'])
})

test('an object that is too large for one copy is copied in parts', async t => {
  const { store, server } = await openWithServer(t)
  server.traits.copyBytesMax = 8 * MIB
  const client = createClient(t)
  await store.put('p/from', bodyOf(BYTES))
  await t.rejects(
    store.move('p/from', 'p/to'),
    UNAVAILABLE,
    'below the default limit of 4 GiB the refusal has another reason',
  )
  operationsOf(server)
  t.equal(await moveObject(client, MOVE, LIMITS), 'moved')
  t.same(operationsOf(server), [
    'CopyObject',
    'HeadObject',
    'HeadObject',
    'CreateMultipartUpload',
    ...Array(3).fill('UploadPartCopy'),
    'CompleteMultipartUpload',
    'DeleteObject',
  ])
  t.ok(await isWhole(store, MOVE.to, BYTES))
  t.same(await keysOf(store), [MOVE.to])
  const { ContentType } = await client.send(new HeadObjectCommand({ Bucket: 'bucket', Key: MOVE.to }))
  t.equal(ContentType, 'application/gzip')
})

test('a failed copy in parts is aborted before its completion is requested, and not after', async t => {
  const { store, server } = await openWithServer(t)
  server.traits.copyBytesMax = 8 * MIB
  server.traits.losesAborted = true
  const client = createClient(t)
  await store.put('p/from', bodyOf(BYTES))
  const faults = {
    'a part': ({ partNumber = 0 }) => (partNumber === 2 ? { status: 500 } : undefined),
    'a part, in a 200': ({ partNumber = 0 }) =>
      partNumber === 2 ? { status: 200, code: 'InternalError' } : undefined,
  }
  for (const [what, fault] of Object.entries(faults)) {
    server.fault(fault)
    await t.rejects(moveObject(client, MOVE, LIMITS), what)
    t.same(server.uploads('bucket'), [], `${what}: the upload is aborted`)
  }
  server.fault(({ partNumber }) => (partNumber === 3 ? { status: 404, code: 'NoSuchKey' } : undefined))
  t.equal(await moveObject(client, MOVE, LIMITS), 'gone', 'another process has moved the source meanwhile')
  t.same(server.uploads('bucket'), [])

  operationsOf(server)
  server.fault(faultOf(['CompleteMultipartUpload'], { status: 500 }))
  await t.rejects(moveObject(client, MOVE, LIMITS), { name: 'InternalError' })
  t.same(await keysOf(store), ['p/from'])
  await putText(store, MOVE.to, 'an older object')
  await t.rejects(
    moveObject(client, MOVE, LIMITS),
    { name: 'InternalError' },
    'the target has another object',
  )
  t.same(await keysOf(store), ['p/from', MOVE.to])
  server.fault(faultOf(['CompleteMultipartUpload'], { reset: true, after: true }))
  t.equal(await moveObject(client, MOVE, LIMITS), 'moved')
  server.fault()
  server.collectGarbage()
  t.ok(await isWhole(store, MOVE.to, BYTES))
  t.notOk(operationsOf(server).includes('AbortMultipartUpload'))
})

test('no part is in flight when a copy in parts is aborted', async t => {
  const { store, server } = await openWithServer(t)
  server.traits.copyBytesMax = 8 * MIB
  await store.put('p/from', bodyOf(BYTES))
  let partAt = Number.NaN
  let abortedAt = Number.NaN
  server.fault(({ operation, partNumber }) => {
    if (operation === 'AbortMultipartUpload') abortedAt = performance.now()
    if (operation !== 'UploadPartCopy') return undefined
    if (partNumber === 2) return { status: 404, code: 'NoSuchKey' }
    partAt = performance.now()
    return { delayMs: SLOW_MS }
  })
  t.equal(await moveObject(createClient(t), MOVE, LIMITS), 'gone')
  t.ok(abortedAt - partAt >= SLOW_MS - 1)
})

test('a copy in parts that was paused does not replace what another process has stored since', async t => {
  for (const before of [undefined, 'before']) {
    const { store, server } = await openWithServer(t)
    server.traits.copyBytesMax = 8 * MIB
    await store.put('p/from', bodyOf(BYTES))
    if (before !== undefined) await putText(store, MOVE.to, before)
    const client = createClient(t)
    // Before the completion another process moves the object, and an erasure rewrites it.
    const send = async (command: Parameters<S3Client['send']>[0]): Promise<unknown> => {
      if (command instanceof CompleteMultipartUploadCommand) {
        await store.replace(MOVE.to, Buffer.from('without the erased events'))
        await store.remove(['p/from'])
      }
      return client.send(command)
    }
    const paused: S3Client = Object.create(client, { send: { value: send } })
    t.equal(await moveObject(paused, MOVE, LIMITS), 'gone')
    const { object } = await store.read(MOVE.to)
    t.equal(object?.body.toString().slice(0, 100), 'without the erased events', String(before))
    t.equal(server.uploads('bucket').length, 1, 'the upload is left to the clean-up of old ones')
  }
})

test('a completion that was refused by its own success does not lose the object', async t => {
  const { store, server } = await openWithServer(t)
  server.traits.copyBytesMax = 8 * MIB
  await store.put('p/from', bodyOf(BYTES))
  const client = createClient(t)
  let aborted = 0
  const send = async (command: Parameters<S3Client['send']>[0]): Promise<unknown> => {
    if (command instanceof AbortMultipartUploadCommand) aborted++
    const answer = await client.send(command)
    const isFirst = command instanceof CompleteMultipartUploadCommand && command.input.IfNoneMatch === '*'
    // The answer is lost, and the SDK sends the request again.
    if (isFirst) throw Object.assign(new Error('refused'), { $metadata: { httpStatusCode: 412 } })
    return answer
  }
  const lossy: S3Client = Object.create(client, { send: { value: send } })
  t.equal(await moveObject(lossy, MOVE, LIMITS), 'moved')
  t.equal(aborted, 0)
  const { object } = await store.read(MOVE.to)
  t.equal(object?.size, BYTES)
})

test('a copy in parts begins again if its target was removed meanwhile', async t => {
  const { store, server } = await openWithServer(t)
  server.traits.copyBytesMax = 8 * MIB
  await store.put('p/from', bodyOf(BYTES))
  await putText(store, MOVE.to, 'before')
  const client = createClient(t)
  let isRemoved = false
  const send = async (command: Parameters<S3Client['send']>[0]): Promise<unknown> => {
    if (command instanceof CompleteMultipartUploadCommand && !isRemoved) {
      isRemoved = true
      await store.remove([MOVE.to])
    }
    return client.send(command)
  }
  const meanwhile: S3Client = Object.create(client, { send: { value: send } })
  t.equal(await moveObject(meanwhile, MOVE, LIMITS), 'moved')
  t.equal((await store.read(MOVE.to)).object?.size, BYTES)
})
