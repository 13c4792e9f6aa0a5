/** A new archiver reads less of a folded log, and no writer takes a folded number for a free one. */
import { Readable } from 'node:stream'
import { type Test, test } from 'tap'
import { idDigest } from '../../../src/event/message-id.ts'
import { BeyondWindow } from '../../../src/log/beyond-window.ts'
import { encodeRecord } from '../../../src/log/log-record.ts'
import type { UnsettledRecord } from '../../../src/log/settlement.ts'
import { range } from '../../helpers/helper.ts'
import {
  archive,
  archivedIds,
  assembleWriter,
  batchOf,
  DAY_MS,
  EMPTY,
  openServer,
  openWriter,
  PLACES,
  type Writer,
} from '../../helpers/log-helper.ts'
import { keysOf } from '../../helpers/store-helper.ts'
import type { S3Server } from '../../services/s3-server.ts'
import { until } from '../../services/wait.ts'

const WAIT_MS_MAX = 20_000
const HOUR_MS = 60 * 60 * 1000
const OLD = Date.parse('2020-05-05T05:00:00.000Z')

async function archiveEach(writer: Writer, ids: readonly string[]): Promise<void> {
  for (const id of ids) await archive(writer, [id])
}

function numbered(count: number, from = 0): string[] {
  return range(count).map(n => `id-${from + n}`)
}

async function recordsLeft({ store, keys }: Writer): Promise<number> {
  return (await keysOf(store, keys.records)).length
}

async function eachOnce(t: Test, writer: Writer, ids: readonly string[]): Promise<void> {
  t.same((await archivedIds(writer.store)).toSorted(), ids.toSorted())
}

function passTime(server: S3Server, ms: number): void {
  server.traits.clockShiftMs += ms
}

for (const { name, open } of PLACES) {
  test(name, async t => {
    t.test('a new index has the ids of folded and of later records', async t => {
      const place = await open(t)
      const a = await openWriter(t, place)
      await archiveEach(a, numbered(20))
      const manifest = await a.folder.fold()
      t.match(manifest, { generation: 1, from: 1, through: 20, total: { events: 20, objects: 20 } })
      await archiveEach(a, numbered(5, 20))
      t.match(await a.folder.fold(), {
        generation: 2,
        from: 21,
        through: 25,
        total: { events: 25, objects: 25 },
      })
      await archiveEach(a, numbered(5, 25))
      const b = await openWriter(t, place)
      await archive(b, numbered(31))
      await eachOnce(t, b, numbered(31))
    })

    t.test('records are folded once', async t => {
      const place = await open(t)
      const a = await openWriter(t, place)
      await archiveEach(a, numbered(3))
      t.not(await a.folder.fold(), undefined)
      t.equal(await a.folder.fold(), undefined)
    })

    t.test('of two concurrent folds one wins, and the other leaves no runs', async t => {
      const place = await open(t)
      const [a, b] = [await openWriter(t, place), await openWriter(t, place)]
      await archiveEach(a, numbered(10))
      await b.commitLog.follow()
      const manifests = await Promise.all([a.folder.fold(), b.folder.fold()])
      t.equal(manifests.filter(Boolean).length, 1)
      t.equal((await keysOf(a.store, a.keys.runs)).length, 2)
    })

    t.test('unsettled records are settled before they are folded', async t => {
      const place = await open(t)
      const [a, b] = [await openWriter(t, place), await openWriter(t, place)]
      await a.commitLog.append(async () => ({ ...EMPTY, batches: [batchOf(['x'])] }))
      a.stop()
      await b.commitLog.follow()
      await b.folder.fold()
      await eachOnce(t, b, ['x'])
    })

    t.test('an index whose position is folded continues from the manifests', async t => {
      const place = await open(t)
      const [a, b] = [await openWriter(t, place), await openWriter(t, place)]
      await archiveEach(b, numbered(3))
      await archiveEach(a, numbered(10))
      await a.folder.fold()
      await a.store.remove(range(10).map(n => a.keys.record(n + 1)))
      const again = assembleWriter(t, b.store, b.index)
      await archive(again, numbered(12))
      await eachOnce(t, again, numbered(12))
      t.equal(again.calls.synchronised, 1)
    })

    t.test('spans cover the forgotten records', async t => {
      const place = await open(t)
      const a = await openWriter(t, place)
      for (const n of range(3)) {
        const batch = batchOf([`old-${n}`], { receivedAt: OLD + n * HOUR_MS })
        await a.commitLog.append(async () => ({ ...EMPTY, batches: [batch] }))
      }
      await a.folder.fold()
      const index = { remembersFrom: 4 }
      const beyondWindow = new BeyondWindow({ ...a, index })
      t.ok(beyondWindow.isStale)
      await beyondWindow.refresh()
      t.ok(beyondWindow.covers(OLD) && beyondWindow.covers(OLD + HOUR_MS))
      t.notOk(beyondWindow.covers(OLD - DAY_MS) || beyondWindow.covers(Date.now()))
      const found: string[] = []
      for await (const { key } of beyondWindow.batchesAt(
        (first, last) => first <= OLD + HOUR_MS && OLD + HOUR_MS <= last,
        3,
      ))
        found.push(key)
      t.equal(found.length, 1)
    })

    t.test('a forgotten record is settled before its objects are searched', async t => {
      const place = await open(t)
      const [a, b] = [await openWriter(t, place), await openWriter(t, place)]
      const staged = range(2).map(n => a.keys.stagedObject(String(n)))
      const batches = staged.map((key, n) => batchOf([`old-${n}`], { receivedAt: OLD, staged: key }))
      await a.store.put(
        staged[0] as string,
        Readable.from(['{"messageId":"old-0"}\n'], { objectMode: false }),
      )
      await a.commitLog.append(async () => ({ ...EMPTY, batches }))
      await b.commitLog.append(async () => ({ ...EMPTY, voids: [{ number: 1, batch: 1 }] }))
      const beyondWindow = new BeyondWindow({ ...b, index: { remembersFrom: 2 } })
      await beyondWindow.refresh()
      const found: string[] = []
      for await (const { key } of beyondWindow.batchesAt(() => true, 1)) {
        found.push(key)
        t.not((await b.store.read(key)).object, undefined)
      }
      t.same(found, [batches[0]?.key], 'the void batch is left out')
    })
  })
}

test('records are deleted an hour after they were folded, by the store’s clock', async t => {
  const place = await openServer(t)
  const a = await openWriter(t, place)
  await archiveEach(a, numbered(10))
  await a.folder.fold()
  passTime(place.server, 59 * 60 * 1000)
  await a.folder.deleteFolded()
  t.equal(await recordsLeft(a), 11)
  passTime(place.server, 2 * 60 * 1000)
  await a.folder.deleteFolded()
  t.equal(await recordsLeft(a), 1, 'record 0 stays')
  const b = await openWriter(t, place)
  await archive(b, numbered(11))
  await eachOnce(t, b, numbered(11))
})

test('exactly the records of manifests that are old enough are deleted', async t => {
  const place = await openServer(t)
  const a = await openWriter(t, place)
  for (const n of range(5)) {
    await archiveEach(a, numbered(3, n * 3))
    await a.folder.fold()
    passTime(place.server, 25 * 60 * 1000)
  }
  // They are 125, 100, 75, 50 and 25 minutes old.
  await a.folder.deleteFolded()
  t.equal(await recordsLeft(a), 1 + 2 * 3)
  const b = await openWriter(t, place)
  await b.commitLog.follow()
  passTime(place.server, 15 * 60 * 1000)
  await b.folder.deleteFolded()
  t.equal(await recordsLeft(a), 1 + 3, 'another archiver continues')
  passTime(place.server, HOUR_MS)
  await a.folder.deleteFolded()
  t.equal(await recordsLeft(a), 1)
})

test('a fold is due after 500 records', async t => {
  const place = await openServer(t)
  const a = await openWriter(t, place)
  const append = async (count: number, events: number, from: number) => {
    for (const n of range(count)) {
      const ids = range(events).map(i => `many-${from + n}-${i}`)
      await a.commitLog.append(async () => ({ ...EMPTY, batches: [batchOf(ids)] }))
    }
  }
  // A fold that is due is done with a chance of one in four.
  const look = async () => {
    for (const _ of range(100)) await a.folder.foldIfDue()
  }
  await append(499, 1, 0)
  await look()
  t.equal(a.watermark.number, 0)
  await append(1, 1, 499)
  await look()
  t.match(a.watermark.manifest, { generation: 1, through: 500 })
  await append(499, 1, 500)
  await look()
  t.equal(a.watermark.number, 500)
})

test('a writer that slept while its next number was folded and deleted does not take the number for free', async t => {
  const place = await openServer(t)
  const [a, sleeper] = [await openWriter(t, place), await openWriter(t, place)]
  await archiveEach(sleeper, numbered(2))
  await archiveEach(a, numbered(10))
  await a.folder.fold()
  passTime(place.server, 2 * HOUR_MS)
  await a.folder.deleteFolded()
  t.equal(await recordsLeft(a), 1)
  await archive(sleeper, [...numbered(10), 'new'])
  await eachOnce(t, sleeper, [...numbered(10), 'new'])
  t.equal(sleeper.commitLog.position?.number, 11)
})

test('a writer that slept does not apply a record at a folded number', async t => {
  const place = await openServer(t)
  const [a, first, second] = [
    await openWriter(t, place),
    await openWriter(t, place),
    await openWriter(t, place),
  ]
  await archiveEach(first, numbered(2))
  await second.commitLog.follow()
  await archiveEach(a, numbered(10))
  await a.folder.fold()
  passTime(place.server, 2 * HOUR_MS)
  await a.folder.deleteFolded()
  // Another writer that slept has created this record, and died before it read the watermark.
  const junk = await first.store.read(first.keys.record(2))
  t.equal(junk.object, undefined)
  const { bytes } = junkAfter(second)
  await second.store.create(second.keys.record(3), bytes)
  await second.commitLog.follow()
  await archive(second, [...numbered(10), 'junk'])
  await eachOnce(t, second, [...numbered(10), 'junk'])
})

/** A record after the last one that this writer has applied. */
function junkAfter({ commitLog, name }: Writer) {
  const { log = '', number = 0, hash = '' } = commitLog.position ?? {}
  const rest = { nonce: 'junk', writer: name, roundTripMs: 0, digest: 2 }
  return encodeRecord({
    ...EMPTY,
    ...rest,
    batches: [batchOf(['junk'])],
    log,
    number: number + 1,
    previous: hash,
  })
}

test('a record that is appended during a fold is neither folded nor lost', async t => {
  const place = await openServer(t)
  const [a, b] = [await openWriter(t, place), await openWriter(t, place)]
  await archiveEach(a, numbered(3))
  await b.commitLog.append(async () => ({ ...EMPTY, batches: [batchOf(['left'])] }))
  b.stop()
  await a.commitLog.follow()
  const folding = a.folder.fold()
  await archiveEach(a, numbered(3, 10))
  const c = await openWriter(t, place)
  await c.commitLog.append(async () => ({ ...EMPTY, batches: [batchOf(['fresh'])] }))
  c.stop()
  await a.commitLog.follow()
  t.equal((await folding)?.through, 4)
  await a.folder.fold()
  await eachOnce(t, a, [...numbered(3), 'left', ...numbered(3, 10), 'fresh'])
})

test('an index that slept while a void was folded forgets the ids of the void batch', async t => {
  const place = await openServer(t)
  const [died, a, sleeper] = [
    await openWriter(t, place),
    await openWriter(t, place),
    await openWriter(t, place),
  ]
  const staged = `${a.keys.staged}1`
  await died.commitLog.append(async () => ({ ...EMPTY, batches: [batchOf(['x'], { staged })] }))
  died.stop()
  await sleeper.commitLog.follow()
  t.ok(sleeper.index.has(idDigest('x')))
  await a.commitLog.follow()
  t.match(await a.folder.fold(), { through: 1, voided: [], total: { events: 0 } })
  t.match(await a.folder.fold(), { through: 2, voided: [1] })
  passTime(place.server, 2 * HOUR_MS)
  await a.folder.deleteFolded()
  const unsettled = sleeper.settlement.recordOf(1) as UnsettledRecord
  let isSettled = false
  sleeper.settlement.whenSettled(unsettled, () => {
    isSettled = true
  })
  await until(
    'the waiter is called or the record is void',
    WAIT_MS_MAX,
    () => isSettled || sleeper.calls.voided > 0,
  )
  t.notOk(isSettled, 'nothing is acknowledged')
  await archive(sleeper, ['x'])
  await eachOnce(t, sleeper, ['x'])
})

test('a run of ids is deleted after two dedupe windows, and its events are looked up by time', async t => {
  const place = await openServer(t)
  const dedupeWindowMs = HOUR_MS
  const a = await openWriter(t, place, { dedupeWindowMs })
  await archiveEach(a, numbered(3))
  const sleeper = await openWriter(t, place, { dedupeWindowMs })
  await sleeper.commitLog.follow()
  await a.folder.fold()
  for (const n of range(4)) {
    passTime(place.server, HOUR_MS)
    await archive(a, [`later-${n}`])
    await a.folder.fold()
  }
  const runs = (await keysOf(a.store, a.keys.runs)).filter(key => key.endsWith('.ids'))
  t.ok(runs.length < 5, `${runs.length} of 5 are left`)
  const b = await openWriter(t, place, { dedupeWindowMs })
  await b.commitLog.follow()
  t.notOk(b.index.has(idDigest('id-0')))
  t.ok(b.index.remembersFrom > 3, `${b.index.remembersFrom}`)
  t.ok(b.index.has(idDigest('later-3')))
  const longer = await openWriter(t, place, { dedupeWindowMs: DAY_MS })
  await longer.commitLog.follow()
  t.notOk(longer.index.has(idDigest('id-0')))
  t.ok(longer.index.remembersFrom > 3, 'an index with a longer window does not claim to have the deleted ids')
  await sleeper.commitLog.follow()
  t.notOk(sleeper.index.has(idDigest('later-0')))
  t.ok(
    sleeper.index.remembersFrom > 4,
    'an index that slept does not claim to have ids that it could not read',
  )
  t.ok(sleeper.index.has(idDigest('later-3')))
})
