/** What a record names becomes an object, whoever has to see to it. */
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

/** A writer that has appended its record, and is gone. */
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

/** Resolves when the record that has the id is settled, as a delivery that has it waits. */
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

      t.test(`${kind}: what a writer has left is settled by whoever waits for it`, async t => {
        const place = await open(t)
        const [a, b] = [await openWriter(t, place), await openWriter(t, place)]
        const key = await appendAndDie(a, ['x', 'y'], staged)
        t.same(await archivedIds(b.store), [], 'it is no object yet')
        await b.commitLog.follow()
        const ms = await settled(t, b, 'y')
        t.ok(ms > 3_000, 'its writer has the time to do so itself')
        t.same((await archivedIds(b.store)).toSorted(), ['x', 'y'])
        t.not((await b.store.read(key)).object, undefined)
        if (staged !== undefined) t.equal((await b.store.read(staged)).object, undefined, 'nothing is left')
      })

      t.test(`${kind}: an object that is there already is read to its end, and kept`, async t => {
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
      'a staged object that is gone makes its batch void, once, and its events are archived again',
      async t => {
        const place = await open(t)
        const [a, b, c] = [await openWriter(t, place), await openWriter(t, place), await openWriter(t, place)]
        const staged = `${PREFIX}/_frequency/staged/1`
        await appendAndDie(a, ['x', 'y'], staged)
        await a.store.remove([staged])
        await Promise.all([b.commitLog.follow(), c.commitLog.follow()])
        await Promise.all([settled(t, b, 'x'), settled(t, c, 'y')])
        await Promise.all([b.commitLog.follow(), c.commitLog.follow()])
        t.notOk(b.index.has(idDigest('x')) || c.index.has(idDigest('y')), 'they are not known any more')
        await archive(b, ['x'])
        await archive(c, ['x', 'y'])
        t.same((await archivedIds(b.store)).toSorted(), ['x', 'y'])
        const voids = b.applied.flatMap(({ record }) => record.voids)
        t.same(voids, [{ number: 1, batch: 0 }], 'it is said once')
        const late = await openWriter(t, place)
        await archive(late, ['x', 'y', 'z'])
        t.same((await archivedIds(b.store)).toSorted(), ['x', 'y', 'z'], 'a newcomer knows it too')
      },
    )

    t.test('a writer says in its next record that it has settled what was before', async t => {
      const place = await open(t)
      const [a, b] = [await openWriter(t, place), await openWriter(t, place)]
      await archive(a, ['x'])
      await b.commitLog.follow()
      t.not(b.settlement.find(idDigest('x'), 0), undefined)
      await archive(a, ['y'])
      await b.commitLog.follow()
      t.equal(b.settlement.find(idDigest('x'), 0), undefined, 'so nobody else looks')
      t.not(b.settlement.find(idDigest('y'), 0), undefined)
    })
  })
}

test('who waits for a record is called, also where it is applied once more', async t => {
  const place = await openServer(t)
  const [a, b] = [await openWriter(t, place), await openWriter(t, place)]
  await appendAndDie(a, ['x'])
  await b.commitLog.follow()
  const called: number[] = []
  const wait = (n: number) =>
    b.settlement.whenSettled(b.settlement.find(idDigest('x'), 0) as UnsettledRecord, () => called.push(n))
  wait(1)
  // As where the ids of a void batch are not to be had.
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

test('a start reads only those records that are not known to be settled', async t => {
  const place = await openServer(t)
  const dataDir = temporaryDirectory(t)
  const [gone, a] = [await openWriter(t, place), await openWriter(t, place)]
  await appendAndDie(gone, ['x'])
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
    'the first of all, the one that was left, the last two of a writer, and a look for a new one',
  )
  await settled(t, after, 'x')
  t.equal((await archivedIds(after.store)).filter(id => id === 'x').length, 1)
})

test('an object at the place of another, cut short, is written again', async t => {
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

test('bytes in a record that are not what was written are no object, and their events are archived again', async t => {
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

/** A batch whose bytes are damaged in its record; its writer `a` has them still, and `b` knows the record. */
async function garbledBatch(t: Test) {
  const place = await openServer(t)
  const [a, b] = [await openWriter(t, place), await openWriter(t, place)]
  const batch = batchOf(['x', 'y'])
  const record = await a.commitLog.append(async () => ({ ...EMPTY, batches: [batch] }))
  await garble(a, 1)
  await b.commitLog.follow()
  return { a, b, settleOwn: () => a.settlement.settleOwn(record as LogRecord, [batch.body]) }
}

test('a writer that has slept through that does not store its batch any more', async t => {
  const { a, b, settleOwn } = await garbledBatch(t)
  await settled(t, b, 'x')
  await archive(b, ['x', 'y'])
  t.equal(await settleOwn(), false)
  t.same((await archivedIds(b.store)).toSorted(), ['x', 'y'])
  await a.commitLog.follow()
  t.ok(a.index.has(idDigest('x')), 'it knows them from the record that counts')
})

test('a batch that cannot be read any more and that its writer has just stored is not void', async t => {
  const { b, settleOwn } = await garbledBatch(t)
  t.equal(await settleOwn(), true)
  await settled(t, b, 'x')
  t.same((await archivedIds(b.store)).toSorted(), ['x', 'y'])
})

test('a void means a batch of the record as it was, and none that a repair has named', async t => {
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
  await until('it is said that it is void', WAIT_MS_MAX, isSaid)
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
  const newcomer = await openWriter(t, place)
  await t.rejects(newcomer.commitLog.follow(), { message: /is rebuilt/ }, 'once')
  await archive(newcomer, ['x', 'y'])
  await newcomer.folder.fold()
  const late = await openWriter(t, place)
  await archive(late, ['x', 'y', 'z'])
  t.same((await archivedIds(b.store)).toSorted(), ['x', 'y', 'z'], 'and so for those that come later')
})

test('what is void is known over a restart, as long as it is not folded', async t => {
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
  t.same(again.index.position?.voids, [], 'then it is of no interest any more')
})
