/** Finds and erases events in files of the table. */

import type { DuckDBConnection } from '@duckdb/node-api'
import { EVENT_COLUMNS, tableColumns } from '../table/table-columns.ts'
import type { EraseRequest, FindRequest, IdsRequest, MadeFile } from './engine-messages.ts'
import { statsOf } from './hour-files.ts'
import { identifier, ORDER, quoted, ROW_GROUP_ROWS_MIN, tableFormat } from './table-sql.ts'

/** What is left of an erased event, besides its id, its source and its time. As JSON, in the column `extra`. */
const ERASED_EXTRA = '{"erased":true}'
const KEPT: ReadonlySet<string> = new Set(['message_id', 'source', 'received_at'])
/** A condition on `events`: only what is left of an erased event. */
export const IS_ERASED = `(${[
  `coalesce(cast(extra as varchar) = ${quoted(ERASED_EXTRA)}, false)`,
  ...EVENT_COLUMNS.map(([name]) => name)
    .filter(name => !KEPT.has(name) && name !== 'extra')
    .map(name => `${name} is null`),
].join(' and ')})`
const SAME = 'i.message_id = f.message_id and i.source is not distinct from f.source'

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
  { files, ids }: Omit<FindRequest, 'kind' | 'id'>,
): Promise<[path: string, count: number][]> {
  if (files.length === 0) return []
  const list = files.map(quoted).join(', ')
  const reader = await connection.runAndReadAll(
    `select filename, count(*) from (
      select * from read_parquet([${list}], hive_partitioning = false, union_by_name = true, filename = true)
      where not ${IS_ERASED}
    ) f semi join read_parquet(${quoted(ids)}) i on ${SAME} group by 1`,
  )
  return reader.getRows().map(([path, count]) => [String(path), Number(count)])
}

/** Makes a file of a file of the table, with as many rows, in which the wanted events say nothing. */
export async function eraseInFile(
  connection: DuckDBConnection,
  { file, ids, columns, parquet }: Omit<EraseRequest, 'kind' | 'id'>,
): Promise<MadeFile> {
  const selected = tableColumns(columns).map(({ name }) => erased(name))
  const reader = await connection.runAndReadAll(
    `copy (select ${selected.join(', ')} from (
      select f.*, i.keeps_source, i.message_id is not null as is_wanted
      from read_parquet(${quoted(file)}, hive_partitioning = false) f
      left join read_parquet(${quoted(ids)}) i on ${SAME}
    ) order by ${ORDER}) to ${quoted(parquet)} (${tableFormat(columns, await rowGroupRows(connection, file))})`,
  )
  const rows = Number(reader.getRows()[0]?.[0])
  return { path: parquet, hour: null, rows, stats: await statsOf(connection, parquet) }
}

/** Of the largest row group: DuckDB collects one in memory, so those of the new file must not be larger. */
async function rowGroupRows(connection: DuckDBConnection, file: string): Promise<number> {
  const reader = await connection.runAndReadAll(
    `select max(row_group_num_rows) from parquet_metadata(${quoted(file)})`,
  )
  return Math.max(ROW_GROUP_ROWS_MIN, Number(reader.getRows()[0]?.[0] ?? 0))
}

function erased(name: string): string {
  const column = identifier(name)
  if (name === 'source') return `case when is_wanted and not keeps_source then null else source end as source`
  if (KEPT.has(name)) return column
  const left = name === 'extra' ? quoted(ERASED_EXTRA) : 'null'
  return `case when is_wanted then ${left} else ${column} end as ${column}`
}

/** SQL for the events that a condition chooses, on the view `events`: what their ids are made of, and their time. */
export function matchesSql(where: string): string {
  const names = EVENT_COLUMNS.map(([name]) => name).join(', ')
  return `select message_id, source, epoch_ms(received_at) as received_ms, raw from (
    select ${names}, (\n${where}\n) as is_match from events
  ) where is_match and not ${IS_ERASED}`
}
