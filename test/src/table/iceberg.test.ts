/** What the Iceberg metadata of the table has. */
import { test } from 'tap'
import { archiveLocation } from '../../../src/config/archive-location.ts'
import { commitIceberg } from '../../../src/table/iceberg/commit-iceberg.ts'
import { icebergLocation } from '../../../src/table/iceberg/iceberg-location.ts'
import { tableKeys } from '../../../src/table/table-keys.ts'
import { EMPTY_TABLE } from '../../../src/table/table-state.ts'
import { range } from '../../helpers/helper.ts'
import { hintOf, isRead, readIceberg, readMetadata, tableOf } from '../../helpers/iceberg-reader.ts'
import { MemoryStore } from '../../helpers/memory-store.ts'
import { keysOf } from '../../helpers/store-helper.ts'
import { FIRST_HOUR, HOUR_MS, PLAN } from '../../helpers/table-helper.ts'

const TABLE_DAMAGED = { code: 'FRQ_TABLE_DAMAGED' }
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/

test('the metadata is as the specification has it', async t => {
  const store = new MemoryStore()
  const table = await tableOf(t, store)
  const file = await table.file({ rows: 5 })
  table.append({ added: [file] })
  await commitIceberg(table.parts, table.state)
  table.append({ columns: [PLAN], added: [await table.file({ hour: null, typed: [PLAN] })] })
  await commitIceberg(table.parts, table.state)
  table.append({ removed: [file.key] })
  await commitIceberg(table.parts, table.state)
  const { metadata, manifests } = await readIceberg(table.location)
  t.match(metadata, {
    'format-version': 2,
    'table-uuid': UUID,
    location: table.location,
    'last-sequence-number': 3,
    'last-column-id': 15,
    'current-schema-id': 1,
    'partition-specs': [
      { fields: [{ name: 'received_at_hour', transform: 'hour', 'source-id': 7, 'field-id': 1000 }] },
    ],
    'sort-orders': [{ fields: [{ 'source-id': 2 }, { 'source-id': 7 }] }],
    properties: { 'frequency.entry': '3', 'gc.enabled': 'false' },
    refs: { main: { 'snapshot-id': metadata['current-snapshot-id'] } },
  })
  t.same(
    metadata.schemas.map(schema => schema.fields.length),
    [14, 15],
  )
  t.same(
    metadata.snapshots?.map(each => [each['sequence-number'], each.summary.operation, each['schema-id']]),
    [
      [1, 'append', 0],
      [2, 'append', 1],
      [3, 'delete', 1],
    ],
  )
  t.match(metadata.snapshots?.[2]?.summary, {
    'deleted-data-files': '1',
    'deleted-records': '5',
    'removed-files-size': String(file.bytes),
    'total-data-files': '1',
    'total-records': '10',
  })
  t.equal(metadata['snapshot-log']?.length, 3)
  t.same(
    metadata['metadata-log']?.map(each => each['metadata-file'].slice(table.location.length)),
    ['/metadata/v1.metadata.json', '/metadata/v2.metadata.json'],
  )
  const entries = manifests.flatMap(each => each.entries)
  t.same(
    entries.map(({ status, sequence_number, file_sequence_number, snapshot_id }) => [
      status,
      sequence_number,
      file_sequence_number,
      Number(snapshot_id),
    ]),
    [
      [2, 1n, 1n, metadata.snapshots?.[2]?.['snapshot-id']],
      [1, 2n, 2n, metadata.snapshots?.[1]?.['snapshot-id']],
    ],
  )
  t.match(entries[1]?.data_file, { partition: { received_at_hour: null }, record_count: 10n })
})

test('an entry has the bounds of few columns, and the counts of all', async t => {
  const store = new MemoryStore()
  const table = await tableOf(t, store)
  table.append({ added: [await table.file({ rows: 5, name: 'x' })] })
  await commitIceberg(table.parts, table.state)
  const { manifests } = await readIceberg(table.location)
  const file = manifests[0]?.entries[0]?.data_file
  const micros = (us: number) => {
    const bytes = Buffer.alloc(8)
    bytes.writeBigInt64LE(BigInt(us))
    return bytes
  }
  const start = FIRST_HOUR * HOUR_MS * 1000
  const pairs = (map: unknown) =>
    (map as { key: number; value: Uint8Array }[]).map(({ key, value }) => [key, Buffer.from(value)])
  t.same(pairs(file?.lower_bounds), [
    [1, Buffer.from('m-x-00000')],
    [2, Buffer.from('event 0')],
    [6, micros(start - 5)],
    [7, micros(start)],
  ])
  t.same(pairs(file?.upper_bounds), [
    [1, Buffer.from('m-x-00004')],
    [2, Buffer.from('event 2')],
    [6, micros(start + 3_995)],
    [7, micros(start + 4_000)],
  ])
  t.match(file, { content: 0, file_format: 'PARQUET', partition: { received_at_hour: FIRST_HOUR } })
  const counts = file?.null_value_counts as unknown as { key: number; value: bigint }[]
  t.equal(counts.length, 14)
  t.equal(counts.find(({ key }) => key === 4)?.value, 2n)
})

test('a staged file is not in Iceberg, until it is placed', async t => {
  const store = new MemoryStore()
  const table = await tableOf(t, store)
  const file = await table.file()
  const path = `${table.keys.staged}s`
  await store.move(file.key, path)
  table.append({ added: [{ ...file, path, isStaged: true }, await table.file({ hour: FIRST_HOUR + 1 })] })
  await isRead(t, table)
  t.equal((await readMetadata(table.location)).files.length, 1)
  await store.move(path, file.key)
  table.append({ placed: [file.key] })
  await isRead(t, table)
  t.equal((await readMetadata(table.location)).files.length, 2)
})

test('an older state, and one that is there, change nothing', async t => {
  const store = new MemoryStore()
  const table = await tableOf(t, store)
  await commitIceberg(table.parts, EMPTY_TABLE)
  t.same(await keysOf(store), [])
  const older = table.append({ added: [await table.file()] })
  table.append({ added: [await table.file()] })
  await commitIceberg(table.parts, table.state)
  const keys = await keysOf(store)
  for (const state of [older, table.state]) await commitIceberg(table.parts, state)
  t.same(await keysOf(store), keys)
})

test('whoever finds nothing to do mends the hint', async t => {
  const store = new MemoryStore()
  const table = await tableOf(t, store)
  const hint = `${table.keys.metadata}version-hint.text`
  for (const _ of range(3)) {
    table.append({ added: [await table.file()] })
    await commitIceberg(table.parts, table.state)
  }
  await store.remove([hint])
  await commitIceberg(table.parts, table.state)
  t.equal(await hintOf(store, table.keys), 3)
  for (const text of ['1', '99', 'x', '']) {
    await store.replace(hint, Buffer.from(text))
    await commitIceberg(table.parts, table.state)
    t.equal(await hintOf(store, table.keys), 3, `it was "${text}"`)
  }
})

test('an entry without a change of files makes a version, and no snapshot', async t => {
  const store = new MemoryStore()
  const table = await tableOf(t, store)
  table.append({ coveredThrough: 1 })
  await commitIceberg(table.parts, table.state)
  const empty = JSON.parse(
    (await store.read(`${table.keys.metadata}v1.metadata.json`)).object?.body.toString() ?? '',
  )
  t.match(empty, { 'current-snapshot-id': -1, snapshots: [], refs: {} })
  table.append({ added: [await table.file()] })
  await isRead(t, table)
  table.append({ coveredThrough: 2 })
  await isRead(t, table)
  const { metadata } = await readIceberg(table.location)
  t.equal(metadata.snapshots?.length, 1)
  t.equal(metadata.properties?.['frequency.entry'], '3')
})

test('manifests are merged, and none grows past its limit', async t => {
  const store = new MemoryStore()
  const table = await tableOf(t, store)
  const parts = { ...table.parts, manifestLimits: { entriesMax: 6, smallMax: 4 } }
  for (const n of range(16)) {
    const added = await Promise.all(
      range(1 + (n % 3)).map(() => table.file({ hour: FIRST_HOUR + n, rows: 2 })),
    )
    const removed = n % 4 === 3 ? [...table.state.files.keys()].slice(0, 1) : []
    table.append({ added, removed })
    await commitIceberg(parts, table.state)
    const { manifests, files } = await readMetadata(table.location)
    t.equal(files.length, table.state.files.size)
    for (const { entries } of manifests) t.ok(entries.length <= 6)
    const small = manifests.filter(({ entries }) => entries.length < 3)
    t.ok(small.length <= 6, `${small.length} small manifests`)
  }
  await isRead(t, table)
  const { manifests } = await readIceberg(table.location)
  const sequence = manifests.flatMap(each => each.entries.map(entry => Number(entry.sequence_number)))
  t.ok(new Set(sequence).size > 10, 'each file keeps its sequence number')
})

test('a table that was moved names its new place', async t => {
  const store = new MemoryStore()
  const table = await tableOf(t, store)
  table.append({ added: [await table.file()] })
  await commitIceberg(table.parts, table.state)
  const moved = await tableOf(t, store)
  moved.state = table.state
  moved.append({ added: [await moved.file()] })
  await isRead(t, moved)
})

test('damaged metadata is refused, and written again once it is removed', async t => {
  const store = new MemoryStore()
  const table = await tableOf(t, store)
  table.append({ added: [await table.file()] })
  await commitIceberg(table.parts, table.state)
  const other = { ...table.state, log: 'another', number: 9 }
  await t.rejects(commitIceberg(table.parts, other), { ...TABLE_DAMAGED, message: /another log/ })
  table.append({ added: [await table.file()] })
  const metadata = await keysOf(store, table.keys.metadata)
  const lists = metadata.filter(key => key.endsWith('.avro'))
  for (const key of lists) {
    const bytes = (await store.read(key)).object?.body as Buffer
    for (const cut of [3, bytes.length - 17]) {
      await store.replace(key, bytes.subarray(0, cut))
      await t.rejects(commitIceberg(table.parts, table.state), {
        ...TABLE_DAMAGED,
        message: /Remove all objects/,
      })
    }
    await store.remove([key])
    await t.rejects(commitIceberg(table.parts, table.state), { ...TABLE_DAMAGED, message: /is missing/ })
    await store.create(key, bytes)
  }
  await store.replace(`${table.keys.metadata}v1.metadata.json`, Buffer.from('{}'))
  await t.rejects(commitIceberg(table.parts, table.state), { ...TABLE_DAMAGED, message: /version 1/ })
  await store.remove(metadata)
  await isRead(t, table)
})

test('files are named by the URL of S3, or by their absolute path', async t => {
  const keys = tableKeys('p/q')
  const named = (url: string) => {
    const { location, toUri } = icebergLocation(archiveLocation(url, '/data'), keys)
    return [location, toUri(keys.dataFile(FIRST_HOUR, 'x'))]
  }
  const file = 'p/q/table/data/dt=2026-11-24/hour=13/x.parquet'
  t.same(named('s3://bucket/p/q'), ['s3://bucket/p/q/table', `s3://bucket/${file}`])
  t.same(named('/archive of events'), ['/archive of events/p/q/table', `/archive of events/${file}`])
})
