/** Other programs, and what each finds in a table. */
import { execFile } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { DuckDBInstance } from '@duckdb/node-api'
import { asyncBufferFromFile, parquetReadObjects } from 'hyparquet'
import { compressors } from 'hyparquet-compressors'
import { readIcebergFiles } from '../helpers/iceberg-reader.ts'

const run = promisify(execFile)

/** Names a Python with PyIceberg, and with PySpark, which needs Java. */
const PYTHON = process.env.TEST_PYTHON ?? 'python3'

/** What every reader has to find. */
export interface Found {
  readonly rows: number
  readonly messageIds: number
  /** Rows with `plan = 'pro'`, a column that older files do not have. */
  readonly pro: number
  readonly amountSum: number
  /** Rows without a time. */
  readonly withoutTime: number
  /** Rows received from HOURS.from to before HOURS.to. */
  readonly inHours: number
}

type Rows = readonly Readonly<Record<string, unknown>>[]

/** Two hours, as times that SQL reads. */
export const HOURS = { from: '2026-11-24 18:00:00', to: '2026-11-24 20:00:00' }

/** SQL of Found. @param time makes a time of a text, in UTC */
function sqlOf(source: string, time: (text: string) => string): string {
  const inHours = `received_at >= ${time(HOURS.from)} AND received_at < ${time(HOURS.to)}`
  return `SELECT count(*)::INTEGER AS "rows", count(DISTINCT message_id)::INTEGER AS "messageIds",
    (count(*) FILTER (WHERE plan = 'pro'))::INTEGER AS "pro", sum(amount) AS "amountSum",
    (count(*) FILTER (WHERE received_at IS NULL))::INTEGER AS "withoutTime",
    (count(*) FILTER (WHERE ${inHours}))::INTEGER AS "inHours" FROM ${source}`
}

function foundIn(rows: Rows): Found {
  const [from, to] = [HOURS.from, HOURS.to].map(text => new Date(`${text}Z`)) as [Date, Date]
  const isInHours = ({ received_at: at }: Rows[number]): boolean =>
    at instanceof Date && at >= from && at < to
  return {
    rows: rows.length,
    messageIds: new Set(rows.map(row => row.message_id)).size,
    pro: rows.filter(row => row.plan === 'pro').length,
    amountSum: rows.reduce((sum, row) => sum + Number(row.amount ?? 0), 0),
    withoutTime: rows.filter(row => row.received_at === undefined || row.received_at === null).length,
    inHours: rows.filter(isInHours).length,
  }
}

/** How DuckDB reads the files of a table. @param table its path */
export function duckdbSource(table: string): string {
  return `read_parquet('${table}/data/**/*.parquet', union_by_name = true, hive_partitioning = true)`
}

export async function duckdb(sql: string): Promise<Rows> {
  const connection = await (await DuckDBInstance.create(':memory:')).connect()
  try {
    return (await connection.runAndReadAll(sql)).getRowObjects()
  } finally {
    connection.closeSync()
  }
}

async function findWithHyparquet(table: string): Promise<Found> {
  const entries = readdirSync(`${table}/data`, { recursive: true, withFileTypes: true })
  const rows: Record<string, unknown>[] = []
  for (const { parentPath, name } of entries.filter(entry => entry.isFile())) {
    const file = await asyncBufferFromFile(join(parentPath, name))
    rows.push(...(await parquetReadObjects({ file, compressors })))
  }
  return foundIn(rows)
}

export async function clickHouse(sql: string): Promise<Rows> {
  return JSON.parse((await run(process.execPath, [pathOf('read-with-chdb.mjs'), sql])).stdout).data
}

async function findWithClickHouse(source: string): Promise<unknown> {
  const time = (text: string): string => `toDateTime64('${text}', 6, 'UTC')`
  const [found] = await clickHouse(sqlOf(source, time).replaceAll('::INTEGER', '::Int32'))
  return found
}

async function findWithPolars(table: string): Promise<unknown> {
  const args = [pathOf('read-with-polars.mjs'), `${table}/data`, HOURS.from, HOURS.to]
  return JSON.parse((await run(process.execPath, args)).stdout)
}

/** @returns also how it has planned: see the script */
export async function pyIceberg(table: string): Promise<Readonly<Record<string, unknown>>> {
  const { stdout } = await run(PYTHON, [pathOf('read-with-pyiceberg.py'), table, HOURS.from, HOURS.to])
  return JSON.parse(stdout)
}

async function findWithSpark(kind: 'files' | 'iceberg', table: string): Promise<unknown> {
  const { stdout } = await run(PYTHON, [pathOf('read-with-spark.py'), kind, table, HOURS.from, HOURS.to])
  return JSON.parse(stdout)
}

function pathOf(script: string): string {
  return fileURLToPath(new URL(script, import.meta.url))
}

export interface Reader {
  readonly name: string
  /** A command that ends well if the program is here. Without it the program always is. */
  readonly probe?: readonly [command: string, ...args: string[]]
  /** `npm run test:readers` installs it. */
  readonly isInstalled?: boolean
  /** @param table its path */
  find(table: string): Promise<unknown>
}

const SPARK_PROBE = 'import shutil, pyspark; assert shutil.which("java")'
const CHDB = {
  probe: [process.execPath, pathOf('read-with-chdb.mjs'), 'SELECT 1'],
  isInstalled: true,
} as const
/** ClickHouse takes the columns of one file if none are named. */
const STRUCTURE =
  "'plan Nullable(String), amount Nullable(Float64), message_id Nullable(String), received_at Nullable(DateTime64(6, \\'UTC\\'))'"

export const READERS: readonly Reader[] = [
  {
    name: 'DuckDB, glob',
    find: async table => (await duckdb(sqlOf(duckdbSource(table), text => `TIMESTAMPTZ '${text}+00'`)))[0],
  },
  { name: 'hyparquet, files', find: findWithHyparquet },
  { name: 'icebird, Iceberg', find: async table => foundIn((await readIcebergFiles(table)).rows) },
  {
    name: 'ClickHouse, glob',
    ...CHDB,
    find: table => findWithClickHouse(`file('${table}/data/**/*.parquet', Parquet, ${STRUCTURE})`),
  },
  {
    name: 'ClickHouse, Iceberg',
    ...CHDB,
    find: table => findWithClickHouse(`icebergLocal('${table}')`),
  },
  {
    name: 'Polars, files',
    probe: [process.execPath, pathOf('read-with-polars.mjs')],
    isInstalled: true,
    find: findWithPolars,
  },
  {
    name: 'PyIceberg, Iceberg',
    probe: [PYTHON, '-c', 'import pyarrow, pyiceberg.table'],
    find: async table => (await pyIceberg(table)).found,
  },
  {
    name: 'Spark, files',
    probe: [PYTHON, '-c', SPARK_PROBE],
    find: table => findWithSpark('files', table),
  },
  {
    name: 'Spark, Iceberg',
    probe: [PYTHON, '-c', `${SPARK_PROBE}; import os; open(os.environ["TEST_ICEBERG_JAR"])`],
    find: table => findWithSpark('iceberg', table),
  },
]

const known = new Map<string, Promise<boolean>>()

/**
 * Whether a program is on this machine.
 *
 * @param tell gets a sentence if it is not
 * @throws Error if it should have been installed
 */
export async function isHere(reader: Reader, tell: (sentence: string) => void): Promise<boolean> {
  const { name, probe, isInstalled } = reader
  if (probe === undefined) return true
  const [command, ...args] = probe
  const key = probe.join(' ')
  const trying = known.get(key) ?? run(command, args).then(() => true, failed)
  known.set(key, trying)
  if (await trying) return true
  tell(`${name}: this program is not on this machine, and was not tried`)
  return false

  function failed(error: Error): boolean {
    if (isInstalled && process.env.TEST_READERS_PATH !== undefined) throw error
    return false
  }
}

export function readerOf(name: string): Reader {
  const reader = READERS.find(each => each.name === name)
  if (reader === undefined) throw new Error(`No reader is called ${name}`)
  return reader
}
