/** Repairs records that are damaged or missing, and at which archivers wait. */
import { type Test, test } from 'tap'
import { LogRepair, type RepairPlan } from '../../../src/cli/log/repair-log.ts'
import { encodeRecord, type LogBatch } from '../../../src/log/log-record.ts'
import {
  archivedEvents,
  bytesOf,
  damage,
  flipped,
  objectOf,
  openArchive,
  putObject,
  STORE_KINDS,
  type StoreKind,
  startArchiver,
  storeWith,
  type TestArchive,
  verified,
} from '../../helpers/archive-by-hand.ts'
import { numberedEvents } from '../../helpers/helper.ts'

/** An archive with records 1 to 3 of ten events each. No archiver is running. */
async function archiveOfThree(t: Test, kind: StoreKind): Promise<TestArchive> {
  const archive = await openArchive(t, kind)
  const archiver = await startArchiver(t, archive)
  for (const n of [0, 1, 2]) {
    await archiver.publish(numberedEvents(10, 10 * n))
    await archiver.holds(n + 1)
  }
  await archiver.archiver.stop()
  t.equal((await archive.reader.record(3)).record?.batches.length, 1)
  return archive
}

function repairOf({ store, prefix }: TestArchive, number: number): LogRepair {
  return new LogRepair(store, prefix, number)
}

async function repaired(archive: TestArchive, number: number): Promise<RepairPlan> {
  const repair = repairOf(archive, number)
  return repair.run(await repair.plan())
}

function batchesOf({ reader }: TestArchive, number: number): Promise<readonly LogBatch[]> {
  return reader.record(number).then(({ record }) => record?.batches ?? [])
}

/** Checks that the archive has the thirty events, and ten that were archived after the repair. */
async function isWhole(t: Test, archive: TestArchive): Promise<void> {
  const findings = await verified(archive, archive.store)
  t.match(findings, { objects: 4, events: 40, ids: 40, duplicates: { events: 0 } })
  t.match(findings.log, { objects: 4, missing: { objects: 0 }, unknown: { objects: 0 } })
  t.match(findings.log, { changed: { objects: 0 }, damaged: { records: 0 }, unsettled: { objects: 0 } })
}

for (const kind of STORE_KINDS) {
  for (const number of [1, 2, 3]) {
    test(`record ${number} of 3 in ${kind} is damaged, and an archiver waits at it`, async t => {
      const archive = await archiveOfThree(t, kind)
      const [batch] = await batchesOf(archive, number)
      await damage(archive.store, archive.keys.record(number), flipped(30))
      const archiver = await startArchiver(t, archive)
      await archiver.isStopped(new RegExp(`record ${number} cannot be used`))
      await archiver.publish(numberedEvents(10, 30))

      const plan = await repaired(archive, number)
      t.match(plan, { isGone: false, events: 10, salvage: [], damaged: [] })
      t.same(
        plan.batches.map(({ key }) => key),
        [batch?.key],
      )
      const [again] = await batchesOf(archive, number)
      const { staged: _, ...expected } = batch as LogBatch
      t.same({ ...again, ids: 0 }, { ...expected, ids: 0, isStored: true })
      t.ok(again?.ids.equals(batch?.ids as Buffer))
      await archiver.holds(4)
      await isWhole(t, archive)
    })
  }

  test(`a record in the middle of the log in ${kind} is missing`, async t => {
    const archive = await archiveOfThree(t, kind)
    await archive.store.replace(archive.keys.head, Buffer.from('3'))
    await archive.store.remove([archive.keys.record(2)])
    const archiver = await startArchiver(t, archive)
    await archiver.isStopped(/ends at record 1, but record 3 existed/)
    await archiver.publish(numberedEvents(10, 30))
    t.match(await repaired(archive, 2), { isGone: true, events: 10 })
    await archiver.holds(4)
    await isWhole(t, archive)
  })

  test(`the last record in ${kind} is missing: the hint of the head tells it`, async t => {
    const archive = await archiveOfThree(t, kind)
    await archive.store.replace(archive.keys.head, Buffer.from('3'))
    await archive.store.remove([archive.keys.record(3)])
    const archiver = await startArchiver(t, archive)
    await archiver.isStopped(/ends at record 2, but record 3 existed/)
    await archiver.publish(numberedEvents(10, 30))
    t.match(await repaired(archive, 3), { isGone: true, events: 10 })
    await archiver.holds(4)
    await isWhole(t, archive)
  })

  test(`record 0 in ${kind} is damaged`, async t => {
    const archive = await archiveOfThree(t, kind)
    await damage(archive.store, archive.keys.record(0), flipped(20))
    t.match(await repaired(archive, 0), { events: 0, batches: [] })
    const archiver = await startArchiver(t, archive)
    await archiver.publish(numberedEvents(10, 30))
    await archiver.holds(4)
    await isWhole(t, archive)
  })

  test(`two records in ${kind} are damaged: the lower one is repaired first`, async t => {
    const archive = await archiveOfThree(t, kind)
    await damage(archive.store, archive.keys.record(1), flipped(30))
    await damage(archive.store, archive.keys.record(2), bytes => bytes.subarray(0, 10))
    await t.rejects(repairOf(archive, 2).plan(), { code: 'FRQ_LOG_REFUSED', message: /repair it first/ })
    t.match(await repaired(archive, 1), { events: 20 })
    t.match(await repaired(archive, 2), { events: 0 })
    const archiver = await startArchiver(t, archive)
    await archiver.publish(numberedEvents(10, 30))
    await archiver.holds(4)
    await isWhole(t, archive)
  })

  test(`an object of a damaged record in ${kind} that is not settled is saved`, async t => {
    const archive = await archiveOfThree(t, kind)
    const { store, keys, reader } = archive
    const { record } = await reader.record(3)
    const [batch] = record?.batches ?? []
    if (record === undefined || batch === undefined) throw new Error('record 3 has no batch')
    if (batch.staged !== undefined) await store.move(batch.key, batch.staged)
    else await store.remove([batch.key])
    await damage(store, keys.record(3), flipped(record.headBytes - 1))

    const repair = repairOf(archive, 3)
    const plan = await repair.plan()
    t.match(plan, { events: 0, salvage: [{ key: batch.key }] })
    t.match(await repair.run(plan), { events: 10, batches: [{ key: batch.key }], salvage: [] })
    const archiver = await startArchiver(t, archive)
    await archiver.publish(numberedEvents(10, 30))
    await archiver.holds(4)
    await isWhole(t, archive)
  })
}

test('bytes with another SHA-256, and bytes of a void batch, are not saved', async t => {
  const archive = await archiveOfThree(t, 's3')
  const { store, keys, reader } = archive
  const { record } = await reader.record(2)
  const [batch] = record?.batches ?? []
  if (record === undefined || batch === undefined) throw new Error('record 2 has no batch')
  await store.remove([batch.key])
  const whole = await bytesOf(store, keys.record(2))
  await store.replace(keys.record(2), flipped(record.headBytes - 1)(flipped(-1)(Buffer.from(whole))))
  t.same((await repairOf(archive, 2).plan()).salvage, [])
  await store.replace(keys.record(2), flipped(record.headBytes - 1)(Buffer.from(whole)))
  t.equal((await repairOf(archive, 2).plan()).salvage.length, 1)

  const last = (await reader.record(3)).record
  if (last === undefined) throw new Error('record 3 is missing')
  const voiding = encodeRecord({
    ...last,
    number: 4,
    previous: last.hash,
    nonce: 'n',
    batches: [],
    voids: [{ number: 2, batch: 0 }],
  })
  await store.create(keys.record(4), voiding.bytes)
  t.same((await repairOf(archive, 2).plan()).salvage, [])
})

test('a record that needs no repair is refused', async t => {
  const archive = await archiveOfThree(t, 'directory')
  const refused = (message: RegExp) => ({ code: 'FRQ_LOG_REFUSED', message })
  await t.rejects(repairOf(archive, 2).plan(), refused(/can be read/))
  await t.rejects(repairOf(archive, 0).plan(), refused(/can be read/))
  await t.rejects(repairOf(archive, 4).plan(), refused(/ends at record 3/))
  const empty = await openArchive(t, 'directory')
  await t.rejects(repairOf(empty, 0).plan(), refused(/no log/))
})

test('a plan changes nothing, and a repair names the objects that exist when it runs', async t => {
  const archive = await archiveOfThree(t, 'directory')
  const { store, keys, reader } = archive
  await damage(store, keys.record(3), flipped(30))
  const before = await bytesOf(store, keys.record(3))
  const repair = repairOf(archive, 3)
  const plan = await repair.plan()
  t.ok((await bytesOf(store, keys.record(3))).equals(before))
  const late = await putObject(archive, objectOf(archivedEvents(5)))
  const cut = await putObject(archive, objectOf(archivedEvents(500)).subarray(0, 900))
  t.match(await repair.run(plan), { events: 15, damaged: [{ key: cut }] })
  t.ok((await reader.record(3)).record?.batches.some(({ key }) => key === late))
})

test('a repair of a missing record does not overwrite a record that was written meanwhile', async t => {
  const archive = await archiveOfThree(t, 'directory')
  const { store, keys, prefix } = archive
  await store.replace(keys.head, Buffer.from('3'))
  const whole = await bytesOf(store, keys.record(3))
  await store.remove([keys.record(3)])
  const racing = storeWith(store, {
    create: async (key, body) => {
      await store.replace(keys.record(3), whole)
      return store.create(key, body)
    },
  })
  const repair = new LogRepair(racing, prefix, 3)
  const plan = await repair.plan()
  await t.rejects(repair.run(plan), { code: 'FRQ_LOG_REFUSED', message: /meanwhile/ })
  t.ok((await bytesOf(store, keys.record(3))).equals(whole))
})
