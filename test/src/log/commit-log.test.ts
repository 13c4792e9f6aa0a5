/** All writers have one order of records, even if requests fail or writers die. */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Test, test } from 'tap'
import { idDigest } from '../../../src/event/message-id.ts'
import type { ObjectStore } from '../../../src/store/store.ts'
import { storeWith } from '../../helpers/archive-by-hand.ts'
import { range, temporaryDirectory } from '../../helpers/helper.ts'
import {
  archive,
  archivedIds,
  assembleWriter,
  batchOf,
  EMPTY,
  openServer,
  openWriter,
  PLACES,
  PREFIX,
  type Writer,
} from '../../helpers/log-helper.ts'
import type { S3RequestInfo } from '../../services/s3-server.ts'

const RECORD = `${PREFIX}/_frequency/log/`
const isRecord = ({ operation, key }: S3RequestInfo) => operation === 'PutObject' && key.startsWith(RECORD)

async function eachOnce(t: Test, writer: Writer, ids: readonly string[]): Promise<void> {
  t.same((await archivedIds(writer.store)).toSorted(), ids.toSorted())
}

for (const { name, open } of PLACES) {
  test(name, async t => {
    t.test('concurrent writers archive each id once, in one order', async t => {
      const place = await open(t)
      const writers = await Promise.all(range(4).map(() => openWriter(t, place)))
      const ids = range(40).map(n => `id-${n}`)
      await Promise.all(
        writers.map(async (writer, w) => {
          for (const n of range(10)) {
            const from = (n * 4 + w * 7) % 36
            await archive(writer, ids.slice(from, from + 5))
          }
        }),
      )
      await archive(writers[0] as Writer, ids)
      await eachOnce(t, writers[0] as Writer, ids)
      for (const writer of writers) await writer.commitLog.follow()
      const orders = writers.map(writer => writer.applied.map(({ record }) => record.hash))
      for (const order of orders) t.same(order, orders[0], 'all applied the same records')
      const own = writers.flatMap(({ applied }) => applied.filter(each => each.isOwn))
      t.equal(own.length, orders[0]?.length, 'each record belongs to one writer')
    })

    t.test(
      'the draft is made again when another writer was faster, after that record was applied',
      async t => {
        const place = await open(t)
        const [a, b] = [await openWriter(t, place), await openWriter(t, place)]
        await b.commitLog.follow()
        await archive(a, ['x', 'y'])
        t.notOk(b.index.has(idDigest('x')))
        const asked: boolean[] = []
        const record = await b.commitLog.append(async () => {
          asked.push(b.index.has(idDigest('x')))
          return asked.at(-1) ? undefined : { ...EMPTY, batches: [batchOf(['x'])] }
        })
        t.same(asked, [false, true])
        t.equal(record, undefined, 'nothing was left to append')
        await eachOnce(t, a, ['x', 'y'])
      },
    )

    t.test('an index on disk is continued, and an empty one is filled from the log', async t => {
      const place = await open(t)
      const dataDir = temporaryDirectory(t)
      const first = await openWriter(t, place, { dataDir })
      await archive(first, ['a', 'b'])
      await first.index.close()
      const second = await openWriter(t, place, { dataDir })
      await archive(second, ['b', 'c'])
      const third = await openWriter(t, place)
      await archive(third, ['a', 'b', 'c', 'd'])
      await eachOnce(t, third, ['a', 'b', 'c', 'd'])
    })

    t.test('an index of another archive is reset', async t => {
      const [here, there] = [await open(t), await open(t)]
      const dataDir = temporaryDirectory(t)
      const before = await openWriter(t, there, { dataDir })
      for (const n of range(5)) await archive(before, [`${n}`])
      await before.index.close()
      const writer = await openWriter(t, here, { dataDir })
      await archive(writer, ['1', '2'])
      await eachOnce(t, writer, ['1', '2'])
    })

    t.test('an archive with objects but no log is refused with a remedy', async t => {
      const place = await open(t)
      const writer = await openWriter(t, place)
      await writer.store.create(`${PREFIX}/dt=2026-11-27/hour=07/batch_1.ndjson`, Buffer.from('{}\n'))
      await t.rejects(archive(writer, ['a']), { code: 'FRQ_LOG_REFUSED', message: /"frequency log build"/ })
    })

    t.test('a damaged record stops every reader with its number, until it is repaired', async t => {
      const place = await open(t)
      const [a, b] = [await openWriter(t, place), await openWriter(t, place)]
      await archive(a, ['x'])
      const key = a.keys.record(1)
      const { object } = await a.store.read(key)
      const bytes = object?.body as Buffer
      await a.store.replace(key, bytes.subarray(0, 100))
      await t.rejects(archive(b, ['y']), { code: 'FRQ_LOG_DAMAGED', message: /log record 1 cannot be used/ })
      await a.store.replace(key, bytes)
      await archive(b, ['x', 'y'])
      await eachOnce(t, b, ['x', 'y'])
    })

    t.test('a log without its last records is refused', async t => {
      const place = await open(t)
      const a = await openWriter(t, place)
      for (const n of range(3)) await archive(a, [`${n}`])
      await a.store.replace(a.keys.head, Buffer.from('3'))
      await a.store.remove([a.keys.record(2), a.keys.record(3)])
      const b = await openWriter(t, place)
      await t.rejects(archive(b, ['4']), {
        code: 'FRQ_LOG_REFUSED',
        message: /ends at record 1, but record 3 existed/,
      })
    })

    t.test('a record with another predecessor is refused', async t => {
      const place = await open(t)
      const a = await openWriter(t, place)
      for (const n of range(3)) await archive(a, [`${n}`])
      const { object } = await a.store.read(a.keys.record(2))
      await a.store.remove([a.keys.head, ...[1, 2, 3].map(n => a.keys.record(n))])
      const b = await openWriter(t, place)
      await archive(b, ['5'])
      await a.store.create(a.keys.record(2), object?.body as Buffer)
      const c = await openWriter(t, place)
      await t.rejects(c.commitLog.follow(), {
        message: /log record 2 cannot be used: it names another predecessor/,
      })
    })

    t.test('after a restore, events from after the backup are archived again, and none twice', async t => {
      const place = await open(t)
      const a = await openWriter(t, place)
      await archive(a, ['before'])
      const object = (await archive(a, ['after']))?.batches[0]?.key as string
      await a.store.remove([a.keys.record(2), object])
      const b = assembleWriter(t, a.store, a.index)
      await archive(b, ['before', 'after'])
      await eachOnce(t, b, ['before', 'after'])
    })
  })
}

test('a create without an answer is recognised as its own, and is not done twice', async t => {
  for (const fault of [
    { after: true, reset: true },
    { reset: true },
    { status: 503 },
    { status: 500, after: true },
  ]) {
    const place = await openServer(t)
    const writer = await openWriter(t, place)
    await writer.commitLog.follow()
    let times = 0
    place.server.fault(request => (isRecord(request) && times++ < 6 ? fault : undefined))
    const record = await archive(writer, ['a', 'b'])
    t.equal(record?.number, 1)
    await archive(writer, ['b', 'c'])
    await eachOnce(t, writer, ['a', 'b', 'c'])
    t.equal(writer.commitLog.position?.number, 2)
  }
})

test('a create that takes effect after its writer has stopped is still one record', async t => {
  const place = await openServer(t)
  const [a, b] = [await openWriter(t, place), await openWriter(t, place)]
  await a.commitLog.follow()
  await b.commitLog.follow()
  let isFirst = true
  place.server.fault(request => {
    if (!isRecord(request) || !isFirst) return undefined
    isFirst = false
    return { reset: true, lateMs: 1_500 }
  })
  // Its first request arrives late. The retry has the same bytes.
  const [first] = await Promise.all([archive(a, ['a']), sleep(100).then(() => archive(b, ['a', 'b']))])
  await sleep(2_000)
  await a.commitLog.follow()
  await eachOnce(t, b, ['a', 'b'])
  t.ok(first === undefined || first.number >= 1)
})

test('while a create is in doubt, its draft is not made again', async t => {
  const place = await openServer(t)
  const writer = await openWriter(t, place)
  await writer.commitLog.follow()
  place.server.fault(({ key }) => (key.startsWith(RECORD) ? { status: 500 } : undefined))
  let drafts = 0
  const appending = writer.commitLog.append(async () => {
    drafts++
    return { ...EMPTY, batches: [batchOf(['a'])] }
  })
  while (writer.calls.troubles.length < 2) await sleep(50)
  t.equal(drafts, 1)
  place.server.fault()
  t.equal((await appending)?.number, 1)
})

test('a slow writer writes the waiting hint, and writers that commit read it', async t => {
  const place = await openServer(t)
  const fast = await openWriter(t, place)
  const store = await place.openStore()
  const slow = await openWriter(t, { ...place, openStore: async () => delayed(store, 400) })
  await slow.commitLog.follow()
  let isHeard = false
  const racing = (async () => {
    for (let n = 0; !isHeard; n++) {
      await archive(fast, [`fast-${n}`])
      await sleep(50)
      isHeard = fast.calls.waiting.length > 0
    }
  })()
  const record = archive(slow, ['slow'])
  await racing
  t.same(fast.calls.waiting, [slow.name])
  // The writer that has read the hint lets the other go first.
  t.not(await record, undefined)
})

/** The same store with a long round trip. */
function delayed(store: ObjectStore, ms: number): ObjectStore {
  return storeWith(store, {
    create: async (key, body) => {
      await sleep(ms)
      return store.create(key, body)
    },
    read: async (key, range) => {
      await sleep(ms)
      return store.read(key, range)
    },
  })
}
