/** Other programs read the table, and find the same. Those that are not on this machine are named. */
import t from 'tap'
import { EVENT_COLUMNS } from '../../src/table/table-columns.ts'
import { clickHouse, duckdb, duckdbSource, isHere, pyIceberg, READERS, readerOf } from './readers.ts'
import { makeTable } from './table-for-readers.ts'

const EVENT_NAMES = EVENT_COLUMNS.map(([name]) => name)
const COLUMNS = [...EVENT_NAMES, 'plan', 'amount']

const table = await makeTable(t)

for (const reader of READERS) {
  t.test(`${reader.name}: all that the table has`, async t => {
    if (await isHere(reader, t.comment)) t.same(await reader.find(table.path), table.expected)
  })
}

t.test('DuckDB knows the partitions, and all columns', async t => {
  const source = duckdbSource(table.path)
  const [partition] = await duckdb(
    `SELECT count(*)::INTEGER AS n FROM ${source} WHERE dt = '2026-11-24' AND hour IN (18, 19)`,
  )
  t.equal(partition?.n, table.expected.inHours)
  const columns = await duckdb(`DESCRIBE SELECT * FROM ${source}`)
  t.same(
    columns.map(column => column.column_name),
    [...COLUMNS, 'dt', 'hour'],
  )
})

t.test('ClickHouse knows all columns of Iceberg', async t => {
  if (!(await isHere(readerOf('ClickHouse, Iceberg'), t.comment))) return
  const columns = await clickHouse(`DESCRIBE icebergLocal('${table.path}')`)
  t.same(
    columns.map(column => column.name),
    COLUMNS,
  )
})

t.test('PyIceberg skips files by hour and event, and knows all columns', async t => {
  if (!(await isHere(readerOf('PyIceberg, Iceberg'), t.comment))) return
  t.match(await pyIceberg(table.path), {
    files: [...table.files].sort(),
    hourFiles: [...table.hourFiles].sort(),
    unknownEventFiles: 0,
    columns: COLUMNS,
    entries: table.files.length + 1,
    snapshots: 3,
  })
})
