/**
 * Several writers compete for one key, as archivers do for the next number of a log: with each way to write, on
 * servers that honour conditions everywhere or on PutObject alone, with lost answers before and after the effect.
 */
import { randomUUID } from 'node:crypto'
import { Readable } from 'node:stream'
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3'
import { type Test, test } from 'tap'
import { openStore } from '../../src/store/open-store.ts'
import type { ObjectStore } from '../../src/store/store.ts'
import { configOf, range, temporaryDirectory } from '../helpers/helper.ts'
import { keysOf, setEnvironment } from '../helpers/store-helper.ts'
import { startRadosgw } from '../services/radosgw.ts'
import { s3Environment } from '../services/s3-environment.ts'
import { startS3Proxy } from '../services/s3-proxy.ts'
import { type S3Fault, type S3FaultFunction, startS3Server } from '../services/s3-server.ts'

const WRITERS = 4
const MIB = 1024 * 1024
/** Failing requests per operation. Enough that some writers never learn the outcome. */
const FAULTS_MAX = 18
/** More than the faults: the SDK stops its own retries while too many requests fail. */
const TRIES_MAX = 100
const LATE_MS = 300
const FAULTED = [
  'PutObject',
  'CreateMultipartUpload',
  'CompleteMultipartUpload',
  'CopyObject',
  'DeleteObject',
]

/** Size of the staged object in bytes; undefined if the bytes are in the created object itself. */
const WAYS: Record<string, number | undefined> = {
  'a create': undefined,
  'a small put and a create': 100_000,
  'a put in parts and a create': 6 * MIB,
}

const FAULTS: Record<string, S3Fault | undefined> = {
  'no fault': undefined,
  'answers lost before the effect': { reset: true },
  'answers lost after the effect': { reset: true, after: true },
  'answers lost before a late effect': { reset: true, lateMs: LATE_MS },
  'errors after the effect': { status: 500, after: true },
}

interface Stage {
  /** One store per writer, with its own connections. */
  readonly stores: ObjectStore[]
  /** Undefined if there are no requests that could fail. */
  readonly fault?: (fault?: S3FaultFunction) => void
  /** Does what the server would do some time later. */
  collectGarbage(): Promise<void> | void
}

async function openStores(t: Test, env: Record<string, string>): Promise<ObjectStore[]> {
  const open = () => openStore(configOf({ S3_FORCE_PATH_STYLE: 'true', ...env }))
  const stores = await Promise.all(range(WRITERS).map(open))
  t.teardown(() => Promise.all(stores.map(store => store.close())))
  return stores
}

async function openOnServer(t: Test, condition: 'both' | 'PutObject'): Promise<Stage> {
  const server = await startS3Server()
  t.teardown(() => server.close())
  server.createBucket('bucket')
  server.traits.condition = condition
  server.traits.losesAborted = true
  setEnvironment(t, server.env())
  const stores = await openStores(t, { ARCHIVE_URL: 's3://bucket/p' })
  return { stores, fault: fault => server.fault(fault), collectGarbage: () => server.collectGarbage() }
}

/** A separate radosgw, whose garbage collection can be started by the test. */
async function openOnRadosgw(t: Test): Promise<Stage> {
  const radosgw = await startRadosgw()
  t.teardown(() => radosgw.close())
  const proxy = await startS3Proxy(radosgw.endpoint)
  t.teardown(() => proxy.close())
  setEnvironment(t, { ...s3Environment(radosgw), AWS_ENDPOINT_URL_S3: proxy.endpoint })
  const client = new S3Client({ forcePathStyle: true })
  await client.send(new CreateBucketCommand({ Bucket: 'bucket' }))
  client.destroy()
  const stores = await openStores(t, { ARCHIVE_URL: 's3://bucket/p' })
  return { stores, fault: proxy.fault, collectGarbage: () => radosgw.collectGarbage() }
}

async function openOnDirectory(t: Test): Promise<Stage> {
  const stores = await openStores(t, { ARCHIVE_URL: temporaryDirectory(t) })
  return { stores, collectGarbage: () => {} }
}

const STAGES: Record<string, (t: Test) => Promise<Stage>> = {
  'a directory': openOnDirectory,
  'S3 that honours the condition on both': t => openOnServer(t, 'both'),
  'S3 that honours the condition on PutObject alone': t => openOnServer(t, 'PutObject'),
  radosgw: openOnRadosgw,
}

/** The result of one writer. */
interface Attempt {
  readonly nonce: string
  readonly bytes: Buffer
  /** Outcomes of its `create` calls, without failed ones. */
  readonly outcomes: string[]
  /** Whether the key has the object of this writer afterwards. */
  readonly isOwn: boolean
}

/** Retries a call until the store knows its outcome. */
async function untilKnown<T>(work: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await work()
    } catch (error) {
      if ((error as { code?: string }).code !== 'FRQ_STORE_UNAVAILABLE' || tries >= TRIES_MAX) throw error
    }
  }
}

async function write(store: ObjectStore, base: string, size: number | undefined): Promise<Attempt> {
  const nonce = randomUUID()
  const bytes = Buffer.alloc(size ?? 50_000, nonce)
  let staged = ''
  if (size !== undefined) {
    await untilKnown(() => {
      staged = `p/_frequency/staged/${randomUUID()}`
      return store.put(staged, Readable.from([bytes], { objectMode: false }))
    })
  }
  const record = Buffer.concat([
    Buffer.from(`${nonce} ${staged}\n`),
    size === undefined ? bytes : Buffer.alloc(0),
  ])
  const outcomes: string[] = []
  const { object } = await untilKnown(async () => {
    outcomes.push((await store.create(`${base}/log/1`, record)).outcome)
    return store.read(`${base}/log/1`)
  })
  const isOwn = object?.body.equals(record) === true
  if (size !== undefined) {
    if (isOwn) await untilKnown(() => store.move(staged, `${base}/object`))
    else await untilKnown(() => store.remove([staged]))
  }
  return { nonce, bytes, outcomes, isOwn }
}

/** @returns the keys that have to stay, with their bytes */
async function race(
  t: Test,
  { stores }: Stage,
  base: string,
  size: number | undefined,
): Promise<[string, Buffer][]> {
  const attempts = await Promise.all(stores.map(store => write(store, base, size)))
  const winners = attempts.filter(({ isOwn }) => isOwn)
  t.equal(winners.length, 1, 'one writer has the key')
  for (const { isOwn, outcomes } of attempts)
    if (!isOwn) t.notOk(outcomes.includes('created'), 'no other writer got the outcome "created"')
  const [winner] = winners
  const [store] = stores
  if (winner === undefined || store === undefined) throw new Error('No writer has the key')
  const { object } = await store.read(`${base}/log/1`)
  t.equal(object?.body.toString('latin1', 0, winner.nonce.length), winner.nonce)
  const expected: [string, Buffer][] = [[`${base}/log/1`, object?.body ?? Buffer.alloc(0)]]
  if (size !== undefined) expected.push([`${base}/object`, winner.bytes])
  t.same(
    await keysOf(store, `${base}/`),
    expected.map(([key]) => key),
  )
  return expected
}

for (const [what, open] of Object.entries(STAGES)) {
  test(`several writers of one key: ${what}`, async t => {
    const stage = await open(t)
    const expected: [string, Buffer][] = []
    for (const [way, size] of Object.entries(WAYS)) {
      for (const [faults, fault] of Object.entries(FAULTS)) {
        if (fault !== undefined && stage.fault === undefined) continue
        const counts = new Map<string, number>()
        stage.fault?.(({ operation }) => {
          if (!FAULTED.includes(operation)) return undefined
          const count = (counts.get(operation) ?? 0) + 1
          counts.set(operation, count)
          return count <= FAULTS_MAX ? fault : undefined
        })
        const base = `p/${expected.length}`
        await t.test(`by ${way}, with ${faults}`, async t => {
          expected.push(...(await race(t, stage, base, size)))
        })
      }
    }
    stage.fault?.()
    await stage.collectGarbage()
    for (const [key, bytes] of expected) {
      const object = await stage.stores[0]?.read(key)
      t.ok(object?.object?.body.equals(bytes), `${key} stays unchanged`)
    }
  })
}
