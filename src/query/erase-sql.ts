/** Finds and erases events in files of the table. */

import type { DuckDBConnection } from '@duckdb/node-api'
import { EVENT_COLUMNS, tableColumns } from '../table/table-columns.ts'
import type { EraseRequest, FindRequest, MadeFile } from './engine-messages.ts'
import { statsOf } from './hour-files.ts'
import { identifier, ORDER, quoted } from './table-sql.ts'

/** What is left of an erased event, besides its id, its source and its time. As JSON, in the column `extra`. */
export const ERASED_EXTRA = '{"erased":true}'
const KEPT: ReadonlySet<string> = new Set(['message_id', 'source', 'received_at'])

/** @returns how many of the wanted events each file has that has some */
export async function findInFiles(
  connection: DuckDBConnection,
  { files, ids }: FindRequest,
): Promise<[path: string, count: number][]> {
  if (files.length === 0) return []
  const list = files.map(quoted).join(', ')
  const reader = await connection.runAndReadAll(
    `select filename, count(*) from (
      select message_id, source, filename from read_parquet([${list}], hive_partitioning = false, filename = true)
    ) f semi join ${wanted(ids)} i on ${SAME} group by 1`,
  )
  return reader.getRows().map(([path, count]) => [String(path), Number(count)])
}

/** Makes a file of a file of the table, with as many rows, in which the wanted events say nothing. */
export async function eraseInFile(
  connection: DuckDBConnection,
  { file, ids, columns, parquet }: EraseRequest,
): Promise<MadeFile> {
  const selected = tableColumns(columns).map(({ name }) => erased(name))
  const fields = tableColumns(columns).map(({ name, fieldId }) => `${identifier(name)}: ${fieldId}`)
  const reader = await connection.runAndReadAll(
    `copy (select ${selected.join(', ')} from (
      select f.*, i.message_id is not null as is_erased from read_parquet(${quoted(file)}, hive_partitioning = false) f
      left join ${wanted(ids)} i on ${SAME}
    ) order by ${ORDER}) to ${quoted(parquet)} (format parquet, compression zstd, field_ids {${fields.join(', ')}})`,
  )
  const rows = Number(reader.getRows()[0]?.[0])
  return { path: parquet, hour: null, rows, stats: await statsOf(connection, parquet) }
}

const SAME = 'i.message_id = f.message_id and i.source is not distinct from f.source'

function wanted(ids: string): string {
  return `(select distinct message_id, source from read_parquet(${quoted(ids)}))`
}

function erased(name: string): string {
  const column = identifier(name)
  if (KEPT.has(name)) return column
  const left = name === 'extra' ? quoted(ERASED_EXTRA) : 'null'
  return `case when is_erased then ${left} else ${column} end as ${column}`
}

/** A condition on `events`: only what is left of an erased event. */
export const IS_ERASED = `coalesce(${[
  `cast(extra as varchar) = ${quoted(ERASED_EXTRA)}`,
  ...EVENT_COLUMNS.map(([name]) => name)
    .filter(name => !KEPT.has(name) && name !== 'extra' && name !== 'raw')
    .map(name => `${name} is null`),
].join(' and ')}, false)`

/** SQL for the events that a condition chooses, on the view `events`: what their ids are made of, and their time. */
export function matchesSql(where: string): string {
  const names = EVENT_COLUMNS.map(([name]) => name)
  return `select message_id, source, epoch_ms(received_at) as received_ms, raw from (
    select ${names.join(', ')}, (\n${where}\n) as is_match from events
  ) where is_match and message_id is not null and not ${IS_ERASED}`
}
