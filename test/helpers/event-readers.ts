/** Rows of `events`, as programs find them: answers of `frequency query`, and files of the table. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import { asyncBufferFromFile, parquetReadObjects } from 'hyparquet'
import { compressors } from 'hyparquet-compressors'
import { EVENT_COLUMNS } from '../../src/table/table-columns.ts'
import { type EventRow, writtenMembers } from './event-members.ts'

const TIMES = new Set(['timestamp', 'received_at'])

/** JSON of a column is taken as it is written. NULL and the JSON `null` are both `null` in NDJSON. */
export function ndjsonRows(text: string): EventRow[] {
  const kinds = new Map<string, string>(EVENT_COLUMNS)
  return linesOf(text).map(line =>
    Object.fromEntries(
      writtenMembers(line).map(({ name, json }) => [
        name,
        kinds.get(name) === 'json' ? (json === 'null' ? null : json) : JSON.parse(json),
      ]),
    ),
  )
}

/** RFC 4180. A field without quotes that is empty is NULL. */
export function csvRows(text: string): EventRow[] {
  const [names = [], ...records] = csvRecords(text)
  return records.map(record => rowOf(names.map((name, at) => [name, record[at] ?? null])))
}

function csvRecords(text: string): (string | null)[][] {
  const records: (string | null)[][] = []
  let record: (string | null)[] = []
  let at = 0
  while (at < text.length) {
    let field: string | null = null
    if (text[at] === '"') {
      const start = at + 1
      at = text.indexOf('"', start)
      while (text[at + 1] === '"') at = text.indexOf('"', at + 2)
      field = text.slice(start, at++).replaceAll('""', '"')
    } else {
      const end = /[,\n]/g
      end.lastIndex = at
      const stop = end.exec(text)?.index ?? text.length
      if (stop > at) field = text.slice(at, stop)
      at = stop
    }
    record.push(field)
    if (text[at++] === ',') continue
    records.push(record)
    record = []
  }
  return records
}

/** Times are as DuckDB writes them in texts: `2026-11-24 13:05:07.123+00`. */
function rowOf(fields: readonly (readonly [name: string | null, value: string | null])[]): EventRow {
  return Object.fromEntries(
    fields.map(([name, value]) => {
      if (value === null || !TIMES.has(String(name))) return [name, value]
      const [, time = '', fraction = ''] = /^(\S+ [\d:]+)(?:\.(\d+))?\+00$/.exec(value) ?? []
      return [name, `${time.replace(' ', 'T')}.${fraction.padEnd(3, '0')}Z`]
    }),
  )
}

/** @param files a path, or a glob */
export async function duckdbRows(files: string): Promise<EventRow[]> {
  const connection = await (await DuckDBInstance.create(':memory:', { threads: '1' })).connect()
  try {
    await connection.run("set timezone = 'UTC'")
    const texts = EVENT_COLUMNS.map(([name]) => `encode(cast("${name}" as varchar)) as "${name}"`)
    const reader = await connection.runAndReadAll(
      `select ${texts.join(', ')} from read_parquet('${files}', union_by_name = true, hive_partitioning = true)`,
    )
    const names = reader.columnNames()
    return reader.getRows().map(row => rowOf(names.map((name, at) => [name, bytesText(row[at])])))
  } finally {
    connection.closeSync()
  }
}

/** The bindings would drop a byte order mark. */
function bytesText(value: unknown): string | null {
  return value === null || value === undefined
    ? null
    : Buffer.from((value as { bytes: Uint8Array }).bytes).toString()
}

/** @param directory whose Parquet files are read, or one file */
export async function hyparquetRows(directory: string): Promise<EventRow[]> {
  const rows: EventRow[] = []
  for (const path of filesIn(directory)) {
    const file = await asyncBufferFromFile(path)
    rows.push(...(await parquetReadObjects({ file, compressors })).map(foundRow))
  }
  return rows
}

function filesIn(path: string): string[] {
  if (path.endsWith('.parquet')) return [path]
  const entries = readdirSync(path, { recursive: true, withFileTypes: true })
  return entries.filter(entry => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name))
}

/** A row of a library in JavaScript: times are a Date. */
export function foundRow(row: Readonly<Record<string, unknown>>): EventRow {
  return Object.fromEntries(
    EVENT_COLUMNS.map(([name]) => {
      const value = row[name] ?? null
      return [name, value instanceof Date ? value.toISOString() : (value as string | null)]
    }),
  )
}

export function linesOf(text: string): string[] {
  return text.split('\n').slice(0, -1)
}
