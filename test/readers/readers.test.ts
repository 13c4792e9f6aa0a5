/** Other programs read the table, and find the same. Those that are not on this machine are named. */
import { execFile } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { DuckDBInstance } from '@duckdb/node-api'
import { asyncBufferFromFile, parquetReadObjects } from 'hyparquet'
import { compressors } from 'hyparquet-compressors'
import t from 'tap'
import { EVENT_COLUMNS } from '../../src/table/table-columns.ts'
import { type Found, HOURS, makeTable } from './table-for-readers.ts'

const run = promisify(execFile)
const EVENT_NAMES = EVENT_COLUMNS.map(([name]) => name)
const COLUMNS = [...EVENT_NAMES, 'plan', 'amount']

/** Names a Python with PyIceberg. */
const PYTHON = process.env.TEST_PYTHON ?? 'python3'

const table = await makeTable(t)
const data = `${table.path}/data`
const glob = `${data}/**/*.parquet`

/** Whether a command of another program ends well. It says so if not. */
async function isHere(name: string, command: string, args: readonly string[]): Promise<boolean> {
  try {
    await run(command, args)
    return true
  } catch {
    t.comment(`${name} is not on this machine: this reader was not tried`)
    return false
  }
}

function pathOf(script: string): string {
  return fileURLToPath(new URL(script, import.meta.url))
}

/** SQL of Found. @param time makes a time of a text, in UTC */
function sqlOf(source: string, time: (text: string) => string): string {
  const inHours = `received_at >= ${time(HOURS.from)} AND received_at < ${time(HOURS.to)}`
  return `SELECT count(*)::INTEGER AS "rows", count(DISTINCT message_id)::INTEGER AS "messageIds",
    (count(*) FILTER (WHERE plan = 'pro'))::INTEGER AS "pro", sum(amount) AS "amountSum",
    (count(*) FILTER (WHERE received_at IS NULL))::INTEGER AS "withoutTime",
    (count(*) FILTER (WHERE ${inHours}))::INTEGER AS "inHours" FROM ${source}`
}

t.test('DuckDB reads the files', async t => {
  const connection = await (await DuckDBInstance.create(':memory:')).connect()
  const rowsOf = async (sql: string) => (await connection.runAndReadAll(sql)).getRowObjects()
  const source = `read_parquet('${glob}', union_by_name = true, hive_partitioning = true)`
  t.same(await rowsOf(sqlOf(source, text => `TIMESTAMPTZ '${text}+00'`)), [table.expected])
  const [partition] = await rowsOf(
    `SELECT count(*)::INTEGER AS n FROM ${source} WHERE dt = '2026-11-24' AND hour IN (18, 19)`,
  )
  t.equal(partition?.n, table.expected.inHours)
  const columns = await rowsOf(`DESCRIBE SELECT * FROM ${source}`)
  t.same(
    columns.map(column => column.column_name),
    [...COLUMNS, 'dt', 'hour'],
  )
})

t.test('hyparquet reads the files', async t => {
  const paths = readdirSync(data, { recursive: true, withFileTypes: true }).filter(entry => entry.isFile())
  const rows: Record<string, unknown>[] = []
  for (const { parentPath, name } of paths) {
    const file = await asyncBufferFromFile(join(parentPath, name))
    rows.push(...(await parquetReadObjects({ file, compressors })))
  }
  const [from, to] = [HOURS.from, HOURS.to].map(text => new Date(`${text}Z`))
  const isInHours = ({ received_at }: Record<string, unknown>) =>
    received_at instanceof Date && received_at >= (from as Date) && received_at < (to as Date)
  const found: Found = {
    rows: rows.length,
    messageIds: new Set(rows.map(row => row.message_id)).size,
    pro: rows.filter(row => row.plan === 'pro').length,
    amountSum: rows.reduce((sum, row) => sum + Number(row.amount ?? 0), 0),
    withoutTime: rows.filter(row => row.received_at === undefined || row.received_at === null).length,
    inHours: rows.filter(isInHours).length,
  }
  t.same(found, table.expected)
})

t.test('ClickHouse reads the files, and Iceberg', async t => {
  const ask = async (sql: string): Promise<Record<string, unknown>[]> =>
    JSON.parse((await run(process.execPath, [pathOf('read-with-chdb.mjs'), sql])).stdout).data
  if (!(await isHere('chdb', process.execPath, [pathOf('read-with-chdb.mjs'), 'SELECT 1']))) return
  const time = (text: string) => `toDateTime64('${text}', 6, 'UTC')`
  const typed = "'plan Nullable(String), amount Nullable(Float64)"
  const structure = `${typed}, message_id Nullable(String), received_at Nullable(DateTime64(6, \\'UTC\\'))'`
  for (const source of [`file('${glob}', Parquet, ${structure})`, `icebergLocal('${table.path}')`]) {
    const sql = sqlOf(source, time).replaceAll('::INTEGER', '::Int32')
    t.same(await ask(sql), [table.expected], source)
  }
  const columns = await ask(`DESCRIBE icebergLocal('${table.path}')`)
  t.same(
    columns.map(column => column.name),
    COLUMNS,
  )
})

t.test('Polars reads the files', async t => {
  const script = pathOf('read-with-polars.mjs')
  if (!(await isHere('nodejs-polars', process.execPath, [script]))) return
  const { stdout } = await run(process.execPath, [script, data, HOURS.from, HOURS.to])
  t.same(JSON.parse(stdout), table.expected)
})

t.test('PyIceberg reads the Iceberg table', async t => {
  if (!(await isHere('PyIceberg', PYTHON, ['-c', 'import pyarrow, pyiceberg.table']))) return
  const { stdout } = await run(PYTHON, [pathOf('read-with-pyiceberg.py'), table.path, HOURS.from, HOURS.to])
  t.match(JSON.parse(stdout), {
    found: table.expected,
    files: [...table.files].sort(),
    hourFiles: [...table.hourFiles].sort(),
    unknownEventFiles: 0,
    columns: COLUMNS,
    entries: table.files.length + 1,
    snapshots: 3,
  })
})
