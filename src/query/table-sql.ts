import { MIB } from '../config/setting-types.ts'
import { EVENT_COLUMNS, tableColumns } from '../table/table-columns.ts'
import type { TableColumn } from '../table/table-entry.ts'
import type { RowsOfHours } from './coverage.ts'
import type { RowsFile, ViewSource } from './engine-messages.ts'
import { COLUMNS } from './event-columns.ts'
import { SEPARATOR } from './event-rows.ts'

const ROW_GROUP_BYTES_MAX = 64 * MIB
export const ROW_GROUP_ROWS_MIN = 2_048
/** DuckDB's default. */
const ROW_GROUP_ROWS_MAX = 122_880
/** DuckDB's default. It reads into buffers of several times this size. */
const LINE_BYTES_MIN = 2_000_000
const HOUR = 'floor(epoch_ms(received_at) / 3600000)::bigint'
/** The order of rows in a file of the table. */
const ORDER = 'event, received_at, message_id'
/** Level 1 makes long JSON 5 % larger. Level 6 makes it 12 % smaller, and takes two to three times the CPU. */
const ZSTD_LEVEL = 3
const DUCKDB_TYPES = { text: 'varchar', time: 'timestamptz', json: 'json', line: 'varchar' } as const
const TYPES_OF_ICEBERG = {
  string: 'varchar',
  long: 'bigint',
  double: 'double',
  boolean: 'boolean',
  timestamptz: 'timestamptz',
} as const

/** SQL that makes a Parquet file of a file of rows (event-rows.ts), for the cache of queries. */
export function parquetOfRows(rows: RowsFile, parquet: string): string {
  const selected = EVENT_COLUMNS.map(([name, kind]) =>
    kind === 'json' ? `cast(${name} as json) as ${name}` : name,
  )
  return `copy (select ${selected.join(', ')} from (${decodedRows([rows])})) to ${quoted(parquet)}
    (format parquet, compression snappy, row_group_size ${rowGroupSize([rows])})`
}

/**
 * SQL that makes a file of the table of the rows that `where` chooses.
 *
 * @param columns the typed columns that it gets
 */
export function tableFileOfRows(
  rows: readonly RowsFile[],
  columns: readonly TableColumn[],
  where: string,
  parquet: string,
): string {
  const own = EVENT_COLUMNS.map(([name]) => name)
  const typed = columns.map(column => `${typedMember(column)} as ${identifier(column.name)}`)
  return `copy (select ${[...own, ...typed].join(', ')} from (${decodedRows(rows)}) where ${where} order by ${ORDER})
    to ${quoted(parquet)} (${tableFormat(columns, rowGroupSize(rows))})`
}

/**
 * The options of a `copy` to a file of the table. Encodings of version 1: Spark and others do not read those of version
 * 2 (docs/decisions/0007-the-table-has-a-log-of-its-own.md).
 *
 * @param rowGroupRows DuckDB collects as many in memory before it writes them
 */
export function tableFormat(columns: readonly TableColumn[], rowGroupRows: number): string {
  const ids = tableColumns(columns).map(({ name, fieldId }) => `${identifier(name)}: ${fieldId}`)
  return `format parquet, parquet_version v1, compression zstd, compression_level ${ZSTD_LEVEL},
    row_group_size ${rowGroupRows}, field_ids {${ids.join(', ')}}`
}

/** A condition for rows of one hour. @param hour hours since 1970; null: without a time */
export function isOfHour(hour: number | null): string {
  return hour === null ? 'received_at is null' : `${HOUR} = ${hour}`
}

/** SQL for the hours of rows that are outside the span of their batch, each once. */
export function strayHours(
  rows: readonly RowsFile[],
  span: Pick<RowsOfHours, 'firstHour' | 'lastHour'>,
): string {
  return `select distinct ${HOUR} as hour from (${decodedRows(rows)}) where ${isOutside(span)}`
}

/** A condition for the rows of some hours. */
function isOfHours({ hours, hasStrays, ...span }: RowsOfHours): string {
  const within = `coalesce(${HOUR} in (${hours.join(', ')}), false)`
  return hasStrays ? `(${within} or ${isOutside(span)})` : within
}

/** A condition for rows whose time is missing, or outside the span of their batch. */
export function isOutside({ firstHour, lastHour }: Pick<RowsOfHours, 'firstHour' | 'lastHour'>): string {
  return `coalesce(${HOUR} not between ${firstHour} and ${lastHour}, true)`
}

/**
 * SQL for what a Parquet file's footer says of its columns. Times are in microseconds since 1970. A bound is NULL if a
 * row group has none: DuckDB leaves out those of texts that are longer than 256 bytes and not ASCII.
 */
export function footerStats(parquet: string): string {
  const micros = (bound: string, order: string) =>
    `case when path_in_schema in ('timestamp', 'received_at')
      then epoch_us(${order}(try_cast(${bound} as timestamptz)))::varchar else ${order}(${bound}) end`
  const isKnown =
    'bool_and((stats_min_value is not null and stats_max_value is not null) or stats_null_count = num_values)'
  return `select path_in_schema, sum(total_compressed_size)::bigint, sum(stats_null_count)::bigint,
    case when ${isKnown} then ${micros('stats_min_value', 'min')} end,
    case when ${isKnown} then ${micros('stats_max_value', 'max')} end
    from parquet_metadata(${quoted(parquet)}) group by 1`
}

/** SQL that makes the view `events`. */
export function eventsView(
  sources: readonly ViewSource[],
  { since, until }: { readonly since: number | undefined; readonly until: number | undefined },
): string {
  const conditions = [
    since === undefined ? [] : [`received_at >= make_timestamptz(${since * 1_000})`],
    until === undefined ? [] : [`received_at < make_timestamptz(${until * 1_000})`],
  ].flat()
  const cached = sources.filter(({ kind, only }) => kind === 'cached' && only === undefined)
  const parts = sources.flatMap(({ path, only }) => (only === undefined ? [] : { path, only }))
  const table = sources.filter(({ kind }) => kind === 'table')
  const selects = [
    cached.length === 0 ? [] : selectFrom(cached, ownColumns, conditions),
    parts.map(({ path, only }) => selectFrom([{ path }], ownColumns, [...conditions, isOfHours(only)])),
    table.length === 0 ? [] : selectFrom(table, tableColumnsAsJson, conditions),
  ].flat()
  return `create or replace temp view events as ${selects.length === 0 ? noEvents() : selects.join(' union all ')}`
}

function selectFrom(
  sources: readonly { readonly path: string }[],
  columns: () => string,
  conditions: readonly string[],
): string {
  const where = conditions.length === 0 ? '' : ` where ${conditions.join(' and ')}`
  const list = sources.map(({ path }) => quoted(path)).join(', ')
  return `select ${columns()} from read_parquet([${list}], hive_partitioning = false)${where}`
}

function ownColumns(): string {
  return COLUMNS.join(', ')
}

/** A file of the table has JSON as strings, for readers that know no JSON. */
function tableColumnsAsJson(): string {
  return EVENT_COLUMNS.map(([name, kind]) =>
    kind === 'json' ? `cast(${name} as json) as ${name}` : name,
  ).join(', ')
}

function noEvents(): string {
  const nothing = EVENT_COLUMNS.map(([name, kind]) => `cast(null as ${DUCKDB_TYPES[kind]}) as ${name}`)
  return `select ${nothing.join(', ')} where false`
}

/** A select of the columns of rows, decoded. JSON is text. */
function decodedRows(rows: readonly RowsFile[]): string {
  const longest = rows.reduce((most, each) => Math.max(most, each.longest), 0)
  const columns = ['row_start', ...COLUMNS].map(name => `'${name}': 'VARCHAR'`).join(', ')
  const source = `read_csv([${rows.map(({ path }) => quoted(path)).join(', ')}], delim = '${SEPARATOR}', quote = '', escape = '', header = false,
    auto_detect = false, hive_partitioning = false, new_line = '\\n', max_line_size = ${Math.max(LINE_BYTES_MIN, longest + 1)}, columns = {${columns}})`
  const selected = EVENT_COLUMNS.map(([name, kind]) => `${decoded(name, kind)} as ${name}`)
  return `select ${selected.join(', ')} from ${source}`
}

function decoded(name: string, kind: (typeof EVENT_COLUMNS)[number][1]): string {
  if (kind === 'time') return `cast(${name} as timestamptz)`
  if (kind !== 'text') return name
  // A backslash alone is the empty string. Any other text with one is the inside of a JSON string.
  return `case when not contains(${name}, '\\') then ${name}
    when ${name} = '\\' then '' else json_extract_string('"' || ${name} || '"', '$') end`
}

/** The member of a typed column, NULL if it is missing or has another type. */
function typedMember({ member, type }: TableColumn): string {
  const [first = '', ...rest] = member.split('.')
  const isColumn = ['properties', 'context', 'traits'].includes(first)
  const path = (isColumn ? rest : [first, ...rest]).map(name => `."${name}"`).join('')
  const text = `json_extract_string(${isColumn ? first : 'extra'}, ${quoted(`$${path}`)})`
  if (type === 'string') return text
  const cast = `try_cast(${text} as ${TYPES_OF_ICEBERG[type]})`
  // DuckDB rounds 1.5 to 2.
  return type === 'long' ? `case when try_cast(${text} as double) % 1 = 0 then ${cast} end` : cast
}

/** DuckDB collects a row group in memory before it writes it. */
function rowGroupSize(files: readonly RowsFile[]): number {
  const bytes = files.reduce((sum, each) => sum + each.bytes, 0)
  const count = files.reduce((sum, each) => sum + each.count, 0)
  const rows = Math.floor(ROW_GROUP_BYTES_MAX / Math.max(1, bytes / Math.max(1, count)))
  return Math.max(ROW_GROUP_ROWS_MIN, Math.min(ROW_GROUP_ROWS_MAX, rows))
}

/** A string literal of SQL. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", "''")}'`
}

/** A quoted identifier of SQL. */
export function identifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}
