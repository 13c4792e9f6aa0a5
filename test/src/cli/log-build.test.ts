/** Builds the log of an archive that has objects but no log. */
import { randomUUID } from 'node:crypto'
import { test } from 'tap'
import { StoreUnavailable } from '../../../src/errors.ts'
import { walkLog } from '../../../src/log/log-walk.ts'
import {
  archivedEvent,
  archivedEvents,
  build,
  objectOf,
  openArchive,
  putObject,
  STORE_KINDS,
  startArchiver,
  storeWith,
  type TestArchive,
  verified,
} from '../../helpers/archive-by-hand.ts'
import { numberedEvents } from '../../helpers/helper.ts'
import { objectKeysOf } from '../../helpers/store-helper.ts'

async function numbersOf({ store, reader, keys }: TestArchive): Promise<number[]> {
  const numbers: number[] = []
  for await (const step of walkLog({ store, reader, keys })) {
    if (step.kind === 'damaged') throw new Error(step.message)
    if (step.kind !== 'manifest') numbers.push(step.record.number)
  }
  return numbers
}

for (const kind of STORE_KINDS) {
  test(`the log of objects in ${kind} is built, in every format`, async t => {
    const archive = await openArchive(t, kind)
    const { store } = archive
    for (const extension of ['.ndjson', '.ndjson.gz', '.json', '.json.gz'])
      await putObject(archive, objectOf(archivedEvents(40), extension), extension)
    // The last key. This object alone exceeds the limit of a record.
    await putObject(archive, objectOf(archivedEvents(150)), '.ndjson.gz', '2026-11-25T00:00:00.000Z')
    const built = await build(archive, store)
    t.match(built, { position: 3, objects: 5, events: 310, abandoned: 0 })
    t.match(built, { damaged: { objects: 0 }, duplicates: { events: 0 } })
    t.same(await numbersOf(archive), [0, 1, 2, 3])

    const { log, duplicates } = await verified(archive, store)
    t.match(log, { id: built.id, position: 3, objects: 5, damaged: { records: 0 } })
    t.match(log, { missing: { objects: 0 }, changed: { objects: 0 }, unknown: { objects: 0 } })
    t.equal(duplicates.events, 0)
    await t.rejects(build(archive, store), { code: 'FRQ_LOG_REFUSED', message: /has a log/ })
  })

  test(`an archiver in ${kind} uses the log that was built`, async t => {
    const archive = await openArchive(t, kind)
    const { store } = archive
    const known = numberedEvents(10)
    await putObject(archive, objectOf(known.map(({ body }) => body.toString())))
    const archiver = await startArchiver(t, archive)
    await archiver.isStopped(/frequency log build/)
    await build(archive, store)
    await archiver.publish([...known, ...numberedEvents(10, 10)])
    await archiver.holds(2)
    t.equal(archiver.archiver.stats.duplicates, 10)
    t.match(await verified(archive, store), { events: 20, ids: 20, log: { unknown: { objects: 0 } } })
  })

  test(`a build in ${kind} that was broken off can be repeated`, async t => {
    const archive = await openArchive(t, kind)
    const { store, keys } = archive
    for (let n = 0; n < 6; n++) await putObject(archive, objectOf(archivedEvents(10)))
    const failing = storeWith(store, {
      create: async (key, body) => {
        if (key === keys.record(3)) throw new StoreUnavailable('the network is down')
        return store.create(key, body)
      },
    })
    await t.rejects(build(archive, failing), { code: 'FRQ_STORE_UNAVAILABLE' })
    t.match(await verified(archive, store), { log: null }, 'there is no log yet')
    const archiver = await startArchiver(t, archive)
    await archiver.isStopped(/frequency log build/)
    await archiver.archiver.stop()

    const last = await putObject(archive, objectOf(archivedEvents(10)))
    t.match(await build(archive, store), { abandoned: 2, position: 4, objects: 7, events: 70 })
    t.same(await numbersOf(archive), [0, 1, 2, 3, 4])
    t.ok((await objectKeysOf(store)).includes(last))
    t.match(await verified(archive, store), { log: { objects: 7, unknown: { objects: 0 } } })
  })

  test(`if two builds run at once in ${kind}, one of them makes the log`, async t => {
    const archive = await openArchive(t, kind)
    const { store, keys } = archive
    for (let n = 0; n < 6; n++) await putObject(archive, objectOf(archivedEvents(10)))
    let other: Promise<{ id: string }> | undefined
    const interrupted = (number: number) =>
      storeWith(store, {
        create: async (key, body) => {
          if (key === keys.record(number)) {
            other ??= build(archive, store)
            await other
          }
          return store.create(key, body)
        },
      })
    await t.rejects(build(archive, interrupted(3)), { code: 'FRQ_LOG_REFUSED', message: /Another build/ })
    t.match(await verified(archive, store), {
      log: { id: (await other)?.id, objects: 6, damaged: { records: 0 }, unknown: { objects: 0 } },
    })
  })
}

test('a build that misses one of its records does not create record 0', async t => {
  const archive = await openArchive(t, 'directory')
  const { store, keys } = archive
  for (let n = 0; n < 4; n++) await putObject(archive, objectOf(archivedEvents(10)))
  const interrupted = storeWith(store, {
    create: async (key, body) => {
      const created = await store.create(key, body)
      if (key === keys.record(2)) await store.remove([keys.record(1)])
      return created
    },
  })
  await t.rejects(build(archive, interrupted), { code: 'FRQ_LOG_REFUSED', message: /Another build/ })
  t.equal((await store.read(keys.record(0))).object, undefined)
})

test('damaged objects and duplicates are reported', async t => {
  const archive = await openArchive(t, 'directory')
  const { store } = archive
  const twice = archivedEvent({ source: 'shop' })
  const { messageId } = JSON.parse(twice)
  const first = await putObject(archive, objectOf([twice, ...archivedEvents(4)]))
  const second = await putObject(archive, objectOf([twice, twice, ...archivedEvents(3)]))
  const withoutId = await putObject(
    archive,
    objectOf([archivedEvent({ messageId: undefined }), archivedEvent()]),
  )
  const cut = await putObject(archive, objectOf(archivedEvents(500)).subarray(0, 1000))
  const built = await build(archive, store)
  t.match(built, { objects: 3, events: 11, damaged: { objects: 1, list: [{ key: cut }] } })
  t.match(built.damaged.list[0]?.problems, [/unexpected end of file/])
  t.match(built.duplicates, { events: 2, ids: 1, list: [{ messageId, source: 'shop', events: 3 }] })
  t.same(built.duplicates.list[0]?.objects.map(({ key }) => key).toSorted(), [first, second].toSorted())

  const { log } = await verified(archive, store)
  t.match(log, { objects: 3, unknown: { objects: 1, list: [cut] }, changed: { objects: 0 } })
  t.not(log?.unknown.list.includes(withoutId), true)
})

test('a build without objects is refused, and a build whose store fails creates no log', async t => {
  const archive = await openArchive(t, 'directory')
  const { store, keys } = archive
  await t.rejects(build(archive, store), { code: 'FRQ_LOG_REFUSED', message: /has no objects/ })
  const key = await putObject(archive, objectOf(archivedEvents(3)))
  const failing = storeWith(store, {
    get: async () => {
      throw new StoreUnavailable(`${key} cannot be read`)
    },
  })
  await t.rejects(build(archive, failing), { code: 'FRQ_STORE_UNAVAILABLE' })
  t.equal((await store.read(keys.record(0))).object, undefined)
})

test('the span of an object is taken from its events, or from its key if they have no receivedAt', async t => {
  const archive = await openArchive(t, 'directory')
  const { store, reader } = archive
  const undated = JSON.stringify({ messageId: randomUUID(), event: 'a' })
  await putObject(archive, objectOf([undated]), '.ndjson.gz', '2026-11-24T01:02:03.004Z')
  const events = ['2026-11-24T05:00:00.000Z', '2026-11-24T04:00:00.000Z'].map(receivedAt =>
    JSON.stringify({ messageId: randomUUID(), receivedAt }),
  )
  await putObject(archive, objectOf([...events, undated]), '.ndjson.gz', '2026-11-24T05:00:00.000Z')
  await build(archive, store)
  const { record } = await reader.record(1)
  t.same(
    record?.batches.map(({ firstReceivedAt, lastReceivedAt }) =>
      [firstReceivedAt, lastReceivedAt].map(ms => new Date(ms).toISOString()),
    ),
    [
      ['2026-11-24T01:02:03.004Z', '2026-11-24T01:02:03.004Z'],
      ['2026-11-24T04:00:00.000Z', '2026-11-24T05:00:00.000Z'],
    ],
  )
})
