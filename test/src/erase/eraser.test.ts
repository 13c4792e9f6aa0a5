/** Erasure: what is left of events in objects, records and the table, beside other processes and after crashes. */
import { randomUUID } from 'node:crypto'
import { cpSync, readdirSync, utimesSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { gunzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { inWords, resultOf } from '../../../src/cli/verify/report.ts'
import type { VerifyFindings } from '../../../src/cli/verify/verifier.ts'
import { IdSet } from '../../../src/dedupe/id-set.ts'
import { findObjects } from '../../../src/erase/rewrite-objects.ts'
import { identityOf } from '../../../src/event/message-id.ts'
import { logKeys } from '../../../src/log/log-keys.ts'
import { LogReader } from '../../../src/log/log-reader.ts'
import { forEachAtOnce } from '../../../src/process/for-each-at-once.ts'
import { archivedBatches } from '../../../src/query/archive-batches.ts'
import { BatchBytes } from '../../../src/query/read-batch.ts'
import { openStore } from '../../../src/store/open-store.ts'
import {
  build,
  bytesOf,
  objectOf,
  openArchive,
  putObject,
  storeWith,
  type TestArchive,
  verified,
} from '../../helpers/archive-by-hand.ts'
import { compacted, globbedRows, queriedIds, useBuiltEngine } from '../../helpers/compact-helper.ts'
import { killedStore, nextCrash } from '../../helpers/crashing-store.ts'
import { erased, keysWith, openEraser, stagedKeys } from '../../helpers/erase-helper.ts'
import { configOf, temporaryDirectory } from '../../helpers/helper.ts'

const HOUR_MS = 3_600_000
const NOON_MS = Date.parse('2026-11-24T12:00:00.000Z')
const USER = 'user-7f3a'
const SECRET = 'secret-91bc'
const IS_USER = `user_id = '${USER}'`
const TEXTS = [USER, SECRET]

await useBuiltEngine(t)

function eventAt(hours: number, id: string, fields: Record<string, unknown> = {}): string {
  const receivedAt = new Date(NOON_MS + hours * HOUR_MS).toISOString()
  return JSON.stringify({ event: 'counted', messageId: id, user_id: 'other', ...fields, receivedAt })
}

function ofUser(hours: number, id: string, fields: Record<string, unknown> = {}): string {
  return eventAt(hours, id, { user_id: USER, properties: { note: SECRET }, ...fields })
}

async function archiveOf(
  t: Test,
  objects: readonly (readonly string[])[],
  extension = '.ndjson.gz',
): Promise<TestArchive> {
  const archive = await openArchive(t, 'directory')
  for (const [n, events] of objects.entries())
    await putObject(archive, objectOf(events, extension), extension, new Date(NOON_MS + n).toISOString())
  await build(archive, archive.store, { recordEventsMax: 1000, recordObjectsMax: 1 })
  return archive
}

async function copyOf(t: Test, { settings, ...archive }: TestArchive): Promise<TestArchive> {
  const path = temporaryDirectory(t)
  cpSync(settings.ARCHIVE_URL as string, path, { recursive: true })
  const store = await openStore(configOf({ ARCHIVE_URL: path }))
  return { ...archive, store, settings: { ARCHIVE_URL: path } }
}

const pathOf = ({ settings }: TestArchive): string => settings.ARCHIVE_URL as string

async function objectsOf({ store, prefix }: TestArchive): Promise<Map<string, Buffer>> {
  const objects = new Map<string, Buffer>()
  for await (const key of store.list(`${prefix}/dt=`)) objects.set(key, await bytesOf(store, key))
  return objects
}

/** Nothing of the user is left, every event counts, and the log, the table and the objects agree. */
async function assertErased(t: Test, archive: TestArchive, ids: readonly string[]): Promise<void> {
  t.strictSame(await keysWith(t, archive, TEXTS), [])
  t.strictSame(
    (await globbedRows(pathOf(archive))).map(([id]) => id),
    ids,
  )
  t.strictSame(await stagedKeys(archive), [])
  const findings = await verified(archive, archive.store)
  const nothing = { objects: 0 }
  t.match(findings, {
    events: ids.length,
    duplicates: { events: 0 },
    log: { missing: nothing, changed: nothing, unknown: nothing, damaged: { records: 0 } },
  })
}

t.test('an erased event keeps its id, its source and its time, in the object and in the table', async t => {
  const archive = await archiveOf(t, [
    [eventAt(0, 'a'), ofUser(0.1, 'b', { source: 'web' }), ofUser(0.2, 'c', { source: { of: SECRET } })],
    [eventAt(1, 'd'), eventAt(1.1, 'e')],
  ])
  const before = await objectsOf(archive)
  const plan = { name: 'properties_note', member: 'properties.note', type: 'string' } as const
  const noon = NOON_MS / HOUR_MS
  for (const isDue of [(hour: number) => hour === noon, () => true])
    await compacted(t, archive, archive.store, { columns: [plan], isDue })
  t.match(await erased(t, archive, archive.store, IS_USER), { events: 2, objects: { length: 1 } })
  await assertErased(t, archive, [...'abcde'])
  const [[key, bytes] = [], other = []] = [...(await objectsOf(archive))]
  t.strictSame(
    gunzipSync(bytes as Buffer)
      .toString()
      .split('\n'),
    [
      eventAt(0, 'a'),
      '{"messageId":"b","source":"web","erased":true,"receivedAt":"2026-11-24T12:06:00.000Z"}',
      '{"messageId":"c","erased":true,"receivedAt":"2026-11-24T12:12:00.000Z"}',
      '',
    ],
  )
  t.not(bytes?.equals(before.get(key as string) as Buffer), true)
  t.ok(other[1]?.equals(before.get(other[0] as string) as Buffer), 'no other object is touched')
  const select = 'message_id, source, event, user_id, properties_note, extra, raw'
  t.strictSame((await globbedRows(pathOf(archive), select)).slice(0, 3), [
    ['a', null, 'counted', 'other', null, null, null],
    ['b', 'web', null, null, null, '{"erased":true}', null],
    ['c', null, null, null, null, '{"erased":true}', null],
  ])
  t.match(await erased(t, archive, archive.store, IS_USER), { events: 0 }, 'and again nothing matches')
  t.strictSame(await queriedIds(t, archive), [...'abcde'])
})

t.test('after a kill at any write the next erasure completes it', async t => {
  const template = await archiveOf(t, [
    [eventAt(0, 'a'), ofUser(0.5, 'b')],
    [ofUser(1, 'c'), eventAt(1.5, 'd')],
  ])
  await compacted(t, template, template.store)
  // A second erasure of the same file has old bytes to remove, too.
  t.match(await erased(t, template, template.store, "message_id = 'a'"), { events: 1 })
  // One eraser for all: its store is that of the next copy.
  let current = template.store
  const switching = storeWith(template.store, {})
  const proxied = new Proxy(switching, { get: (_, name) => Reflect.get(storeWith(current, {}), name) })
  const eraser = await openEraser(t, template, proxied)
  t.teardown(() => eraser.close())
  const plan = await eraser.plan(IS_USER)
  const left: TestArchive[] = []
  for (let at = 0, outcome = 'killed'; outcome === 'killed'; at += nextCrash()) {
    const archive = await copyOf(t, template)
    const killed = killedStore(archive.store, at)
    current = killed.store
    outcome = await Promise.race([killed.killed, eraser.erase(plan).then(() => 'done')])
    const ids = (await globbedRows(pathOf(archive))).map(([id]) => id).join('')
    if (ids !== 'abcd') t.fail(`killed after write ${at}: the glob has ${ids}`)
    left.push(archive)
  }
  t.ok(left.length > 4, `${left.length} kills`)
  await forEachAtOnce(left, 3, async archive => {
    await erased(t, archive, archive.store, IS_USER)
    await assertErased(t, archive, [...'abcd'])
  })
})

t.test('events with odd members are erased, and what cannot be is counted', async t => {
  const odd = [
    ofUser(0, 'twice').replace('{', `{"traits":"${USER}","traits":1,`),
    `{"messageId":"late","user_id":"${USER}"}`,
    `{"messageId":"stray","user_id":"${USER}","receivedAt":"2026-11-20T00:00:00.000Z"}`,
    `{"messageId":"no-time","user_id":"${USER}","receivedAt":"${SECRET}"}`,
    `{ "erased": true, "messageId": "claims", "source": { "user": "${USER}" }, "user_id": "${USER}" }`,
    `{"messageId":"lone\\ud800","user_id":"${USER}","note":"${SECRET}","receivedAt":"2026-11-24T12:00:00.000Z"}`,
  ]
  for (const extension of ['.ndjson.gz', '.json']) {
    const archive = await archiveOf(t, [[eventAt(0, 'a'), ...odd], [eventAt(0.1, 'b')]], extension)
    const without = `{"user_id":"${USER}","receivedAt":"2026-11-24T12:00:00.000Z"}`
    const found = await erased(t, archive, archive.store, IS_USER)
    t.match(found, { events: 6, objects: [{ events: 6 }], matches: { withoutId: 0 } })
    t.strictSame(await keysWith(t, archive, TEXTS), [])
    t.match(await erased(t, archive, archive.store, IS_USER), { events: 0 })
    await compacted(t, archive, archive.store)
    t.equal((await globbedRows(pathOf(archive))).length, 8)
    const other = await archiveOf(t, [[eventAt(0, 'a'), without]])
    t.match(await erased(t, other, other.store, IS_USER), { events: 0, matches: { withoutId: 1 } })
  }
})

t.test('two copies of an event are erased, wherever they are', async t => {
  const stray = ofUser(-80, 'b')
  const archive = await archiveOf(t, [
    [ofUser(0, 'b'), eventAt(0.1, 'a')],
    [eventAt(1, 'c'), stray],
    [eventAt(-80, 'd')],
  ])
  t.match(await erased(t, archive, archive.store, IS_USER), { events: 1, objects: { length: 2 } })
  t.strictSame(await keysWith(t, archive, TEXTS), [])
})

t.test('of two erasures at once one is refused, and goes on when it is run again', async t => {
  const archive = await archiveOf(t, [[eventAt(0, 'a', { user_id: 'second' }), ofUser(0.5, 'b')]])
  await compacted(t, archive, archive.store)
  const refused = erased(t, archive, archive.store, IS_USER, {
    between: async () => {
      await erased(t, archive, archive.store, "user_id = 'second'")
    },
  })
  await t.rejects(refused, /Another command has changed .*Run this one again/)
  let isBeside = false
  const meanwhile = storeWith(archive.store, {
    put: async (key, body) => {
      const size = await archive.store.put(key, body)
      if (!isBeside) {
        isBeside = true
        await erased(t, archive, archive.store, "message_id = 'a' or message_id = 'b'")
      }
      return size
    },
  })
  const other = await archiveOf(t, [[eventAt(0, 'a'), ofUser(0.5, 'b')]])
  t.teardown(() => other.store.close())
  await t.rejects(erasedBeside(t, other), /Another command has changed the archive meanwhile/)
  await erased(t, other, other.store, IS_USER)
  await assertRawErased(t, other, 2)
  await erased(t, archive, meanwhile, IS_USER).catch(() => {})
  await erased(t, archive, archive.store, IS_USER)
  await assertErased(t, archive, [...'ab'])
})

/** An erasure that stages an object, while another one erases other events of the same object, and folds the log. */
function erasedBeside(t: Test, archive: TestArchive): Promise<unknown> {
  let isFirst = true
  const store = storeWith(archive.store, {
    put: async (key, body) => {
      const size = await archive.store.put(key, body)
      if (isFirst) {
        isFirst = false
        await erased(t, archive, archive.store, "message_id = 'a'")
        // This folds the record of the erasure: the first one does not read it.
        await erased(t, archive, archive.store, "message_id = 'none'")
      }
      return size
    },
  })
  return erased(t, archive, store, IS_USER)
}

function wordsOf(findings: VerifyFindings): string {
  return inWords({ archive: 'a', result: resultOf(findings), seconds: 1, ...findings })
}

async function assertRawErased(t: Test, archive: TestArchive, events: number): Promise<void> {
  t.strictSame(await keysWith(t, archive, TEXTS), [])
  t.strictSame(await stagedKeys(archive), [])
  const { events: found, log } = await verified(archive, archive.store)
  t.match({ found, log }, { found: events, log: { changed: { objects: 0 }, missing: { objects: 0 } } })
  const lines = [...(await objectsOf(archive)).values()].map(bytes => gunzipSync(bytes).toString()).join('')
  t.equal(lines.match(/"erased":true/g)?.length, events, 'and the other erasure holds')
}

/** An erasure that is killed after it has recorded its rewrites, and before it has moved any. */
async function interruptedErasure(t: Test): Promise<{ archive: TestArchive; key: string }> {
  const archive = await archiveOf(t, [[eventAt(0, 'a'), ofUser(0.5, 'b')], [eventAt(1, 'c')]])
  const store = storeWith(archive.store, { moveAll: () => Promise.reject(new Error('killed')) })
  await t.rejects(erased(t, archive, store, IS_USER), /killed/)
  const [key = ''] = (await objectsOf(archive)).keys()
  return { archive, key }
}

t.test('verify tells an erasure that was interrupted from an object that was changed', async t => {
  const { archive, key } = await interruptedErasure(t)
  const before = await bytesOf(archive.store, key)
  const findings = await verified(archive, archive.store)
  t.match(findings.log, {
    unerased: { objects: 1, left: 0, list: [key] },
    changed: { objects: 0, list: [] },
    missing: { objects: 0 },
  })
  t.equal(resultOf(findings), 'clean', 'it may be running')
  t.match(wordsOf(findings), /Not yet erased +1 {2}an erasure runs, or was interrupted\n/)

  const tenMinutesAgo = Date.now() / 1000 - 600
  const path = archive.store.localPath(archive.keys.record(findings.log?.position as number)) as string
  utimesSync(path, tenMinutesAgo, tenMinutesAgo)
  const later = await verified(archive, archive.store)
  t.match(later.log, { unerased: { objects: 1, left: 1 }, changed: { objects: 0 } })
  t.equal(resultOf(later), 'findings')
  t.match(
    wordsOf(later),
    /Not yet erased +1 .*; 1 for more than 5 minutes: if none runs, run "frequency erase" again\n/,
  )
  t.match(wordsOf(later), new RegExp(`Not yet erased:\\n  ${key}\\n`))

  t.match(await erased(t, archive, archive.store, IS_USER), { hasEarlier: true })
  t.strictSame(await keysWith(t, archive, TEXTS), [])
  t.equal(resultOf(await verified(archive, archive.store)), 'clean')
  await archive.store.replace(key, before)
  t.match((await verified(archive, archive.store)).log, {
    unerased: { objects: 0 },
    changed: { objects: 1, list: [key] },
  })
})

t.test('verify beside an erasure that ends meanwhile finds nothing', async t => {
  const { archive, key } = await interruptedErasure(t)
  let isRead = false
  const store = storeWith(archive.store, {
    get: async each => {
      const body = await archive.store.get(each)
      if (each === key && !isRead) {
        isRead = true
        const bytes = await buffer(body)
        await erased(t, archive, archive.store, IS_USER)
        return Readable.from([bytes])
      }
      return body
    },
  })
  t.match((await verified(archive, store)).log, { unerased: { objects: 0 }, changed: { objects: 0 } })
})

t.test('objects are looked through some at a time, first those of the times of the events', async t => {
  const archive = await archiveOf(
    t,
    Array.from({ length: 6 }, (_, n) => [eventAt(n, `e${n}`)]),
  )
  const { store, prefix } = archive
  const ids = new IdSet()
  for (const messageId of ['e1', 'e5']) ids.add(identityOf({ messageId }) as Buffer)
  const reader = new LogReader(store, logKeys(prefix))
  const parts: number[] = []
  const search = async (times: readonly number[]): Promise<string[]> => {
    parts.length = 0
    const { objects, hasRewrites } = await findObjects(
      batch => new BatchBytes(store, reader, batch),
      async isWanted => {
        const archived = await archivedBatches(store, prefix, 0, isWanted)
        parts.push(archived.batches.length)
        return archived
      },
      { ids, rows: 2, times: Float64Array.from(times), untimed: 0, withoutId: 0, users: [], parquet: '' },
      () => {},
      { partBatches: 2 },
    )
    t.equal(hasRewrites, false)
    const lines = await Promise.all(objects.map(({ batch }) => bytesOf(store, batch.key)))
    return lines.map(bytes => JSON.parse(gunzipSync(bytes).toString()).messageId)
  }
  t.strictSame(await search([NOON_MS + HOUR_MS, NOON_MS + 5 * HOUR_MS]), ['e1', 'e5'])
  t.strictSame(parts, [2, 0], 'all were likely')
  t.strictSame(await search([NOON_MS + HOUR_MS]), ['e1', 'e5'])
  t.strictSame(parts, [1, 2, 2, 1])
})

t.test('a compactor that has read the objects before does not add what it has read', async t => {
  const archive = await archiveOf(t, [[eventAt(0, 'a'), ofUser(0.5, 'b')]])
  let isFirst = true
  const compacting = storeWith(archive.store, {
    put: async (key, body) => {
      const size = await archive.store.put(key, body)
      if (isFirst) {
        isFirst = false
        await erased(t, archive, archive.store, IS_USER)
      }
      return size
    },
  })
  await compacted(t, archive, compacting)
  t.strictSame(await keysWith(t, archive, TEXTS), [])
  t.strictSame(await globbedRows(pathOf(archive)), [], 'it added nothing')
  await compacted(t, archive, archive.store)
  await assertErased(t, archive, [...'ab'])
})

t.test('what killed archivers have staged is removed after an hour, and counted before', async t => {
  const archive = await archiveOf(t, [[ofUser(0, 'a')]])
  const staged = `${archive.prefix}/_frequency/staged/${randomUUID()}`
  await archive.store.put(staged, Readable.from([objectOf([ofUser(0, 'a')])], { objectMode: false }))
  t.match(await erased(t, archive, archive.store, IS_USER), { staged: 1 })
  t.strictSame(await keysWith(t, archive, TEXTS), [staged])
  const hourAgo = new Date(Date.now() - 2 * HOUR_MS)
  utimesSync(join(pathOf(archive), staged), hourAgo, hourAgo)
  t.match(await erased(t, archive, archive.store, IS_USER), { events: 0, staged: 0 })
  t.strictSame(await keysWith(t, archive, TEXTS), [])
})

t.test('the cache of queries has nothing of it afterwards, and is used for the rest', async t => {
  const archive = await archiveOf(t, [[eventAt(0, 'a'), ofUser(0.5, 'b')]])
  const cacheDirectory = join(temporaryDirectory(t), 'cache')
  await erased(t, archive, archive.store, "message_id = 'none'", { cacheDirectory })
  t.equal(readdirSync(cacheDirectory).length, 2, 'an entry')
  await erased(t, archive, archive.store, IS_USER, { cacheDirectory })
  t.strictSame(readdirSync(cacheDirectory), [])
})
