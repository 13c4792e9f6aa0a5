/** What verify reports if an archive's log and its objects do not agree. */
import { hash, randomUUID } from 'node:crypto'
import { Readable } from 'node:stream'
import { type Test, test } from 'tap'
import { LogRepair } from '../../../src/cli/log/repair-log.ts'
import { inWords, resultOf } from '../../../src/cli/verify/report.ts'
import type { VerifyFindings } from '../../../src/cli/verify/verifier.ts'
import { identityOf } from '../../../src/event/message-id.ts'
import { foldRecords, type NumberedRecord } from '../../../src/log/fold.ts'
import {
  type BatchDraft,
  encodeRecord,
  type LogRecord,
  NOT_AN_ARCHIVER,
} from '../../../src/log/log-record.ts'
import { LogViewer } from '../../../src/log/log-view.ts'
import { encodeManifest, encodeObjects } from '../../../src/log/manifest.ts'
import { Watermark } from '../../../src/log/watermark.ts'
import { emptyObject } from '../../../src/object/format.ts'
import { objectKey } from '../../../src/object/object-key.ts'
import {
  archivedEvents,
  build,
  damage,
  flipped,
  objectOf,
  openArchive,
  putObject,
  STORE_KINDS,
  type StoreKind,
  storeWith,
  type TestArchive,
  verified,
} from '../../helpers/archive-by-hand.ts'

const CLEAN = {
  missing: { objects: 0, list: [] },
  unsettled: { objects: 0, left: 0, list: [] },
  unerased: { objects: 0, left: 0, list: [] },
  changed: { objects: 0, list: [] },
  unknown: { objects: 0, list: [] },
  damaged: { records: 0, list: [] },
}

interface BuiltArchive extends TestArchive {
  /** The keys in the order of the log, which has two in each record. */
  readonly objects: string[]
}

/** Four objects of ten events, named by records 1 and 2. */
async function archiveOfFour(t: Test, kind: StoreKind): Promise<BuiltArchive> {
  const archive = await openArchive(t, kind)
  for (let n = 0; n < 4; n++) await putObject(archive, objectOf(archivedEvents(10)))
  await build(archive, archive.store)
  const records = await Promise.all([1, 2].map(number => archive.reader.record(number)))
  return { ...archive, objects: records.flatMap(({ record }) => record?.batches.map(({ key }) => key) ?? []) }
}

interface Draft {
  readonly batch: BatchDraft
  readonly bytes: Buffer
}

/** A batch of ten events without an object. */
function draftOf({ prefix }: TestArchive, own: Partial<BatchDraft> = {}): Draft {
  const events = archivedEvents(10)
  const bytes = objectOf(events)
  const at = Date.parse('2026-11-24T13:05:07.123Z')
  const batch = {
    key: objectKey(prefix, new Date(at), randomUUID(), '.ndjson.gz'),
    sha256: hash('sha256', bytes, 'hex'),
    storedBytes: bytes.length,
    events: 10,
    bytes: 1000,
    firstReceivedAt: at,
    lastReceivedAt: at,
    ids: Buffer.concat(events.map(event => identityOf(JSON.parse(event)) as Buffer)),
    body: own.staged === undefined ? bytes : undefined,
    ...own,
  }
  return { batch, bytes }
}

/** Appends record `number`. */
async function append(
  { store, keys, reader }: TestArchive,
  number: number,
  batches: readonly BatchDraft[],
  own: Partial<Pick<LogRecord, 'voids' | 'previous'>> = {},
): Promise<void> {
  const before = (await reader.record(number - 1)).record as LogRecord
  const { bytes } = encodeRecord({
    log: before.log,
    number,
    previous: before.hash,
    nonce: randomUUID(),
    writer: randomUUID(),
    ...NOT_AN_ARCHIVER,
    batches,
    ...own,
  })
  await store.create(keys.record(number), bytes)
}

function wordsOf(findings: VerifyFindings): string {
  return inWords({ archive: 'a', result: resultOf(findings), seconds: 1, ...findings })
}

for (const kind of STORE_KINDS) {
  test(`objects in ${kind} that are missing, changed, or unknown to the log`, async t => {
    const archive = await archiveOfFour(t, kind)
    const { store, objects } = archive
    t.match(await verified(archive, store), { log: { ...CLEAN, objects: 4, position: 2 } })
    const [missing, changed, cut] = objects as [string, string, string]
    await store.remove([missing])
    await store.replace(changed, objectOf(archivedEvents(10)))
    await damage(store, cut, bytes => bytes.subarray(0, -20))
    const unknown = await putObject(archive, objectOf(archivedEvents(10)))
    const findings = await verified(archive, store)
    t.same(findings.log, {
      ...CLEAN,
      id: findings.log?.id,
      position: 2,
      objects: 4,
      missing: { objects: 1, list: [{ key: missing, record: 1 }] },
      changed: { objects: 1, list: [changed] },
      unknown: { objects: 1, list: [unknown] },
    })
    t.match(
      findings.unreadable,
      { objects: 1, list: [{ key: cut }] },
      'a damaged object is not reported as changed too',
    )
    t.equal(resultOf(findings), 'findings')
    const words = wordsOf(findings)
    for (const text of [
      /Missing objects +1 {2}named by the log, not in the store/,
      /Changed objects +1/,
      /Unknown objects +1/,
      new RegExp(`${missing} {2}\\(record 1\\)`),
      /NOT CLEAN/,
    ])
      t.match(words, text)
    t.notMatch(words, /Other objects/, 'objects of the log are not counted')
  })

  test(`an unsettled batch in ${kind} is not a finding if its bytes are in the log or staged`, async t => {
    const archive = await archiveOfFour(t, kind)
    const { store, keys } = archive
    const staged = draftOf(archive, { staged: keys.stagedObject('nonce') })
    const inline = draftOf(archive)
    const lost = draftOf(archive, { staged: keys.stagedObject('lost') })
    const voided = draftOf(archive, { staged: keys.stagedObject('voided') })
    await store.put(keys.stagedObject('nonce'), Readable.from([staged.bytes], { objectMode: false }))
    await append(archive, 3, [staged.batch, inline.batch, lost.batch, voided.batch])
    await append(archive, 4, [], { voids: [{ number: 3, batch: 3 }] })
    const findings = await verified(archive, store)
    const { unsettled, missing } = findings.log ?? {}
    t.match(unsettled, { objects: 2, left: 0 })
    t.same(
      unsettled?.list.map(({ key }) => key),
      [staged.batch.key, inline.batch.key],
    )
    t.same(missing, { objects: 1, list: [{ key: lost.batch.key, record: 3 }] })

    for (const { batch } of [lost, voided]) await store.create(batch.key, emptyObject(batch.key))
    const { changed, unknown } = (await verified(archive, store)).log ?? {}
    t.same(changed, { objects: 1, list: [lost.batch.key] }, 'an empty object is right only for a void batch')
    t.match(unknown, { objects: 0 })
    await store.remove([lost.batch.key])

    await damage(store, keys.record(3), flipped(-1))
    t.match((await verified(archive, store)).log, { unsettled: { objects: 1 }, missing: { objects: 2 } })
  })

  test(`records in ${kind} that are damaged, missing, or follow another record`, async t => {
    const archive = await archiveOfFour(t, kind)
    const { store, keys } = archive
    const third = draftOf(archive)
    await store.create(third.batch.key, third.bytes)
    await append(archive, 3, [third.batch])
    await append(archive, 4, [], { previous: 'f'.repeat(64) })
    await damage(store, keys.record(1), flipped(30))
    await store.remove([keys.record(2)])
    const findings = await verified(archive, store)
    t.match(findings.log, { objects: 1, unknown: { objects: 4 }, damaged: { records: 3 } })
    t.match(findings.log?.damaged.list, [
      /record 1 /,
      /record 2 .* it is gone/,
      /record 4 .* another predecessor/,
    ])
    t.equal(resultOf(findings), 'findings')
  })

  test(`an object that is archived in ${kind} during a verify is neither unknown nor missing`, async t => {
    const archive = await archiveOfFour(t, kind)
    const { store } = archive
    const early = draftOf(archive)
    const late = draftOf(archive)
    const racing = storeWith(store, {
      list: async function* (prefix) {
        // Record and object are written after the other keys were listed, and before this key is.
        for await (const key of store.list(prefix)) yield key
        if (prefix !== `${archive.prefix}/`) return
        await append(archive, 3, [early.batch])
        await store.create(early.batch.key, early.bytes)
        yield early.batch.key
        await append(archive, 4, [late.batch])
        await store.create(late.batch.key, late.bytes)
      },
    })
    const findings = await verified(archive, racing)
    t.match(findings, { objects: 5, log: { ...CLEAN, objects: 6, position: 4 } })
    t.equal(resultOf(findings), 'clean')
  })
}

test('only the partitions from --from to --to are compared with the log', async t => {
  const archive = await openArchive(t, 'directory')
  const { store } = archive
  const at = (hour: string) => `2026-11-24T${hour}:05:07.123Z`
  const keys: string[] = []
  for (const hour of ['11', '12', '13'])
    keys.push(await putObject(archive, objectOf(archivedEvents(5)), '.ndjson.gz', at(hour)))
  await build(archive, store)
  await store.remove([keys[0] as string])
  const inRange = { from: '2026-11-24T12', to: '2026-11-24T13' }
  t.match(await verified(archive, store, inRange), { objects: 2, log: { ...CLEAN, objects: 2 } })
  t.match(await verified(archive, store, { from: '2026-11-24T12' }), { log: { ...CLEAN, objects: 2 } })
  t.match(await verified(archive, store, { to: '2026-11-24T11' }), {
    objects: 0,
    log: { objects: 1, missing: { objects: 1 } },
  })
})

test('an archive without a log is verified, and the report says that it has no log', async t => {
  const archive = await openArchive(t, 'directory')
  await putObject(archive, objectOf(archivedEvents(5)))
  const findings = await verified(archive, archive.store)
  t.match(findings, { objects: 1, events: 5, log: null })
  t.equal(resultOf(findings), 'clean')
  t.match(wordsOf(findings), /Log: none\..*frequency log build/)
})

test('a damaged manifest is a finding, and the objects are reported all the same', async t => {
  const archive = await archiveOfFour(t, 'directory')
  const { store, keys } = archive
  await store.replace(keys.manifest(1), Buffer.from('{}'))
  const findings = await verified(archive, store)
  t.match(findings, {
    objects: 4,
    log: { refused: /Manifest 1 of the log is damaged/, unknown: { objects: 0 } },
  })
  t.equal(resultOf(findings), 'findings')
  t.match(wordsOf(findings), /could not be compared with the objects: Manifest 1 of the log/)
})

for (const kind of STORE_KINDS) {
  test(`a folded log in ${kind}, before and after its records are deleted`, async t => {
    const archive = await archiveOfFour(t, kind)
    const { store, keys, prefix, objects } = archive
    const id = (await archive.reader.record(0)).record?.log
    await foldThrough(archive, 1)
    t.match((await verified(archive, store)).log, { ...CLEAN, id, objects: 4, position: 2 })
    await store.remove([keys.record(1)])
    t.match((await verified(archive, store)).log, { ...CLEAN, id, objects: 4, position: 2 })
    await foldThrough(archive, 2)
    await store.remove([keys.record(2)])
    await store.remove([objects[0] as string, objects[2] as string])
    const { log } = await verified(archive, store)
    t.match(log, { id, objects: 4, position: 2, damaged: { records: 0 }, missing: { objects: 2 } })
    t.same(
      log?.missing.list.map(({ record }) => record),
      [1, 2],
    )

    const view = await new LogViewer(store, { prefix, count: 20 }).view()
    t.match(view, { id, position: 2, watermark: 2, manifests: 2, folded: { events: 40, objects: 4 } })
    t.match(view.records, [
      { number: 0 },
      { number: 1, isFolded: true, events: 20 },
      { number: 2, batches: 2 },
    ])
    const repair = new LogRepair(store, prefix, 1).plan()
    await t.rejects(repair, { code: 'FRQ_LOG_REFUSED', message: /is folded/ })
  })

  test(`records in ${kind} that are folded and deleted while the log is read`, async t => {
    const archive = await archiveOfFour(t, kind)
    const { store, keys } = archive
    let isDone = false
    const racing = storeWith(store, {
      read: async (key, range) => {
        if (key === keys.record(1) && !isDone) {
          isDone = true
          await foldThrough(archive, 1)
          await store.remove([keys.record(1)])
        }
        return store.read(key, range)
      },
    })
    t.match((await verified(archive, racing)).log, { ...CLEAN, objects: 4, position: 2 })
    t.ok(isDone)
  })
}

/** Folds the records above the watermark, up to this one. */
async function foldThrough({ store, keys, reader }: TestArchive, through: number): Promise<void> {
  const watermark = new Watermark(reader)
  await watermark.refresh()
  const records: NumberedRecord[] = []
  for (let number = watermark.number + 1; number <= through; number++) {
    const { record, storedAt } = await reader.record(number)
    records.push({ record: record as LogRecord, storedAt: Math.round(storedAt) })
  }
  const { manifest, ids, records: folded } = foldRecords(records, watermark.manifest, new Map())
  const runOf = async (key: string, bytes: Buffer) => {
    await store.replace(key, bytes)
    return { key, bytes: bytes.length, sha256: hash('sha256', bytes, 'hex') }
  }
  const run = `${keys.runs}${through}`
  const runs = {
    ids: await runOf(`${run}.ids`, ids),
    objects: await runOf(`${run}.objects`, encodeObjects(folded)),
  }
  await store.create(keys.manifest(manifest.generation), encodeManifest({ ...manifest, ...runs }))
}
