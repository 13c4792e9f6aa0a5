/** What is left in a file of the table when events are erased in it. */
import { join } from 'node:path'
import { type DuckDBConnection, DuckDBInstance } from '@duckdb/node-api'
import t, { type Test } from 'tap'
import { eraseInFile, findInFiles } from '../../../src/query/erase-sql.ts'
import { EVENT_COLUMNS } from '../../../src/table/table-columns.ts'
import { temporaryDirectory } from '../../helpers/helper.ts'

const ROWS = 300_000
const START = '2026-11-24 12:00:00+00'
const PLAN = { name: 'plan', member: 'properties.plan', type: 'string', fieldId: 100 } as const
const ERASED = '{"erased":true}'

async function opened(): Promise<DuckDBConnection> {
  const connection = await (await DuckDBInstance.create(':memory:', { threads: '2' })).connect()
  await connection.run("set timezone = 'UTC'")
  return connection
}

async function rowsOf(connection: DuckDBConnection, sql: string): Promise<unknown[][]> {
  return (await connection.runAndReadAll(sql)).getRowsJson()
}

/** A file of 300,000 rows: two erased before, at its end, behind one without a name. */
async function fileOf(t: Test, connection: DuckDBConnection): Promise<string> {
  const file = join(temporaryDirectory(t), 'of-hour.parquet')
  const columns = [...EVENT_COLUMNS.map(([name]) => name), PLAN.name].map(name => {
    if (name === 'message_id') return `'m' || i as message_id`
    if (name === 'received_at')
      return `timestamptz '${START}' + interval 1 millisecond * ((i * 7919) % ${ROWS}) as received_at`
    if (name === 'source') return `if(i % 3 = 0, 'web', null) as source`
    if (name === 'event') return `if(i < ${ROWS - 3}, 'e' || i % 5, null) as event`
    if (name === 'extra') return `if(i < ${ROWS - 2}, null, '${ERASED}') as extra`
    if (name === 'timestamp') return 'null::timestamptz as timestamp'
    return `if(i < ${ROWS - 2}, '${name}' || i % 10, null) as ${name}`
  })
  await connection.run(
    `copy (select ${columns.join(', ')} from range(${ROWS}) t(i) order by event, received_at, message_id) to '${file}'
    (format parquet, row_group_size 122880)`,
  )
  return file
}

async function idsOf(t: Test, connection: DuckDBConnection, select: string): Promise<string> {
  const ids = join(temporaryDirectory(t), 'ids.parquet')
  await connection.run(`copy (${select}) to '${ids}' (format parquet)`)
  return ids
}

const numbered = (file: string): string => `read_parquet('${file}', file_row_number = true)`

for (const [what, chosen, count] of [
  ['a few events', 'i in (3, 99, 170001)', 3],
  ['more than a half', 'i % 5 < 3', (ROWS / 5) * 3],
  ['all', 'true', ROWS - 2],
] as const)
  t.test(
    `${what} are erased: the others keep their order, and who is erased tells nothing by its place`,
    async t => {
      const connection = await opened()
      const file = await fileOf(t, connection)
      const ids = await idsOf(
        t,
        connection,
        `select 'm' || i as message_id, if(i % 3 = 0, 'web', null) as source, i % 2 = 1 as keeps_source
      from range(${ROWS}) t(i) where ${chosen}`,
      )
      const places = join(temporaryDirectory(t), 'places.parquet')
      t.strictSame(await findInFiles(connection, { files: [file], ids, places }), [[file, count]])
      const parquet = join(temporaryDirectory(t), 'made.parquet')
      const made = await eraseInFile(connection, {
        ...{ file, places: { parquet: places, path: file } },
        ...{ columns: [PLAN], parquet },
      })
      t.equal(made.rows, ROWS)
      t.strictSame(await findInFiles(connection, { files: [parquet], ids }), [])
      const others = (from: string): string =>
        `select * exclude (file_row_number) from ${numbered(from)} f
      anti join '${ids}' i on f.message_id = i.message_id where f.extra is null order by file_row_number`
      const differing = `select count(*) from (select row_number() over () as n, * from (${others(file)})) a
      full join (select row_number() over () as n, * from (${others(parquet)})) b using (n) where a is distinct from b`
      t.strictSame(await rowsOf(connection, differing), [['0']])
      const erased = `select file_row_number, received_at, message_id from ${numbered(parquet)} where extra = '${ERASED}'`
      const [[first, last, rows] = []] = await rowsOf(
        connection,
        `select min(file_row_number), max(file_row_number), count(*) from (${erased})`,
      )
      t.equal(Number(last), ROWS - 1)
      t.equal(Number(last) - Number(first) + 1, Number(rows), 'they are together, at the end')
      t.strictSame(
        await rowsOf(
          connection,
          `select count(*) from (select received_at < lag(received_at) over (order by file_row_number) as is_late
        from (${erased})) where is_late`,
        ),
        [['0']],
        'by time',
      )
      t.strictSame(
        await rowsOf(
          connection,
          `select count(*) from '${parquet}' where extra = '${ERASED}' and
        (coalesce(event, type, user_id, anonymous_id, channel, properties, context, traits, raw, plan) is not null
        or (source is not null and message_id in (select message_id from '${ids}' where not keeps_source)))`,
        ),
        [['0']],
      )
      const size = (of: string): string => `(select max(row_group_num_rows) from parquet_metadata('${of}'))`
      t.strictSame(
        await rowsOf(connection, `select ${size(parquet)} < ${size(file)} + 2048`),
        [[true]],
        'row groups have no more than one vector more',
      )
      connection.closeSync()
    },
  )

t.test('row groups do not become larger by many erasures', async t => {
  const connection = await opened()
  let file = await fileOf(t, connection)
  for (let n = 1; n <= 4; n++) {
    const ids = await idsOf(
      t,
      connection,
      `select message_id, source, true as keeps_source from '${file}' where event is not null limit 1`,
    )
    const parquet = join(temporaryDirectory(t), `made-${n}.parquet`)
    const places = { parquet: join(temporaryDirectory(t), 'places.parquet'), path: file }
    await findInFiles(connection, { files: [file], ids, places: places.parquet })
    await eraseInFile(connection, { file, places, columns: [PLAN], parquet })
    file = parquet
  }
  const [[most] = []] = await rowsOf(
    connection,
    `select max(row_group_num_rows) from parquet_metadata('${file}')`,
  )
  t.ok(Number(most) < 122_880 + 2_048)
  connection.closeSync()
})
