/** Each batch in a record becomes an object, even if its writer has died. */
import { Readable } from 'node:stream'
import { type Test, test } from 'tap'
import { LogRepair } from '../../../src/cli/log/repair-log.ts'
import { idDigest } from '../../../src/event/message-id.ts'
import type { LogRecord } from '../../../src/log/log-record.ts'
import type { UnsettledRecord } from '../../../src/log/settlement.ts'
import { temporaryDirectory } from '../../helpers/helper.ts'
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
import { until } from '../../services/wait.ts'

const WAIT_MS_MAX = 20_000

/** A writer that has appended its record, and died before it settled it. */
async function appendAndDie(writer: Writer, ids: readonly string[], staged?: string): Promise<string> {
  const batch = batchOf(ids, staged === undefined ? {} : { staged })
  if (staged !== undefined) {
    const body = batchOf(ids, { key: batch.key }).body as Buffer
    await writer.store.put(staged, Readable.from([body], { objectMode: false }))
  }
  await writer.commitLog.append(async () => ({ ...EMPTY, batches: [batch] }))
  writer.stop()
  return batch.key
}

/** Resolves when the record with the id is settled. Waits like the delivery of a duplicate. */
async function settled(t: Test, writer: Writer, id: string): Promise<number> {
  const unsettled = writer.settlement.find(idDigest(id), 0)
  if (unsettled === undefined) throw new Error(`${id} is in no unsettled record`)
  let isSettled = false
  const startedAt = performance.now()
  writer.settlement.whenSettled(unsettled, () => {
    isSettled = true
  })
  await until('it is settled', WAIT_MS_MAX, () => isSettled || writer.calls.voided > 0)
  t.equal(isSettled, writer.calls.voided === 0)
  return performance.now() - startedAt
}

for (const { name, open } of PLACES) {
  test(name, async t => {
    for (const kind of ['inline', 'staged'] as const) {
      const staged = kind === 'staged' ? `${PREFIX}/_frequency/staged/1` : undefined

      t.test(`${kind}: a record that its writer left is settled by another that waits for it`, async t => {
        const place = await open(t)
        const [a, b] = [await openWriter(t, place), await openWriter(t, place)]
        const key = await appendAndDie(a, ['x', 'y'], staged)
        t.same(await archivedIds(b.store), [], 'it is not an object yet')
        await b.commitLog.follow()
        const ms = await settled(t, b, 'y')
        t.ok(ms > 3_000, 'its writer had time to settle it')
        t.same((await archivedIds(b.store)).toSorted(), ['x', 'y'])
        t.not((await b.store.read(key)).object, undefined)
        if (staged !== undefined)
          t.equal((await b.store.read(staged)).object, undefined, 'no staged object is left')
      })

      t.test(`${kind}: an existing object is read to its end, and kept`, async t => {
        const place = await open(t)
        const [a, b] = [await openWriter(t, place), await openWriter(t, place)]
        const batch = batchOf(['x'])
        const key = await appendAndDie(a, ['x'], staged)
        if (staged === undefined) await a.store.create(key, batch.body as Buffer)
        else await a.store.move(staged, key)
        await b.commitLog.follow()
        await settled(t, b, 'x')
        t.same(await archivedIds(b.store), ['x'])
      })
    }

    t.test(
      'a batch whose staged object is gone becomes void once, and its events are archived again',
      async t => {
        const place = await open(t)
        const [a, b, c] = [await openWriter(t, place), await openWriter(t, place), await openWriter(t, place)]
        const staged = `${PREFIX}/_frequency/staged/1`
        await appendAndDie(a, ['x', 'y'], staged)
        await a.store.remove([staged])
        await Promise.all([b.commitLog.follow(), c.commitLog.follow()])
        await Promise.all([settled(t, b, 'x'), settled(t, c, 'y')])
        await Promise.all([b.commitLog.follow(), c.commitLog.follow()])
        t.notOk(b.index.has(idDigest('x')) || c.index.has(idDigest('y')), 'the ids are removed')
        await archive(b, ['x'])
        await archive(c, ['x', 'y'])
        t.same((await archivedIds(b.store)).toSorted(), ['x', 'y'])
        const voids = b.applied.flatMap(({ record }) => record.voids)
        t.same(voids, [{ number: 1, batch: 0 }], 'one record makes it void')
        const late = await openWriter(t, place)
        await archive(late, ['x', 'y', 'z'])
        t.same((await archivedIds(b.store)).toSorted(), ['x', 'y', 'z'], 'a new index knows it too')
      },
    )

    t.test('the next record of a writer tells that its earlier records are settled', async t => {
      const place = await open(t)
      const [a, b] = [await openWriter(t, place), await openWriter(t, place)]
      await archive(a, ['x'])
      await b.commitLog.follow()
      t.not(b.settlement.find(idDigest('x'), 0), undefined)
      await archive(a, ['y'])
      await b.commitLog.follow()
      t.equal(b.settlement.find(idDigest('x'), 0), undefined, 'so no other settles it')
      t.not(b.settlement.find(idDigest('y'), 0), undefined)
    })
  })
}

test('a waiter of a record is called, even if the record is applied again', async t => {
  const place = await openServer(t)
  const [a, b] = [await openWriter(t, place), await openWriter(t, place)]
  await appendAndDie(a, ['x'])
  await b.commitLog.follow()
  const called: number[] = []
  const wait = (n: number) =>
    b.settlement.whenSettled(b.settlement.find(idDigest('x'), 0) as UnsettledRecord, () => called.push(n))
  wait(1)
  // As happens if the ids of a void batch cannot be read.
  await b.index.reset(0)
  await t.rejects(
    b.commitLog.append(async () => {
      throw new Error('anew')
    }),
  )
  await b.commitLog.follow()
  t.equal(b.index.position?.number, 1)
  wait(2)
  await until('both are called', WAIT_MS_MAX, () => called.length === 2)
  t.same(called, [1, 2])
})

test('a start reads only the records that are not known to be settled', async t => {
  const place = await openServer(t)
  const dataDir = temporaryDirectory(t)
  const [died, a] = [await openWriter(t, place), await openWriter(t, place)]
  await appendAndDie(died, ['x'])
  const before = await openWriter(t, place, { dataDir })
  for (let n = 1; n <= 30; n++) await archive(a, [`a${n}`])
  await before.commitLog.follow()
  await before.index.close()
  const { requests } = place.server
  const from = requests.length
  const after = await openWriter(t, place, { dataDir })
  await after.commitLog.follow()
  const read = requests
    .slice(from)
    .filter(({ operation, key }) => operation === 'GetObject' && key.includes('/log/'))
    .map(({ key }) => Number(key.slice(key.lastIndexOf('/') + 1)))
  t.strictSame(
    [...new Set(read)].toSorted((one, other) => one - other),
    [0, 1, 30, 31, 32],
    'record 0, the one that was left, the last two of a writer, and the next number',
  )
  await settled(t, after, 'x')
  t.equal((await archivedIds(after.store)).filter(id => id === 'x').length, 1)
})

test('an object that is cut short is stored again', async t => {
  const place = await openServer(t)
  const [a, b] = [await openWriter(t, place), await openWriter(t, place)]
  const key = await appendAndDie(a, ['x', 'y'])
  await b.store.create(key, Buffer.from('{"messageId":"x'))
  await b.commitLog.follow()
  await settled(t, b, 'x')
  t.same((await archivedIds(b.store)).toSorted(), ['x', 'y'])
})

async function garble({ store, keys }: Writer, number: number): Promise<void> {
  const { object } = await store.read(keys.record(number))
  const bytes = Buffer.from(object?.body as Buffer)
  bytes[bytes.length - 5] = 0x21
  await store.replace(keys.record(number), bytes)
}

test('damaged bytes in a record do not become an object, and their events are archived again', async t => {
  const place = await openServer(t)
  const [a, b] = [await openWriter(t, place), await openWriter(t, place)]
  await appendAndDie(a, ['x', 'y'])
  await garble(a, 1)
  await b.commitLog.follow()
  await settled(t, b, 'x')
  t.same(await archivedIds(b.store), [])
  await archive(b, ['x', 'y'])
  t.same((await archivedIds(b.store)).toSorted(), ['x', 'y'])
})

/** A batch whose bytes are damaged in its record. Its writer `a` still has them; `b` has applied the record. */
async function garbledBatch(t: Test) {
  const place = await openServer(t)
  const [a, b] = [await openWriter(t, place), await openWriter(t, place)]
  const batch = batchOf(['x', 'y'])
  const record = await a.commitLog.append(async () => ({ ...EMPTY, batches: [batch] }))
  await garble(a, 1)
  await b.commitLog.follow()
  return { a, b, settleOwn: () => a.settlement.settleOwn(record as LogRecord, [batch.body]) }
}

test('a writer that slept while its batch became void does not store it', async t => {
  const { a, b, settleOwn } = await garbledBatch(t)
  await settled(t, b, 'x')
  await archive(b, ['x', 'y'])
  t.equal(await settleOwn(), false)
  t.same((await archivedIds(b.store)).toSorted(), ['x', 'y'])
  await a.commitLog.follow()
  t.ok(a.index.has(idDigest('x')), 'it has the id from the valid record')
})

test('a batch with damaged bytes is not void if its writer has just stored it', async t => {
  const { b, settleOwn } = await garbledBatch(t)
  t.equal(await settleOwn(), true)
  await settled(t, b, 'x')
  t.same((await archivedIds(b.store)).toSorted(), ['x', 'y'])
})

test('a void applies to the record before its repair, not to batches that the repair named', async t => {
  const place = await openServer(t)
  const [a, b] = [await openWriter(t, place), await openWriter(t, place)]
  const batches = [batchOf(['x']), batchOf(['y'])]
  await a.commitLog.append(async () => ({ ...EMPTY, batches }))
  await a.store.create(batches[1]?.key as string, batches[1]?.body as Buffer)
  a.stop()
  await b.commitLog.follow()
  await b.store.replace(b.keys.record(1), Buffer.from('FRQ'))
  b.settlement.whenSettled(b.settlement.find(idDigest('x'), 0) as UnsettledRecord, () => t.fail('it is void'))
  const isSaid = async () => (await b.store.read(b.keys.record(2))).object !== undefined
  await until('a record makes it void', WAIT_MS_MAX, isSaid)
  await t.rejects(b.commitLog.follow(), { message: /record 1 cannot be used/ })

  const repair = new LogRepair(b.store, PREFIX, 1)
  const { batches: named } = await repair.run(await repair.plan())
  t.same(
    named.map(({ key }) => key),
    [batches[1]?.key],
  )
  await t.rejects(b.commitLog.follow(), { message: /is rebuilt/ })
  await archive(b, ['x', 'y'])
  t.same((await archivedIds(b.store)).toSorted(), ['x', 'y'])
  const newWriter = await openWriter(t, place)
  await t.rejects(newWriter.commitLog.follow(), { message: /is rebuilt/ }, 'once')
  await archive(newWriter, ['x', 'y'])
  await newWriter.folder.fold()
  const late = await openWriter(t, place)
  await archive(late, ['x', 'y', 'z'])
  t.same((await archivedIds(b.store)).toSorted(), ['x', 'y', 'z'], 'also for a new index')
})

test('voids are kept over a restart until they are folded', async t => {
  const place = await openServer(t)
  const a = await openWriter(t, place)
  const staged = `${PREFIX}/_frequency/staged/1`
  await a.commitLog.append(async () => ({ ...EMPTY, batches: [batchOf(['x'], { staged }), batchOf(['y'])] }))
  await settled(t, a, 'x')
  const again = assembleWriter(t, a.store, a.index)
  await archive(again, ['x', 'z'])
  t.ok(again.settlement.isVoid({ number: 1, batch: 0 }))
  t.notOk(again.settlement.isVoid({ number: 1, batch: 1 }))
  await again.folder.fold()
  const late = await openWriter(t, place)
  await archive(late, ['x', 'y', 'z'])
  t.same((await archivedIds(a.store)).toSorted(), ['x', 'y', 'z'])
  await archive(again, ['more'])
  t.same(again.index.position?.voids, [], 'a folded void is dropped')
})

test('a paused writer does not bring back the objects of folded records that have changed since', async t => {
  const place = await openServer(t)
  const [paused, other] = [await openWriter(t, place), await openWriter(t, place)]
  const { store } = other
  const staged = `${PREFIX}/_frequency/staged/1`
  const batches = [batchOf(['x']), batchOf(['y']), batchOf(['z'], { staged })]
  const bodies = batches.map(({ body }) => body)
  await store.put(staged, Readable.from([batchOf(['z']).body as Buffer], { objectMode: false }))
  const records: LogRecord[] = []
  for (const batch of batches) {
    const record = await paused.commitLog.append(async () => ({ ...EMPTY, batches: [batch] }))
    records.push(record as LogRecord)
  }
  await other.commitLog.follow()
  t.not(await other.folder.fold(), undefined)
  for (const { key } of batches) await store.replace(key, Buffer.from('changed'))
  const second = await store.read(other.keys.record(2))
  const head = records[1]?.headBytes as number
  await store.replace(other.keys.record(2), Buffer.from(second.object?.body.subarray(0, head) as Buffer))

  for (const [n, record] of records.entries())
    t.ok(await paused.settlement.settleOwn(record, [bodies[n]]), `record ${n + 1} counts as settled`)
  for (const { key } of batches) t.equal((await store.read(key)).object?.body.toString(), 'changed')
  await other.commitLog.follow()
  t.same([other.commitLog.position?.number, paused.calls.voided], [3, 0], 'and none becomes void')
})
