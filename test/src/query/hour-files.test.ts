/** The statistics of a file of the table: readers of Iceberg leave out files by them. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type DuckDBConnection, DuckDBInstance } from '@duckdb/node-api'
import t from 'tap'
import { eraseInFile, findInFiles, writeIds } from '../../../src/query/erase-sql.ts'
import { EventRows } from '../../../src/query/event-rows.ts'
import { statsOf } from '../../../src/query/hour-files.ts'
import { tableFileOfRows } from '../../../src/query/table-sql.ts'
import { tableColumns } from '../../../src/table/table-columns.ts'
import type { TableColumn } from '../../../src/table/table-entry.ts'
import { range, temporaryDirectory } from '../../helpers/helper.ts'

/** Those of Parquet 1, which every program of docs/lake.md reads. A dictionary has the first name in DuckDB since 1.4.3. */
const ENCODINGS = ['PLAIN_DICTIONARY', 'RLE_DICTIONARY', 'PLAIN']
const TYPES = ['string', 'long', 'double', 'boolean', 'timestamptz'] as const
/** Of each type one with a value of its own in each row, and one with few values: each has another encoding. */
const TYPED: readonly TableColumn[] = TYPES.flatMap(type => ['own', 'few'].map(kind => ({ type, kind }))).map(
  ({ type, kind }, index) => ({
    name: `${kind}_${type}`,
    member: `properties.${kind}_${type}`,
    type,
    fieldId: 15 + index,
  }),
)

function sampleOf(type: (typeof TYPES)[number], n: number): unknown {
  if (type === 'string') return `text ${n}`
  if (type === 'long') return n
  if (type === 'double') return n + 0.25
  return type === 'boolean' ? n % 2 === 0 : new Date(n * 1_000).toISOString()
}

/** What the footer says of each column: encodings, compression and field id. */
async function footerOf(connection: DuckDBConnection, path: string) {
  const sql = `select path_in_schema, string_agg(distinct encodings, ', '), string_agg(distinct compression, ', '), any_value(field_id)
    from parquet_metadata('${path}') m join parquet_schema('${path}') s on s.name = m.path_in_schema group by 1`
  const version = await connection.runAndReadAll(
    `select format_version from parquet_file_metadata('${path}')`,
  )
  const columns = (await connection.runAndReadAll(sql)).getRows()
  return {
    version: Number(version.getRows()[0]?.[0]),
    columns: new Map(columns.map(([name, ...rest]) => [String(name), rest.map(String)])),
  }
}

t.test('a column has no bounds if some row group has none', async t => {
  const connection = await (await DuckDBInstance.create(':memory:', { threads: '1' })).connect()
  t.teardown(() => connection.closeSync())
  const path = join(temporaryDirectory(t), 'a.parquet')
  // The first row group has a text of which DuckDB writes no bounds.
  await connection.run(`copy (
    select case i when 7 then repeat('é', 200) else 'm' end as event, 'id' || i as message_id,
      case when i < 2048 then null else make_timestamptz(i) end as received_at
    from range(3000) numbers(i)
  ) to '${path}' (format parquet, row_group_size 2048)`)
  const { event, message_id, received_at } = await statsOf(connection, path)
  t.strictSame(Object.keys(event ?? {}), ['bytes', 'nulls'])
  t.match(message_id, { min: 'id0', max: 'id999' })
  t.match(received_at, { min: 2048, max: 2999, nulls: 2048 }, 'a row group of NULLs has none to miss')
})

t.test(
  'files, also those that an erasure rewrites, have the encodings of Parquet 1, and field ids',
  async t => {
    const connection = await (await DuckDBInstance.create(':memory:', { threads: '1' })).connect()
    t.teardown(() => connection.closeSync())
    const directory = temporaryDirectory(t)
    const [rowsPath, ids, made, erased] = ['rows', 'ids.parquet', 'made.parquet', 'erased.parquet'].map(
      name => join(directory, name),
    ) as [string, string, string, string]
    const rows = new EventRows()
    for (const n of range(3_000)) {
      const properties = Object.fromEntries(
        TYPES.flatMap(type => [
          [`own_${type}`, sampleOf(type, n)],
          [`few_${type}`, sampleOf(type, n % 5)],
        ]),
      )
      const at = new Date(Date.UTC(2026, 10, 24, 13) + n * 1_000).toISOString()
      const line = JSON.stringify({
        messageId: `m-${n}`,
        event: 'e',
        user_id: `u-${n}`,
        receivedAt: at,
        properties,
      })
      rows.add(Buffer.from(line), 0, Buffer.byteLength(line))
    }
    const bytes = rows.take()
    writeFileSync(rowsPath, bytes)
    const file = { path: rowsPath, count: rows.count, bytes: bytes.length, longest: rows.longest }
    await connection.run(tableFileOfRows([file], TYPED, 'true', made))
    const wanted = join(directory, 'wanted')
    writeFileSync(wanted, '{"message_id":"m-7","source":null,"keeps_source":true}\n')
    await writeIds(connection, { rows: wanted, parquet: ids })
    const places = { path: made, parquet: join(directory, 'places.parquet') }
    t.strictSame(await findInFiles(connection, { files: [made], ids, places: places.parquet }), [[made, 1]])
    await eraseInFile(connection, { file: made, places, columns: TYPED, parquet: erased })
    for (const path of [made, erased]) {
      const { version, columns } = await footerOf(connection, path)
      t.equal(version, 1)
      t.strictSame(
        new Map(tableColumns(TYPED).map(({ name, fieldId }) => [name, ['ZSTD', String(fieldId)]])),
        new Map(Array.from(columns, ([name, [, ...rest]]) => [name, rest])),
      )
      for (const [name, [encodings]] of columns) {
        if (name === 'few_string') t.match(encodings, /_DICTIONARY\b/, name)
        t.ok(
          encodings?.split(', ').every(each => ENCODINGS.includes(each)),
          `${name}: ${encodings}`,
        )
      }
      t.match(await statsOf(connection, path), {
        message_id: { min: 'm-0', max: 'm-999', nulls: 0 },
        received_at: {
          min: Date.UTC(2026, 10, 24, 13) * 1_000,
          max: (Date.UTC(2026, 10, 24, 13) + 2_999_000) * 1_000,
        },
      })
    }
  },
)
