/** Finds and erases events in files of the table. */

import type { DuckDBConnection } from '@duckdb/node-api'
import { EVENT_COLUMNS, tableColumns } from '../table/table-columns.ts'
import type { EraseRequest, FindRequest, IdsRequest, MadeFile } from './engine-messages.ts'
import { statsOf } from './hour-files.ts'
import { identifier, quoted, ROW_GROUP_ROWS_MIN, tableFormat } from './table-sql.ts'

/** What is left of an erased event, besides its id, its source and its time. As JSON, in the column `extra`. */
const ERASED_EXTRA = '{"erased":true}'
const KEPT: ReadonlySet<string> = new Set(['message_id', 'source', 'received_at'])
/** A condition on `events`: only what is left of an erased event. */
export const IS_ERASED = `(coalesce(cast(extra as varchar) = ${quoted(ERASED_EXTRA)}, false) and ${saysNothing()})`
/** Of DuckDB. */
const VECTOR_ROWS = 2_048
const SAME = 'i.message_id = f.message_id and i.source is not distinct from f.source'

/** A condition: all columns are NULL but `extra`, and what is left of an erased event. @param typed typed columns */
function saysNothing(typed: readonly string[] = []): string {
  const own = EVENT_COLUMNS.map(([name]) => name).filter(name => !KEPT.has(name) && name !== 'extra')
  return [...own, ...typed].map(name => `${name} is null`).join(' and ')
}

/** Makes a Parquet file of the wanted ids, each once. */
export async function writeIds(
  connection: DuckDBConnection,
  { rows, parquet }: Omit<IdsRequest, 'kind' | 'id'>,
): Promise<number> {
  const reader = await connection.runAndReadAll(
    `copy (select message_id, source, bool_and(keeps_source) as keeps_source from read_json(${quoted(rows)},
      format = 'newline_delimited', columns = {message_id: 'VARCHAR', source: 'VARCHAR', keeps_source: 'BOOLEAN'})
      group by all) to ${quoted(parquet)} (format parquet, compression zstd)`,
  )
  return Number(reader.getRows()[0]?.[0])
}

/** @returns how many of the wanted events, that are not erased, each file has that has some */
export async function findInFiles(
  connection: DuckDBConnection,
  { files, ids, places }: Omit<FindRequest, 'kind' | 'id'>,
): Promise<[path: string, count: number][]> {
  if (files.length === 0) return []
  const rows = `read_parquet([${files.map(quoted).join(', ')}], hive_partitioning = false, union_by_name = true,
    filename = 'path of file', file_row_number = true)`
  const columns = `"path of file" as path, file_row_number as place, message_id, received_at, source`
  // Two conditions for "not erased": of most rows only the ids, and whether `extra` says something, are read.
  const isErasedText = `extra = ${quoted(ERASED_EXTRA)}`
  const found = `(
      select ${columns} from ${rows} where (${isErasedText}) is not true
      union all
      select ${columns} from ${rows} where ${isErasedText} and not (${saysNothing()})
    ) f join read_parquet(${quoted(ids)}) i on ${SAME}`
  if (places !== undefined)
    await connection.run(
      `copy (select path, place, f.message_id, received_at, if(keeps_source, f.source, null) as source from ${found})
      to ${quoted(places)} (format parquet, compression zstd)`,
    )
  const reader = await connection.runAndReadAll(
    `select path, count(*) from ${places === undefined ? found : `read_parquet(${quoted(places)})`} group by 1`,
  )
  return reader.getRows().map(([path, count]) => [String(path), Number(count)])
}

/**
 * Makes a file of a file of the table, with as many rows, in which the wanted events say nothing.
 *
 * Other rows keep their order, so nothing is sorted. All rows that say nothing are at the end, by time: in its place such
 * a row would tell the name of its event, because files are sorted by it. Joins lose the order, so the rows to move are
 * marked in a string of bits. The connection must preserve the order of rows, and make one file at a time.
 */
export async function eraseInFile(
  connection: DuckDBConnection,
  { file, places, columns, parquet }: Omit<EraseRequest, 'kind' | 'id'>,
): Promise<MadeFile> {
  const all = tableColumns(columns)
  const rows = `read_parquet(${quoted(file)}, hive_partitioning = false, file_row_number = true)`
  const size = await sizeOf(connection, file)
  await connection.run(
    `create or replace temp table erased_rows as
      select place, message_id, received_at, source from read_parquet(${quoted(places.parquet)})
      where path = ${quoted(places.path)}
      union all
      select file_row_number, message_id, received_at, source from ${rows}
      where extra = ${quoted(ERASED_EXTRA)} and ${saysNothing(columns.map(({ name }) => identifier(name)))}
      order by received_at, message_id, place`,
  )
  await connection.run(
    `set variable erased_places = (select bitstring_agg(place, 0, ${size.rows - 1}) from erased_rows)`,
  )
  const reader = await connection.runAndReadAll(
    `copy (
      select ${all.map(({ name }) => identifier(name)).join(', ')} from ${rows}
      where get_bit(getvariable('erased_places'), file_row_number::integer) = 0
      union all select ${all.map(({ name }) => erased(name)).join(', ')} from erased_rows
    ) to ${quoted(parquet)} (${tableFormat(columns, size.rowGroupRows)})`,
  )
  await connection.run('drop table erased_rows')
  const made = Number(reader.getRows()[0]?.[0])
  return { path: parquet, hour: null, rows: made, stats: await statsOf(connection, parquet) }
}

/** @returns its rows, and those of a row group of the file that is made of it: DuckDB collects one in memory */
async function sizeOf(
  connection: DuckDBConnection,
  file: string,
): Promise<{ readonly rows: number; readonly rowGroupRows: number }> {
  const reader = await connection.runAndReadAll(
    `select sum(rows), max(rows) from (
      select any_value(row_group_num_rows) as rows from parquet_metadata(${quoted(file)}) group by row_group_id
    )`,
  )
  const [rows, most] = (reader.getRows()[0] ?? []).map(Number)
  // Row groups end with a vector of rows that came together, so they have up to one more than this.
  const whole = Math.floor((most ?? 0) / VECTOR_ROWS) * VECTOR_ROWS
  return { rows: rows ?? 0, rowGroupRows: Math.max(ROW_GROUP_ROWS_MIN, whole) }
}

/** The column of an erased row. */
function erased(name: string): string {
  const column = identifier(name)
  if (KEPT.has(name)) return column
  return `${name === 'extra' ? quoted(ERASED_EXTRA) : 'null'} as ${column}`
}

/** SQL for the events that a condition chooses, on the view `events`: what their ids are made of, and their time. */
export function matchesSql(where: string): string {
  const names = EVENT_COLUMNS.map(([name]) => name).join(', ')
  return `select message_id, source, epoch_ms(received_at) as received_ms, raw from (
    select ${names}, (\n${where}\n) as is_match from events
  ) where is_match and not ${IS_ERASED}`
}
