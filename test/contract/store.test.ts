/** What every store promises, shown on a directory, on a real S3 server and on a strict small one. */
import { randomUUID } from 'node:crypto'
import { PassThrough, Readable } from 'node:stream'
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3'
import { type Test, test } from 'tap'
import { type ObjectStore, openStore } from '../../src/store/store.ts'
import { configOf, liveBufferBytes, range, temporaryDirectory } from '../helper.ts'
import { startS3Server } from '../services/s3-server.ts'
import { until } from '../services/wait.ts'
import {
  bodyOf,
  chunksOf,
  filesBelow,
  getBytes,
  keysOf,
  openUploads,
  putText,
  setEnvironment,
} from '../store-helper.ts'

const WAIT_MS_MAX = 30_000
const MIB = 1024 * 1024
/** The least that S3 takes as a part. */
const PART_BYTES = 5 * MIB

interface OpenedStore {
  readonly store: ObjectStore
  /** How much is there that is no object: parts, temporary files. */
  leftovers(): Promise<number>
}

interface Kind {
  readonly name: string
  /** Its objects are in this process, and so is their memory. */
  readonly isHere?: boolean
  open(t: Test): Promise<OpenedStore>
}

async function openDirectory(t: Test): Promise<OpenedStore> {
  const path = temporaryDirectory(t)
  const store = await openStore(configOf({ ARCHIVE_URL: path }))
  const leftovers = async () => filesBelow(path).length - (await keysOf(store)).length
  return { store, leftovers }
}

/** A bucket of its own on the server that the environment names. */
async function openBucket(t: Test): Promise<OpenedStore> {
  const bucket = `test-${randomUUID()}`
  const client = new S3Client({ forcePathStyle: true })
  t.teardown(() => client.destroy())
  await client.send(new CreateBucketCommand({ Bucket: bucket }))
  const store = await openStore(configOf({ ARCHIVE_URL: `s3://${bucket}/p`, S3_FORCE_PATH_STYLE: 'true' }))
  t.teardown(() => store.close())
  return { store, leftovers: () => openUploads(t, bucket) }
}

const KINDS: readonly Kind[] = [
  { name: 'a directory', open: openDirectory },
  {
    name: 'S3',
    open: async t => {
      if (process.env.TEST_S3_ENDPOINT === undefined) {
        throw new Error('TEST_S3_ENDPOINT is not set: run this test with test/services/run.ts')
      }
      return openBucket(t)
    },
  },
  {
    name: 'a strict S3',
    isHere: true,
    open: async t => {
      const server = await startS3Server()
      t.teardown(() => server.close())
      setEnvironment(t, server.env())
      return openBucket(t)
    },
  },
]

for (const { name, open, isHere = false } of KINDS) {
  test(name, async t => {
    t.test('works from the start, and says what it is', async t => {
      const { store } = await open(t)
      await store.check()
      t.match(store.description, name === 'a directory' ? /^directory \// : /^S3, s3:\/\/test-.+\/p$/)
    })

    t.test('objects come out as they went in, whatever their size', async t => {
      const { store } = await open(t)
      const sizes = [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 12 * MIB]
      for (const size of sizes) {
        t.equal(await store.put(`p/size-${size}`, bodyOf(size)), size, 'and says how large it is')
        const bytes = await getBytes(store, `p/size-${size}`)
        t.ok(bytes.equals(Buffer.concat([...chunksOf(size)])), `${size} bytes`)
      }
      t.equal((await keysOf(store)).length, sizes.length)
    })

    t.test('an object that comes slowly is there when it is whole, and not before', async t => {
      const { store, leftovers } = await open(t)
      const body = new PassThrough()
      const stored = store.put('p/slow', body)
      let written = 0
      for (const chunk of chunksOf(11 * MIB)) {
        written += chunk.length
        if (!body.write(chunk)) await new Promise(resolve => body.once('drain', resolve))
        if (written > 6 * MIB && written - chunk.length <= 6 * MIB) {
          await until('a part is on its way', WAIT_MS_MAX, async () => (await leftovers()) > 0)
          t.same(await keysOf(store), [])
          await t.rejects(store.get('p/slow'), { code: 'FRQ_OBJECT_NOT_FOUND' })
        }
      }
      body.end()
      await stored
      t.same(await keysOf(store), ['p/slow'])
      t.equal((await getBytes(store, 'p/slow')).length, 11 * MIB)
    })

    t.test('many objects at once do not get in their way', async t => {
      const { store } = await open(t)
      await Promise.all(range(20).map(i => putText(store, `p/${i}`, `text ${i}`)))
      const texts = await Promise.all(range(20).map(async i => (await getBytes(store, `p/${i}`)).toString()))
      t.same(
        texts,
        range(20).map(i => `text ${i}`),
      )
    })

    for (const [when, bytes] of [
      ['before its first byte', 0],
      ['within its first part', MIB],
      ['after its first part', 8 * MIB],
    ] as const) {
      for (const [how, error] of [
        ['with an error', new Error('given up')],
        ['without one', undefined],
      ] as const) {
        t.test(`a body that is destroyed ${when}, ${how}, leaves nothing behind`, async t => {
          const { store, leftovers } = await open(t)
          const body = new PassThrough()
          const rejected = t.rejects(store.put('p/given-up', body))
          for (const chunk of chunksOf(bytes)) {
            if (!body.write(chunk)) await new Promise(resolve => body.once('drain', resolve))
          }
          body.destroy(error)
          await rejected
          t.same(await keysOf(store), [])
          await until('nothing is left', WAIT_MS_MAX, async () => (await leftovers()) === 0)
          await store.check()
        })
      }
    }

    t.test('a key that is not there is not found', async t => {
      const { store } = await open(t)
      await putText(store, 'p/there', '')
      for (const key of ['p/other', 'p', 'p/there/below', 'P/there']) {
        await t.rejects(store.get(key), { code: 'FRQ_OBJECT_NOT_FOUND', statusCode: 404 }, key)
      }
    })

    t.test('keys are listed in the order of their bytes, by prefix', async t => {
      const { store } = await open(t)
      const keys = [
        'p/dt=2026-11-23/hour=23/batch_9',
        'p/dt=2026-11-24/hour=1/batch_1',
        'p/dt=2026-11-24/hour=10/batch_0',
        'p/dt=2026-11-24/hour=10/batch_1',
        'p/dt=2026-11-24/hour=10/batch_1.gz',
        'p/dt=2026-11-24/hour=11-a/batch',
        'p/dt=2026-11-24/hour=11/batch',
        'p/dt=2026-11-24/hour=110/batch',
        'p/z',
        'p/\uff5e',
        'p/\u{1f600}',
        'q',
      ]
      for (const key of keys.toReversed()) await putText(store, key, key)
      t.same(await keysOf(store), keys)
      t.same(await keysOf(store, 'p/dt=2026-11-24/'), keys.slice(1, 8))
      t.same(await keysOf(store, 'p/dt=2026-11-24/hour=1'), keys.slice(1, 8))
      t.same(await keysOf(store, 'p/dt=2026-11-24/hour=10/batch_1'), keys.slice(3, 5))
      t.same(await keysOf(store, 'p/dt=2026-11-24/hour=10/'), keys.slice(2, 5))
      t.same(await keysOf(store, 'q'), ['q'])
      t.same(await keysOf(store, 'nothing/'), [])
      t.same(await keysOf(store, 'p/dt=2027'), [])
    })

    t.test('a key may hold odd characters', async t => {
      const { store } = await open(t)
      const keys = [
        'p/a b+c',
        'p/50%',
        'p/%41',
        'p/?#&=;,@:$!~',
        'p/*<>|"\'',
        'p/back\\slash',
        'p/..a/b..',
        'p/.hidden',
        'p/é日\u{1f600}',
        'p/e\u0301',
        `p/${'long'.repeat(50)}`,
      ]
      for (const key of keys) await putText(store, key, key)
      t.same((await keysOf(store)).toSorted(), keys.toSorted())
      for (const key of keys) t.equal((await getBytes(store, key)).toString(), key)
    })

    if (isHere) return
    t.test('a large body is not held in memory', async t => {
      const { store } = await open(t)
      const before = liveBufferBytes()
      const held: number[] = []
      function* watchedChunks(): Generator<Buffer> {
        let bytes = 0
        for (const chunk of chunksOf(128 * MIB)) {
          if (Math.floor((bytes + chunk.length) / (8 * MIB)) > held.length)
            held.push(liveBufferBytes() - before)
          bytes += chunk.length
          yield chunk
        }
      }
      await store.put('p/large', Readable.from(watchedChunks(), { objectMode: false }))
      const most = Math.round(Math.max(...held) / MIB)
      t.ok(held.length === 16 && most < 48, `${most} MiB of 128`)
    })
  })
}
