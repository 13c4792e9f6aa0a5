/** Old snapshots and versions of the Iceberg table: what is kept, and what is removed. */
import { mock } from 'node:test'
import { type Test, test } from 'tap'
import { commitIceberg } from '../../../src/table/iceberg/commit-iceberg.ts'
import { dropHistory, expireSnapshots } from '../../../src/table/iceberg/expire-snapshots.ts'
import { range } from '../../helpers/helper.ts'
import { hintOf, readIceberg, readMetadata, tableOf } from '../../helpers/iceberg-reader.ts'
import { MemoryStore } from '../../helpers/memory-store.ts'
import { keysOf } from '../../helpers/store-helper.ts'
import { FIRST_HOUR, HOUR_MS, type TestTable } from '../../helpers/table-helper.ts'

const DAY_MS = 24 * HOUR_MS

function openTable(t: Test): Promise<TestTable> {
  return tableOf(t, new MemoryStore())
}

function setClock(t: Test): void {
  mock.timers.enable({ apis: ['Date'], now: Date.UTC(2026, 10, 25) })
  t.teardown(() => mock.timers.reset())
}

async function addFile(table: TestTable, hour = FIRST_HOUR): Promise<void> {
  table.append({ added: [await table.file({ hour, rows: 2 })] })
  await commitIceberg(table.parts, table.state)
}

/** The names of all metadata of a kind. */
async function metadataOf({ store, keys }: TestTable, kind: RegExp): Promise<string[]> {
  const names = (await keysOf(store, keys.metadata)).map(key => key.slice(keys.metadata.length))
  return names.filter(name => kind.test(name))
}

const VERSIONS = /^v\d+\.metadata\.json$/
const LISTS = /^snap-/
const MANIFESTS = /^\d/

test('snapshots are kept for a time and up to a number, and the current one always', async t => {
  setClock(t)
  const table = await openTable(t)
  for (const n of range(5)) {
    await addFile(table, FIRST_HOUR + n)
    mock.timers.tick(DAY_MS)
  }
  const snapshots = async () => (await readMetadata(table.location)).metadata.snapshots?.length
  await expireSnapshots(table.parts, { keptMs: 10 * DAY_MS, keptMax: 10 })
  t.equal(await snapshots(), 5)
  t.equal(await hintOf(table.store, table.keys), 5, 'nothing to do makes no version')
  await expireSnapshots(table.parts, { keptMs: 10 * DAY_MS, keptMax: 4 })
  t.equal(await snapshots(), 4)
  await expireSnapshots(table.parts, { keptMs: 2.5 * DAY_MS, keptMax: 10 })
  t.equal(await snapshots(), 2)
  t.equal((await metadataOf(table, LISTS)).length, 2)
  t.equal((await metadataOf(table, MANIFESTS)).length, 5, 'the current snapshot has them all')
  await expireSnapshots(table.parts, { keptMs: 0, keptMax: 0 })
  t.equal(await snapshots(), 1)
  const { rows, metadata } = await readIceberg(table.location)
  t.equal(rows.length, 10)
  t.equal(metadata['snapshot-log']?.length, 1)
})

test('versions are kept for a day, and snapshots for five days, by commits alone', async t => {
  setClock(t)
  const table = await openTable(t)
  for (const n of range(64)) {
    await addFile(table, FIRST_HOUR + n)
    mock.timers.tick(n < 32 ? 4 * HOUR_MS : 10 * 60_000)
  }
  const { metadata, rows } = await readIceberg(table.location)
  t.equal(rows.length, 128)
  t.equal(metadata.properties?.['frequency.entry'], '64')
  // 5 days before the last commit at which snapshots expire, the 64th.
  t.equal(metadata.snapshots?.length, 32 + 28)
  t.equal((await metadataOf(table, LISTS)).length, 32 + 28)
  const versions = await metadataOf(table, VERSIONS)
  t.same(new Set(versions), new Set(range(36).map(n => `v${29 + n}.metadata.json`)))
  t.equal(await hintOf(table.store, table.keys), 64)
})

test('after dropHistory nothing names a file that was removed', async t => {
  const table = await openTable(t)
  for (const n of range(4)) await addFile(table, FIRST_HOUR + n)
  const [first, second] = table.state.files.values()
  if (first === undefined || second === undefined) throw new Error('there are four files')
  const dataKeys = await keysOf(table.store, table.keys.data)
  const path = `${table.keys.rewritten}second-1.parquet`
  table.append({
    removed: [first.key],
    replaced: [{ ...(await table.file({ rows: 1, hour: second.hour, path })), key: second.key }],
  })
  await commitIceberg(table.parts, table.state)
  const named = await readMetadata(table.location)
  t.equal(named.manifests.flatMap(each => each.entries).filter(({ status }) => status === 2).length, 2)

  await dropHistory(table.parts)
  const { metadata, manifests, files, rows } = await readIceberg(table.location)
  t.same(manifests.flatMap(each => each.entries.map(entry => entry.data_file.file_path)).sort(), files)
  t.equal(files.includes(table.toUri(first.key)) || files.includes(table.toUri(second.key)), false)
  t.equal(rows.length, 1 + 2 * 2)
  t.match(metadata, { snapshots: [{ summary: { operation: 'replace', 'total-records': '5' } }] })
  t.same(
    [metadata.snapshots?.length, metadata['snapshot-log']?.length, metadata['metadata-log']?.length],
    [1, 1, 0],
  )
  t.equal((await metadataOf(table, VERSIONS)).length, 1)
  t.equal((await metadataOf(table, LISTS)).length, 1)
  t.equal((await metadataOf(table, MANIFESTS)).length, manifests.length)
  t.same(
    dataKeys.filter(key => table.state.files.has(key) || key === first.key),
    dataKeys,
    'data files are not touched',
  )
  const all = await keysOf(table.store)
  await dropHistory(table.parts)
  t.same(await keysOf(table.store), all, 'nothing to do')
})

test('leftovers of a lost attempt are removed once no snapshot can have them', async t => {
  const table = await openTable(t)
  for (const n of range(3)) await addFile(table, FIRST_HOUR + n)
  const names = ['0000000002-lost.avro', 'snap-0000000002-lost.avro', '0000000004-ahead.avro', 'foreign.avro']
  for (const name of names) await table.store.create(`${table.keys.metadata}${name}`, Buffer.from('x'))
  await table.store.create(`${table.keys.metadata}version-hint.2.lost`, Buffer.from('2'))
  await expireSnapshots(table.parts)
  t.same(await metadataOf(table, /lost|ahead|foreign/), [
    '0000000002-lost.avro',
    '0000000004-ahead.avro',
    'foreign.avro',
  ])
  await expireSnapshots(table.parts, { keptMs: 0, keptMax: 1 })
  t.same(await metadataOf(table, /lost|ahead|foreign/), ['0000000004-ahead.avro', 'foreign.avro'])
  await addFile(table)
  await dropHistory(table.parts)
  t.same(await metadataOf(table, /lost|ahead|foreign/), ['foreign.avro'])
  t.equal((await readIceberg(table.location)).rows.length, 8)
})

test('there is nothing to expire before the first version', async t => {
  const table = await openTable(t)
  await expireSnapshots(table.parts)
  await dropHistory(table.parts)
  t.same(await keysOf(table.store), [])
})
