import { MIB } from '../config/setting-types.ts'
import type { RowsFile } from './engine-messages.ts'
import { COLUMNS, TYPES } from './event-columns.ts'
import { SEPARATOR } from './event-rows.ts'

const ROW_GROUP_BYTES_MAX = 64 * MIB
const ROW_GROUP_ROWS_MIN = 2_048
/** DuckDB's default. */
const ROW_GROUP_ROWS_MAX = 122_880
/** DuckDB's default. It reads into buffers of several times this size. */
const LINE_BYTES_MIN = 2_000_000

/**
 * SQL that makes a Parquet file of a file of rows (event-rows.ts).
 *
 * @param rows.path of the file, with `count` rows of `bytes` in all, the longest of `longest` bytes
 */
export function parquetOfRows(rows: RowsFile, parquet: string): string {
  const { path, longest } = rows
  const columns = ['row_start', ...COLUMNS].map(name => `'${name}': 'VARCHAR'`).join(', ')
  const source = `read_csv(${quoted(path)}, delim = '${SEPARATOR}', quote = '', escape = '', header = false,
    auto_detect = false, hive_partitioning = false, new_line = '\\n', max_line_size = ${Math.max(LINE_BYTES_MIN, longest + 1)}, columns = {${columns}})`
  const selected = COLUMNS.map((name, index) => `${decoded(name, TYPES[index] as string)} as ${name}`)
  return `copy (select ${selected.join(', ')} from ${source}) to ${quoted(parquet)} 
    (format parquet, compression snappy, row_group_size ${rowGroupSize(rows)})`
}

function decoded(name: string, type: string): string {
  if (type === 'time') return `cast(${name} as timestamptz)`
  if (type === 'json') return `cast(${name} as json)`
  if (type === 'line') return name
  // A backslash alone is the empty string. Any other text with one is the inside of a JSON string.
  return `case when not contains(${name}, '\\') then ${name}
    when ${name} = '\\' then '' else json_extract_string('"' || ${name} || '"', '$') end`
}

/** DuckDB collects a row group in memory before it writes it. */
function rowGroupSize({ bytes, count }: RowsFile): number {
  const rows = Math.floor(ROW_GROUP_BYTES_MAX / Math.max(1, bytes / Math.max(1, count)))
  return Math.max(ROW_GROUP_ROWS_MIN, Math.min(ROW_GROUP_ROWS_MAX, rows))
}

const DUCKDB_TYPES = { text: 'varchar', time: 'timestamptz', json: 'json', line: 'varchar' } as const

/** SQL that makes the view `events` of Parquet files. */
export function eventsView(
  files: readonly string[],
  { since, until }: { readonly since: number | undefined; readonly until: number | undefined },
): string {
  if (files.length === 0) {
    const nothing = COLUMNS.map(
      (name, index) => `cast(null as ${DUCKDB_TYPES[TYPES[index] as keyof typeof DUCKDB_TYPES]}) as ${name}`,
    )
    return `create or replace temp view events as select ${nothing.join(', ')} where false`
  }
  const conditions = [
    since === undefined ? [] : [`received_at >= make_timestamptz(${since * 1_000})`],
    until === undefined ? [] : [`received_at < make_timestamptz(${until * 1_000})`],
  ].flat()
  const where = conditions.length === 0 ? '' : ` where ${conditions.join(' and ')}`
  const list = files.map(quoted).join(', ')
  return `create or replace temp view events as select ${COLUMNS.join(', ')} from read_parquet([${list}], hive_partitioning = false)${where}`
}

/** A string literal of SQL. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", "''")}'`
}
