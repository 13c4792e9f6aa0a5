/** Helpers for tests of the table: Parquet files as the table has them, states of its log, and stores that fail. */
import { randomUUID } from 'node:crypto'
import { readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { type DuckDBConnection, DuckDBInstance } from '@duckdb/node-api'
import { tableFormat } from '../../src/query/table-sql.ts'
import type { ObjectStore } from '../../src/store/store.ts'
import { tableColumns } from '../../src/table/table-columns.ts'
import type { TableChange, TableColumn, TableFile } from '../../src/table/table-entry.ts'
import { type TableKeys, tableKeys } from '../../src/table/table-keys.ts'
import { applied, EMPTY_TABLE, type TableState } from '../../src/table/table-state.ts'

export const HOUR_MS = 3_600_000
const ROW_GROUP_ROWS = 122_880
/** 2026-11-24T13:00Z, in hours since 1970. */
export const FIRST_HOUR = Date.UTC(2026, 10, 24, 13) / HOUR_MS

const SQL_TYPES = {
  string: 'VARCHAR',
  long: 'BIGINT',
  double: 'DOUBLE',
  boolean: 'BOOLEAN',
  timestamptz: 'TIMESTAMPTZ',
} as const

/** SQL of the value of a column in row `i` of an hour. Columns that are not here are NULL. */
const VALUES: Readonly<Record<string, string>> = {
  message_id: `printf('m-%s-%05d', $name, i)`,
  event: `'event ' || i % 3`,
  type: `'track'`,
  user_id: `CASE WHEN i % 2 = 0 THEN 'user-' || i END`,
  timestamp: `CASE WHEN $hour IS NULL THEN NULL ELSE make_timestamptz(($hour * 3600000000 + i * 1000 - 5)::BIGINT) END`,
  received_at: `CASE WHEN $hour IS NULL THEN NULL ELSE make_timestamptz(($hour * 3600000000 + i * 1000)::BIGINT) END`,
  source: `'web'`,
  properties: `'{"n":' || i || '}'`,
  plan: `CASE WHEN i % 2 = 0 THEN 'pro' ELSE 'free' END`,
  amount: `i + 0.5`,
  visits: `i`,
}

export const PLAN: TableColumn = { name: 'plan', member: 'properties.plan', type: 'string', fieldId: 15 }
export const AMOUNT: TableColumn = {
  name: 'amount',
  member: 'properties.amount',
  type: 'double',
  fieldId: 16,
}
export const VISITS: TableColumn = { name: 'visits', member: 'properties.visits', type: 'long', fieldId: 17 }

export interface FileOptions {
  /** @default FIRST_HOUR */
  readonly hour?: number | null
  readonly rows?: number
  /** The table's typed columns that the file has. */
  readonly typed?: readonly TableColumn[]
  readonly name?: string
  /** @default its key */
  readonly path?: string
}

let connection: Promise<DuckDBConnection> | undefined

function duckdb(): Promise<DuckDBConnection> {
  connection ??= DuckDBInstance.create(':memory:', { threads: '1' }).then(instance => instance.connect())
  return connection
}

/** A table in a store, and the log of its files in memory. */
export class TestTable {
  readonly store: ObjectStore
  readonly keys: TableKeys
  readonly location: string
  readonly #root: string
  state: TableState = EMPTY_TABLE

  /** @param root URI or path of the place where keys begin, without a slash at its end */
  constructor(store: ObjectStore, prefix: string, root: string) {
    this.store = store
    this.keys = tableKeys(prefix)
    this.#root = root
    this.location = this.toUri(this.keys.table.slice(0, -1))
  }

  toUri = (key: string): string => `${this.#root}/${key}`

  get parts() {
    const { store, keys, location, toUri } = this
    return { store, keys, location, toUri }
  }

  /** Appends an entry to the log. */
  append(change: TableChange): TableState {
    const number = this.state.number + 1
    const entry = { version: 1, log: 'a-log', number, nonce: randomUUID(), at: Date.now(), ...change }
    this.state = applied(this.state, [entry])
    return this.state
  }

  /** Stores a Parquet file, and returns what the log has of it. */
  async file(options: FileOptions = {}): Promise<TableFile> {
    const { hour = FIRST_HOUR, rows = 10, typed = [], name = randomUUID() } = options
    const key = this.keys.dataFile(hour, name)
    const path = options.path ?? key
    const { bytes, stats } = await parquet(hour, rows, typed, name)
    await this.store.put(path, Readable.from([bytes], { objectMode: false }))
    return { key, path, bytes: bytes.length, rows, hour, typedColumns: typed.length, stats }
  }
}

async function parquet(
  hour: number | null,
  rows: number,
  typed: readonly TableColumn[],
  name: string,
): Promise<{ bytes: Buffer; stats: TableFile['stats'] }> {
  const sql = await duckdb()
  const columns = tableColumns(typed)
  const sqlOf = (column: string) =>
    (VALUES[column] ?? 'NULL').replaceAll('$name', `'${name}'`).replaceAll('$hour', String(hour ?? 'NULL'))
  const select = columns.map(
    ({ name: column, type }) => `(${sqlOf(column)})::${SQL_TYPES[type]} AS "${column}"`,
  )
  const path = join(tmpdir(), `frequency-${randomUUID()}.parquet`)
  try {
    await sql.run(
      `COPY (SELECT ${select.join(', ')} FROM range(${rows}) r(i) ORDER BY event, received_at)
       TO '${path}' (${tableFormat(typed, ROW_GROUP_ROWS)})`,
    )
    return { bytes: readFileSync(path), stats: await statsOf(sql, path) }
  } finally {
    rmSync(path, { force: true })
  }
}

async function statsOf(sql: DuckDBConnection, path: string): Promise<TableFile['stats']> {
  const reader = await sql.runAndReadAll(
    `SELECT path_in_schema AS name, sum(total_compressed_size)::INTEGER AS bytes, sum(stats_null_count)::INTEGER AS nulls
     FROM parquet_metadata('${path}') GROUP BY ALL`,
  )
  const [bounds] = (
    await sql.runAndReadAll(
      `SELECT min(message_id) AS message_id_min, max(message_id) AS message_id_max, min(event) AS event_min, max(event) AS event_max,
         epoch_us(min(timestamp))::DOUBLE AS timestamp_min, epoch_us(max(timestamp))::DOUBLE AS timestamp_max,
         epoch_us(min(received_at))::DOUBLE AS received_at_min, epoch_us(max(received_at))::DOUBLE AS received_at_max
       FROM '${path}'`,
    )
  ).getRowObjects() as Record<string, string | number | null>[]
  const boundOf = (name: string) => bounds?.[name] ?? undefined
  return Object.fromEntries(
    reader.getRowObjects().map(row => {
      const { name, bytes, nulls } = row as { name: string; bytes: number; nulls: number }
      const [min, max] = [boundOf(`${name}_min`), boundOf(`${name}_max`)]
      return [name, { bytes, nulls, ...(min !== undefined && { min }), ...(max !== undefined && { max }) }]
    }),
  )
}
