/** Compaction of an archive into its table: what is in which file, and crashes at each step. */
import { randomUUID } from 'node:crypto'
import { utimesSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { GIB } from '../../../src/config/setting-types.ts'
import { type ArchivedBatch, archivedBatches } from '../../../src/query/archive-batches.ts'
import { QueryCache } from '../../../src/query/query-cache.ts'
import { tableKeys } from '../../../src/table/table-keys.ts'
import { TableLogReader } from '../../../src/table/table-log.ts'
import {
  build,
  bytesOf,
  damage,
  objectOf,
  openArchive,
  putObject,
  storeWith,
  type TestArchive,
  verified,
} from '../../helpers/archive-by-hand.ts'
import { compacted, globbedRows, queriedIds, useBuiltEngine } from '../../helpers/compact-helper.ts'
import { crashingStore, nextCrash } from '../../helpers/crashing-store.ts'
import { createGate } from '../../helpers/gate.ts'
import { range, temporaryDirectory } from '../../helpers/helper.ts'

const HOUR_MS = 3_600_000
const NOON_MS = Date.parse('2026-11-24T12:00:00.000Z')

await useBuiltEngine(t)

/** An event of an hour, in hours from noon. */
function eventAt(hours: number, id: string, fields: Record<string, unknown> = {}): string {
  const receivedAt = new Date(NOON_MS + hours * HOUR_MS).toISOString()
  return JSON.stringify({ event: 'counted', messageId: id, ...fields, receivedAt })
}

async function archiveOf(t: Test, objects: readonly (readonly string[])[]): Promise<TestArchive> {
  const archive = await openArchive(t, 'directory')
  for (const [n, events] of objects.entries())
    await putObject(archive, objectOf(events), '.ndjson.gz', new Date(NOON_MS + n).toISOString())
  await build(archive, archive.store, { recordEventsMax: 1000, recordObjectsMax: 1 })
  return archive
}

const pathOf = ({ settings }: TestArchive): string => settings.ARCHIVE_URL as string

t.test('each event is in a file of its hour', async t => {
  const archive = await archiveOf(t, [
    [eventAt(0, 'a'), eventAt(0.5, 'b'), eventAt(0.1, 'c')],
    [eventAt(0.9, 'd'), eventAt(1.1, 'e')],
    [eventAt(1.5, 'f'), JSON.stringify({ messageId: 'g', receivedAt: 'late' }), eventAt(1.2, 'h')],
    [eventAt(2, 'i', { event: 'b' }), eventAt(2.5, 'j', { event: 'a' }), eventAt(2.1, 'k', { event: 'b' })],
  ])
  const report = await compacted(t, archive, archive.store)
  t.match(report, { files: 4, events: 11, skipped: 0 })
  const rows = await globbedRows(pathOf(archive), 'message_id, hour')
  t.strictSame(
    rows.map(([id, hour]) => `${id} ${hour}`),
    [...'abcd'].map(id => `${id} 12`).concat('e 13', 'f 13', 'g null', 'h 13', 'i 14', 'j 14', 'k 14'),
  )
  t.strictSame(await queriedIds(t, archive), [...'abcdefghijk'])
  t.match(await compacted(t, archive, archive.store), { files: 0 }, 'and again there is nothing to add')
  const findings = await verified(archive, archive.store)
  t.match(findings, { events: 11, duplicates: { events: 0 } })
})

t.test('one wrong time does not make a batch span half a million hours', async t => {
  const archive = await archiveOf(t, [
    [
      JSON.stringify({ messageId: 'a', receivedAt: '1970-01-01T00:00:00.000Z' }),
      eventAt(0, 'b'),
      eventAt(1, 'c'),
    ],
    [eventAt(1, 'd'), JSON.stringify({ messageId: 'e', receivedAt: '9999-12-31T23:00:00.000Z' })],
  ])
  t.match(await compacted(t, archive, archive.store), { events: 5, skipped: 0, failed: 0 })
  t.strictSame(await globbedRows(pathOf(archive), 'message_id, dt, hour'), [
    ['a', '1970-01-01', '00'],
    ['b', '2026-11-24', '12'],
    ['c', '2026-11-24', '13'],
    ['d', '2026-11-24', '13'],
    ['e', '9999-12-31', '23'],
  ])
  t.strictSame(await queriedIds(t, archive), [...'abcde'])
  t.match(await compacted(t, archive, archive.store), { files: 0 })
})

t.test('an hour that is not over stays in the objects, and late events become a further file', async t => {
  const archive = await archiveOf(t, [[eventAt(0, 'a'), eventAt(1, 'b')], [eventAt(1.5, 'c')]])
  const noon = NOON_MS / HOUR_MS
  t.match(await compacted(t, archive, archive.store, { isDue: hour => hour <= noon }), {
    files: 1,
    events: 1,
  })
  t.strictSame(await globbedRows(pathOf(archive)), [['a']])
  t.strictSame(await queriedIds(t, archive), ['a', 'b', 'c'])
  t.match(await compacted(t, archive, archive.store), { files: 1, events: 2 })
  t.strictSame(await queriedIds(t, archive), ['a', 'b', 'c'])
})

t.test('typed columns hold members, and are added without a rewrite', async t => {
  const archive = await archiveOf(t, [
    [
      eventAt(0, 'a', { properties: { plan: 'pro', price: 1.5 } }),
      eventAt(0, 'b', { properties: { plan: 7 } }),
    ],
    [eventAt(1, 'c', { properties: { plan: 'free', price: 'much' }, loud: true })],
    [eventAt(1, 'd', { properties: { price: 1.5 } }), eventAt(1, 'e', { properties: { price: 5 } })],
  ])
  const plan = { name: 'properties_plan', member: 'properties.plan', type: 'string' } as const
  const price = { name: 'properties_price', member: 'properties.price', type: 'double' } as const
  const loud = { name: 'loud', member: 'loud', type: 'boolean' } as const
  const whole = { name: 'whole', member: 'properties.price', type: 'long' } as const
  const noon = NOON_MS / HOUR_MS
  await compacted(t, archive, archive.store, { columns: [plan], isDue: hour => hour === noon })
  await compacted(t, archive, archive.store, { columns: [plan, price, loud, whole] })
  t.strictSame(
    await globbedRows(pathOf(archive), 'message_id, properties_plan, properties_price, loud, whole'),
    [
      ['a', 'pro', null, null, null],
      ['b', '7', null, null, null],
      ['c', 'free', null, true, null],
      ['d', null, 1.5, null, null],
      ['e', null, 5, null, 5n],
    ],
  )
  await t.rejects(
    compacted(t, archive, archive.store, { columns: [{ ...plan, type: 'long' }] }),
    /cannot change/,
  )
})

t.test('after a crash at any step the table is right, and the next run completes it', async t => {
  const objects = [[eventAt(0, 'a'), eventAt(0.9, 'b'), JSON.stringify({ messageId: 'c' })]]
  const all = [...'abc']
  let crashes = 0
  for (const when of ['before', 'after'] as const) {
    for (let at = 1, hasCrashed = true; hasCrashed; at += nextCrash()) {
      const archive = await archiveOf(t, objects)
      const crashing = crashingStore(archive.store, at, when)
      hasCrashed = await compacted(t, archive, crashing).then(
        () => false,
        () => true,
      )
      const ids = (await globbedRows(pathOf(archive))).map(([id]) => String(id))
      const isRight =
        new Set(ids).size === ids.length &&
        // Each query starts two processes.
        (at % 3 !== 0 || (await queriedIds(t, archive)).join() === all.join()) &&
        ids.every(id => all.includes(id))
      await expireClaims(archive)
      await compacted(t, archive, archive.store)
      const after = (await globbedRows(pathOf(archive))).map(([id]) => String(id))
      if (hasCrashed) crashes++
      if (!isRight || after.join() !== all.join()) t.fail(`crash ${when} write ${at}: ${ids} then ${after}`)
    }
  }
  t.ok(crashes > 3, `${crashes} crashes`)
})

t.test('several compactors at once add each event once', async t => {
  const ids = range(60).map(() => randomUUID())
  const archive = await archiveOf(
    t,
    range(12).map(n => ids.slice(5 * n, 5 * n + 5).map(id => eventAt(n / 3, id))),
  )
  const reports = await Promise.all(range(3).map(() => compacted(t, archive, archive.store)))
  t.equal(
    reports.reduce((sum, { events }) => sum + events, 0),
    60,
  )
  t.strictSame(
    (await globbedRows(pathOf(archive))).map(([id]) => id),
    ids.toSorted(),
  )
  t.strictSame(await queriedIds(t, archive), ids.toSorted())
})

t.test('two that make the same file add it once, without claims', async t => {
  const archive = await archiveOf(t, [[eventAt(0, 'a'), eventAt(0.5, 'b')]])
  const { claims } = tableKeys(archive.prefix)
  const unclaimed = storeWith(archive.store, {
    create: async (key, body) =>
      key.startsWith(claims) ? { outcome: 'created', date: undefined } : archive.store.create(key, body),
  })
  await Promise.all(range(3).map(() => compacted(t, archive, unclaimed)))
  t.strictSame(await globbedRows(pathOf(archive)), [['a'], ['b']])
  const table = await new TableLogReader(archive.store, tableKeys(archive.prefix)).refresh()
  t.equal(table.files.size, 1)
})

t.test(
  'the bounds of a file hold a text with a byte order mark, so that readers do not pass the file by',
  async t => {
    const ids = ['\ufeffa', 'zebra']
    const archive = await archiveOf(t, [ids.map(id => eventAt(0, id, { event: id }))])
    await compacted(t, archive, archive.store)
    const table = await new TableLogReader(archive.store, tableKeys(archive.prefix)).refresh()
    const [file] = table.files.values()
    for (const column of ['event', 'message_id'])
      t.match(file?.stats[column], { min: 'zebra', max: '\ufeffa' }, column)
  },
)

t.test('an object that is damaged keeps its hour out of the table, and no other one', async t => {
  const archive = await archiveOf(t, [[eventAt(0, 'a')], [eventAt(1, 'b')], [eventAt(2, 'c')]])
  const { batches } = await archivedBatches(archive.store, archive.prefix)
  const { key } = batches[1] as ArchivedBatch
  const whole = await bytesOf(archive.store, key)
  await damage(archive.store, key, bytes => bytes.subarray(0, -4))
  t.match(await compacted(t, archive, archive.store), { files: 2, failed: 1, reason: /is damaged/ })
  t.strictSame(await globbedRows(pathOf(archive)), [['a'], ['c']])
  await archive.store.replace(key, whole)
  t.match(await compacted(t, archive, archive.store), { files: 1, failed: 0 })
  t.strictSame(await globbedRows(pathOf(archive)), [['a'], ['b'], ['c']])
})

t.test('a file that the engine cannot make keeps its hour out of the table, and no other one', async t => {
  const archive = await archiveOf(t, [[eventAt(0, 'a')], [eventAt(1, 'b')]])
  const cache = await QueryCache.open(join(temporaryDirectory(t), 'cache'), GIB)
  t.teardown(() => cache.close())
  let paths = 0
  const failing = {
    runDirectory: cache.runDirectory,
    temporaryPath: (extension: string) =>
      // The second try has more memory.
      extension === 'table' && ++paths <= 2 ? '/nowhere/table' : cache.temporaryPath(extension),
  }
  const report = await compacted(t, archive, archive.store, { cache: failing })
  t.match(report, { files: 1, events: 1, failed: 1, reason: /nowhere/ })
  t.strictSame(await globbedRows(pathOf(archive)), [['b']])
  t.match(await compacted(t, archive, archive.store), { files: 1, failed: 0 })
  t.strictSame(await globbedRows(pathOf(archive)), [['a'], ['b']])
})

t.test('without an engine it ends at the first file', async t => {
  const archive = await archiveOf(t, [[eventAt(0, 'a')], [eventAt(1, 'b')]])
  const program = process.argv[1] as string
  process.argv[1] = '/nowhere/program.js'
  t.teardown(() => {
    process.argv[1] = program
  })
  await t.rejects(compacted(t, archive, archive.store), /engine ended unexpectedly/)
})

t.test('long events are in a file of their own', async t => {
  const long = 'x'.repeat(100_000)
  const archive = await archiveOf(t, [
    [eventAt(0, 'a'), eventAt(0.5, 'b')],
    [eventAt(0.1, 'c', { properties: { long } })],
  ])
  t.match(await compacted(t, archive, archive.store), { files: 2, events: 3 })
  t.strictSame(await globbedRows(pathOf(archive)), [['a'], ['b'], ['c']])
  t.strictSame(await queriedIds(t, archive), ['a', 'b', 'c'])
})

t.test('an object may have events that are decades apart', async t => {
  const years = 24 * 365
  const archive = await archiveOf(t, [[eventAt(-60 * years, 'a'), eventAt(0, 'b'), eventAt(1, 'c')]])
  t.match(await compacted(t, archive, archive.store), { files: 3, events: 3 })
  t.strictSame(await globbedRows(pathOf(archive), 'message_id, hour'), [
    ['a', '12'],
    ['b', '12'],
    ['c', '13'],
  ])
  t.strictSame(await queriedIds(t, archive), ['a', 'b', 'c'])
})

t.test('a file waits until the one before it, of the same hour, is in the table', async t => {
  const archive = await archiveOf(t, [[eventAt(0, 'a')], [eventAt(0, 'b')], [eventAt(0, 'c')]])
  const fileLimits = { storedBytesMax: 1, eventBytesMax: 1 }
  const { batches } = await archivedBatches(archive.store, archive.prefix)
  const { key } = batches[1] as ArchivedBatch
  const whole = await bytesOf(archive.store, key)
  await damage(archive.store, key, bytes => bytes.subarray(0, -4))
  t.match(await compacted(t, archive, archive.store, { fileLimits }), {
    files: 1,
    failed: 1,
    skipped: 1,
  })
  await archive.store.replace(key, whole)
  t.strictSame(await queriedIds(t, archive), ['a', 'b', 'c'], 'nothing is hidden by a later file')
  await compacted(t, archive, archive.store, { fileLimits })
  t.strictSame(await globbedRows(pathOf(archive)), [['a'], ['b'], ['c']])
})

t.test('two that cut an hour into other files add each event once', async t => {
  const archive = await archiveOf(t, [
    [eventAt(0, 'a')],
    [eventAt(0, 'b')],
    [eventAt(0, 'c')],
    [eventAt(0, 'd')],
  ])
  const gate = createGate()
  const { claims } = tableKeys(archive.prefix)
  const paused = storeWith(archive.store, {
    create: async (key, body) => {
      if (key.startsWith(claims)) await gate.reach()
      return archive.store.create(key, body)
    },
  })
  const { bytes, storedBytes } = (await archivedBatches(archive.store, archive.prefix))
    .batches[0] as ArchivedBatch
  const fileLimits = { storedBytesMax: 3 * storedBytes, eventBytesMax: 3 * bytes }
  const late = compacted(t, archive, paused, { fileLimits })
  await gate.reached
  const stopping = new AbortController()
  const stopped = storeWith(archive.store, {
    move: (from, to) => {
      stopping.abort()
      return archive.store.move(from, to)
    },
  })
  const own = { fileLimits: { storedBytesMax: 1, eventBytesMax: 1 }, stopping: stopping.signal }
  await compacted(t, archive, stopped, own).catch(() => {})
  gate.open()
  await late
  t.strictSame(await queriedIds(t, archive), [...'abcd'])
})

t.test('a table of another log is not read', async t => {
  const archive = await archiveOf(t, [[eventAt(0, 'a')]])
  await compacted(t, archive, archive.store)
  const { own } = archive.keys
  const old: string[] = []
  for await (const key of archive.store.list(own)) if (!key.startsWith(`${own}table/`)) old.push(key)
  await archive.store.remove(old)
  await build(archive, archive.store)
  await t.rejects(queriedIds(t, archive), /belongs to another log/)
  await t.rejects(compacted(t, archive, archive.store), /belongs to another log/)
})

/** As if a minute had passed since a process ended. */
async function expireClaims({ store, prefix }: TestArchive): Promise<void> {
  const keys: string[] = []
  for await (const key of store.list(tableKeys(prefix).claims)) keys.push(key)
  await store.remove(keys)
}

t.test(
  'what a sleeping compactor has staged is removed after a day, and it cannot name it any more',
  async t => {
    const archive = await archiveOf(t, [[eventAt(0, 'a')]])
    const { staged } = tableKeys(archive.prefix)
    const asleep = createGate()
    const sleeping = storeWith(archive.store, {
      put: async (key, body) => {
        const bytes = await archive.store.put(key, body)
        const path = join(pathOf(archive), key)
        utimesSync(path, 0, 0)
        await asleep.reach()
        return bytes
      },
    })
    const first = compacted(t, archive, sleeping)
    await asleep.reached
    t.match(await compacted(t, archive, archive.store, { isDue: () => false }), { files: 0 })
    const left: string[] = []
    for await (const key of archive.store.list(staged)) left.push(key)
    t.strictSame(left, [])
    asleep.open()
    t.match(await first, { files: 0 })
    await expireClaims(archive)
    t.match(await compacted(t, archive, archive.store), { files: 1 })
    t.strictSame(await globbedRows(pathOf(archive)), [['a']])
  },
)
