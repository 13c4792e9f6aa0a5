/** What expires from objects, log and table; crashes at each step, several at once, and late events. */
import t, { type Test } from 'tap'
import { describeObject } from '../../../src/log/describe-object.ts'
import { logKeys } from '../../../src/log/log-keys.ts'
import { LogMaintainer } from '../../../src/log/log-maintainer.ts'
import { encodeRecord, NOT_AN_ARCHIVER } from '../../../src/log/log-record.ts'
import { archiveSources } from '../../../src/query/event-sources.ts'
import type { ObjectStore } from '../../../src/store/store.ts'
import { tableKeys } from '../../../src/table/table-keys.ts'
import { TableLogReader } from '../../../src/table/table-log.ts'
import {
  build,
  bytesOf,
  openArchive,
  startArchiver,
  storeWith,
  type TestArchive,
  verified,
} from '../../helpers/archive-by-hand.ts'
import { compacted, globbedRows, queriedIds, useBuiltEngine } from '../../helpers/compact-helper.ts'
import { crashingStore, nextCrash } from '../../helpers/crashing-store.ts'
import {
  copied,
  DAY_MS,
  eventOn,
  expired,
  expirer,
  NOW,
  putEvents,
  rawIds,
} from '../../helpers/expire-helper.ts'
import { numberedEvents, silent } from '../../helpers/helper.ts'
import { keysOf } from '../../helpers/store-helper.ts'

const HOUR_MS = 3_600_000
const [DAYS, RAW_DAYS] = [30, 10]

await useBuiltEngine(t)

/** Of 40, 20 and 5 days ago. One object of each reaches into the next day, and one has an event without a time. */
const OBJECTS = [
  [eventOn(-40, 1, 'a1'), eventOn(-40, 2, 'a2')],
  [eventOn(-40, 3, 'a3'), JSON.stringify({ messageId: 'a4' })],
  [eventOn(-31, 23.9, 'b1'), eventOn(-30, 0.1, 'b2')],
  [eventOn(-20, 1, 'c1'), eventOn(-20, 1.5, 'c2')],
  [eventOn(-11, 23.9, 'd1'), eventOn(-10, 0.1, 'd2')],
  [eventOn(-5, 1, 'e1')],
]

const IDS = ['a1', 'a2', 'a3', 'a4', 'b1', 'b2', 'c1', 'c2', 'd1', 'd2', 'e1']

async function archiveOf(t: Test, objects: readonly (readonly string[])[] = OBJECTS): Promise<TestArchive> {
  const archive = await openArchive(t, 'directory')
  for (const events of objects) await putEvents(archive, events)
  await build(archive, archive.store, { recordEventsMax: 1000, recordObjectsMax: 1 })
  return archive
}

const whole = await archiveOf(t)
await compacted(t, whole, whole.store)

/** With all events in the table. */
function compactedArchive(t: Test): Promise<TestArchive> {
  return copied(t, whole)
}

/** Appends a record that names a stored object, as an archiver does for events that come late. */
async function archiveLate(archive: TestArchive, events: readonly string[]): Promise<string> {
  const { store, prefix, reader } = archive
  const key = await putEvents(archive, events)
  const { batch } = await describeObject(store, key)
  if (batch === undefined) throw new Error('no batch')
  const numbers = (await keysOf(store, logKeys(prefix).records)).map(each => Number(each.slice(-16)))
  const number = Math.max(...numbers) + 1
  const { record: last } = await reader.record(number - 1)
  if (last === undefined) throw new Error('no record')
  const { bytes } = encodeRecord({
    ...{ log: last.log, number, previous: last.hash, nonce: key, writer: 'late' },
    ...NOT_AN_ARCHIVER,
    batches: [batch],
  })
  await store.create(logKeys(prefix).record(number), bytes)
  return key
}

const pathOf = ({ settings }: TestArchive): string => settings.ARCHIVE_URL as string

async function globbed(archive: TestArchive): Promise<string[]> {
  return (await globbedRows(pathOf(archive))).map(([id]) => String(id))
}

/** Events that a query reads, by what the logs say: each file's rows and each batch's events. */
async function countedEvents({ store, prefix }: TestArchive): Promise<number> {
  const { files, batches, parts } = await archiveSources(store, prefix)
  const rows = files.reduce((sum, file) => sum + file.rows, 0)
  return batches.reduce((sum, { key, events }) => sum + (parts.has(key) ? 0 : events), rows)
}

async function isClean(archive: TestArchive): Promise<boolean> {
  const { duplicates, unreadable, log } = await verified(archive, archive.store)
  const { missing, changed, unknown, damaged, unsettled } = log ?? {}
  const counts = [missing, changed, unknown, unsettled].map(each => each?.objects)
  const lines = [unreadable.notJson, unreadable.withoutMessageId]
  return [...counts, ...lines, duplicates.events, damaged?.records].every(count => count === 0)
}

t.test('RETENTION removes days from objects, log and table', async t => {
  const archive = await compactedArchive(t)
  const plan = await expirer(archive, { days: DAYS }).plan()
  t.strictSame(
    plan.days.map(({ day, objects, events, files, rows }) => [day, objects, events, files, rows]),
    [
      ['2026-10-15', 2, 4, 4, 4],
      ['2026-10-24', 0, 0, 1, 1],
    ],
  )
  t.strictSame(await rawIds(archive, archive.store), IDS, 'a plan changes nothing')
  const report = await expired(archive, { days: DAYS })
  t.match(report, { ...plan, expiredBefore: '2026-10-25T00:00:00.000Z' })
  t.strictSame(await rawIds(archive, archive.store), IDS.slice(4), 'an object that reaches into a day stays')
  t.strictSame(await globbed(archive), IDS.slice(5))
  t.strictSame(await queriedIds(t, archive), IDS.slice(5))
  t.ok(await isClean(archive))
  t.match(await expired(archive, { days: DAYS }), { days: [] }, 'and again there is nothing')
  t.match(await expired(archive, { days: DAYS - 1 }), { days: [{ objects: 1 }, { files: 1 }] })
  t.strictSame(await rawIds(archive, archive.store), IDS.slice(6))
})

t.test('RAW_RETENTION removes objects whose events are all in the table, and no event', async t => {
  const archive = await archiveOf(t)
  t.match(await expired(archive, { rawDays: RAW_DAYS }), {
    days: [],
    hasTable: false,
    heldFrom: '2026-10-15',
  })
  const noonOf20 = (NOW - 20 * DAY_MS) / HOUR_MS
  await compacted(t, archive, archive.store, { isDue: hour => hour < noonOf20 - 11 })
  const half = await expired(archive, { rawDays: RAW_DAYS })
  t.match(half, { heldFrom: '2026-11-04', hasTable: true })
  t.strictSame(await rawIds(archive, archive.store), IDS.slice(6), 'of 20 days ago one hour is missing')
  t.strictSame(await queriedIds(t, archive), IDS)
  await compacted(t, archive, archive.store)
  await expired(archive, { rawDays: RAW_DAYS })
  t.strictSame(await rawIds(archive, archive.store), IDS.slice(8))
  t.strictSame(await globbed(archive), IDS)
  t.strictSame(await queriedIds(t, archive), IDS)
  t.ok(await isClean(archive))
  t.match(await compacted(t, archive, archive.store), { files: 0 })
  await expired(archive, { days: DAYS, rawDays: RAW_DAYS })
  t.strictSame(await globbed(archive), IDS.slice(5))
})

t.test('objects stay if a file of the table is gone', async t => {
  const archive = await compactedArchive(t)
  const [file] = await keysOf(archive.store, `${tableKeys(archive.prefix).data}dt=2026-11-04`)
  const bytes = await bytesOf(archive.store, file as string)
  await archive.store.replace(file as string, bytes.subarray(1))
  await t.rejects(expired(archive, { rawDays: RAW_DAYS }), /gone or cut short/)
  t.strictSame(await rawIds(archive, archive.store), IDS)
})

t.test('nothing goes within the window of known ids, whatever the settings and the clock', async t => {
  const archive = await archiveOf(t, [[eventOn(-2, 1, 'a')], [eventOn(-1, 1, 'b')], [eventOn(0, 1, 'c')]])
  await expired(archive, { days: 0 })
  t.strictSame(
    await rawIds(archive, archive.store),
    ['b', 'c'].concat([]).length === 2 ? ['a', 'b', 'c'] : [],
  )
  const clocked = storeWith(archive.store, {
    read: async (key, range) => ({ ...(await archive.store.read(key, range)), date: NOW }),
  })
  await expired(archive, { store: clocked, days: 2, now: () => NOW + 400 * DAY_MS })
  t.strictSame(await rawIds(archive, archive.store), ['a', 'b', 'c'], 'the clock of the store counts')
})

t.test('after a crash at any step no event is lost or twice, and the next run completes it', async t => {
  const original = await compactedArchive(t)
  const options = { days: DAYS, rawDays: RAW_DAYS }
  let crashes = 0
  for (let at = 1, hasCrashed = true; hasCrashed; at += nextCrash()) {
    const archive = await copied(t, original)
    const dying = new AbortController()
    // Before a write: after the write before it, whose answer was lost or not.
    const store = crashingStore(archive.store, at, 'before', () => dying.abort())
    hasCrashed = await expired(archive, { ...options, store, stopping: dying.signal }).then(
      () => false,
      () => true,
    )
    if (hasCrashed) crashes++
    const between = await globbed(archive)
    const counted = await countedEvents(archive)
    const isRight =
      new Set(between).size === between.length &&
      IDS.slice(5).every(id => between.includes(id)) &&
      (counted === 6 || counted === 11) &&
      (await isClean(archive))
    await expired(archive, options)
    const ids = [await globbed(archive), await rawIds(archive, archive.store)].map(each => each.join())
    const isDone = ids[0] === IDS.slice(5).join() && ids[1] === IDS.slice(8).join()
    if (!isRight || !isDone || (await countedEvents(archive)) !== 6 || !(await isClean(archive)))
      t.fail(`crash before write ${at}: ${between}; ${counted}; then ${ids.join(' and ')}`)
  }
  t.ok(crashes > 1, `${crashes} crashes`)
})

t.test('several at once, beside a compactor, do what one does', async t => {
  const archive = await compactedArchive(t)
  await archiveLate(archive, [eventOn(-5, 2, 'f1')])
  const options = { days: DAYS, rawDays: RAW_DAYS }
  await Promise.all([...[1, 2, 3].map(() => expired(archive, options)), compacted(t, archive, archive.store)])
  await compacted(t, archive, archive.store)
  t.strictSame(await globbed(archive), [...IDS.slice(5), 'f1'])
  t.strictSame(await queriedIds(t, archive), [...IDS.slice(5), 'f1'])
  t.strictSame(await rawIds(archive, archive.store), [...IDS.slice(8), 'f1'])
  t.ok(await isClean(archive))
})

t.test('events that are archived late stay until they are in the table', async t => {
  const archive = await compactedArchive(t)
  await expired(archive, { rawDays: RAW_DAYS })
  await archiveLate(archive, [eventOn(-20, 1, 'late')])
  t.match(await expired(archive, { rawDays: RAW_DAYS }), { days: [], heldFrom: '2026-11-04' })
  t.ok((await rawIds(archive, archive.store)).includes('late'))
  await compacted(t, archive, archive.store)
  t.match(await expired(archive, { rawDays: RAW_DAYS }), { days: [{ objects: 1, events: 1 }] })
  t.strictSame(await globbed(archive), [...IDS, 'late'])
  await archiveLate(archive, [eventOn(-40, 1, 'later')])
  await expired(archive, { days: DAYS })
  t.notOk((await rawIds(archive, archive.store)).includes('later'), 'RETENTION needs no table')
})

t.test('a record does not expire events that were archived while it was made', async t => {
  for (const isFolded of [false, true]) {
    const archive = await compactedArchive(t)
    const { records } = logKeys(archive.prefix)
    let isLate = false
    const store = storeWith(archive.store, {
      create: async (key, body) => {
        if (key.startsWith(records) && !isLate) {
          isLate = true
          await archiveLate(archive, [eventOn(-20, 1, 'late')])
          if (isFolded) await foldAll(archive)
        }
        return archive.store.create(key, body)
      },
    })
    t.match(await expired(archive, { store, rawDays: RAW_DAYS }), { heldFrom: '2026-11-04' })
    t.ok((await queriedIds(t, archive)).includes('late'))
    t.ok((await rawIds(archive, archive.store)).includes('late'))
    t.ok(await isClean(archive))
  }
})

/** Folds the log as an archiver does. */
async function foldAll(archive: TestArchive): Promise<void> {
  const maintainer = await LogMaintainer.open({
    ...{ store: archive.store, prefix: archive.prefix, log: silent },
    stopping: new AbortController().signal,
  })
  await maintainer.fold()
}

t.test('a compactor whose plan is older brings nothing back, and a late move neither', async t => {
  const archive = await compactedArchive(t)
  await archiveLate(archive, [eventOn(-40, 1, 'late')])
  const { staged } = tableKeys(archive.prefix)
  let isPaused = true
  const paused = storeWith(archive.store, {
    put: async (key, body) => {
      const bytes = await archive.store.put(key, body)
      if (key.startsWith(staged) && isPaused) {
        isPaused = false
        await expired(archive, { days: DAYS })
      }
      return bytes
    },
  })
  await compacted(t, archive, paused)
  t.notOk(isPaused)
  t.strictSame(await globbed(archive), IDS.slice(5))
  t.strictSame(await queriedIds(t, archive), IDS.slice(5))

  const key = `${tableKeys(archive.prefix).data}dt=2026-10-15/hour=01/${'0'.repeat(36)}.parquet`
  const [named] = await keysOf(archive.store, tableKeys(archive.prefix).data)
  await archive.store.replace(key, await bytesOf(archive.store, named as string))
  await expired(archive, { days: DAYS })
  t.strictSame(await globbed(archive), IDS.slice(5))
})

t.test('a file that expires while a compactor places it is no damage', async t => {
  const archive = await archiveOf(t)
  let isPaused = true
  const paused = storeWith(archive.store, {
    move: async (from, to) => {
      if (isPaused && to.includes('dt=2026-10-15')) {
        isPaused = false
        await expired(archive, { days: DAYS })
      }
      return archive.store.move(from, to)
    },
  })
  await compacted(t, archive, paused)
  await compacted(t, archive, archive.store)
  t.notOk(isPaused)
  // An object that reaches into a day that stays was compacted since.
  await expired(archive, { days: DAYS })
  t.strictSame(await globbed(archive), IDS.slice(5))
})

t.test('a query whose view of the table is older than an expiration reads it again', async t => {
  const archive = await archiveOf(t)
  const { records } = logKeys(archive.prefix)
  let isBefore = true
  const between = async (key: string): Promise<void> => {
    if (!isBefore || !key.startsWith(records)) return
    isBefore = false
    await compacted(t, archive, archive.store)
    await expired(archive, { rawDays: RAW_DAYS })
  }
  const store: ObjectStore = storeWith(archive.store, {
    read: async (key, range) => {
      await between(key)
      return archive.store.read(key, range)
    },
  })
  t.equal(await countedEvents({ ...archive, store }), IDS.length)
  t.notOk(isBefore)
})

t.test(
  'an object that a paused archiver stores again is removed, and objects without a record stay',
  async t => {
    const archive = await compactedArchive(t)
    const [key = ''] = await keysOf(archive.store, `${archive.prefix}/dt=2026-10-15`)
    const bytes = await bytesOf(archive.store, key)
    await expired(archive, { days: DAYS })
    await archive.store.create(key, bytes)
    const unknown = await putEvents(archive, [eventOn(-40, 1, 'x')])
    t.match(await expired(archive, { days: DAYS }), { days: [{ day: '2026-10-15', objects: 1 }] })
    t.strictSame(await keysOf(archive.store, `${archive.prefix}/dt=2026-10-15`), [unknown])
  },
)

t.test('Iceberg is published after the entry, and before files go', async t => {
  const archive = await compactedArchive(t)
  const { data } = tableKeys(archive.prefix)
  const before = await keysOf(archive.store, data)
  const seen: [named: number, there: number][] = []
  await expired(archive, {
    days: DAYS,
    publish: async table => {
      seen.push([table.files.size, (await keysOf(archive.store, data)).length])
    },
  })
  t.strictSame(seen, [[before.length - 5, before.length]])
})

t.test('--record-only leaves the objects, and says that they have expired', async t => {
  const archive = await compactedArchive(t)
  await expired(archive, { days: DAYS, isRecordOnly: true })
  t.strictSame(await rawIds(archive, archive.store), IDS)
  t.strictSame(await queriedIds(t, archive), IDS.slice(5))
  await archive.store.remove(await keysOf(archive.store, `${archive.prefix}/dt=2026-10-15`))
  t.ok(await isClean(archive), 'what a lifecycle rule removes is not missing')
  const table = await new TableLogReader(archive.store, tableKeys(archive.prefix)).refresh()
  t.equal(table.erasures, 1)
})

t.test('bytes of objects in records of the log are removed', async t => {
  const archive = await openArchive(t, 's3')
  const archiver = await startArchiver(t, archive)
  await archiver.publish(numberedEvents(10))
  await archiver.holds(1)
  const { record } = await archive.reader.record(1)
  t.ok((await archive.reader.wholeRecord(1))?.length !== record?.headBytes, 'the object is inline')
  // As if it were later, in a store without a clock.
  const store = storeWith(archive.store, {
    read: async (key, range) => ({ ...(await archive.store.read(key, range)), date: undefined }),
  })
  await expired(archive, { store, days: DAYS, now: () => Date.now() + 40 * DAY_MS })
  t.strictSame(await rawIds(archive, archive.store), [])
  t.equal((await archive.reader.wholeRecord(1))?.length, record?.headBytes)
  await archiver.publish(numberedEvents(10, 10))
  await archiver.holds(1)
  t.ok(await isClean(archive), 'and archiving goes on')
})

t.test('an object that expires while "verify" reads is not damaged', async t => {
  const archive = await compactedArchive(t)
  let isBefore = true
  const store = storeWith(archive.store, {
    get: async key => {
      if (isBefore) await expired(archive, { days: DAYS })
      isBefore = false
      return archive.store.get(key)
    },
  })
  const { unreadable, log } = await verified(archive, store)
  t.match({ unreadable, log }, { unreadable: { objects: 0 }, log: { missing: { objects: 0 } } })
  const [key = ''] = await keysOf(archive.store, `${archive.prefix}/dt=2026-11`)
  const removing = storeWith(archive.store, {
    get: async each => {
      if (each === key) await archive.store.remove([key])
      return archive.store.get(each)
    },
  })
  t.match(await verified(archive, removing), { unreadable: { objects: 1, list: [{ key }] } })
})
