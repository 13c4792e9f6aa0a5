/** Makes the files of the table for one hour, of files of rows. */

import { rm } from 'node:fs/promises'
import type { DuckDBConnection } from '@duckdb/node-api'
import { KIB } from '../config/setting-types.ts'
import { BOUNDED_COLUMNS } from '../table/table-columns.ts'
import type { ColumnStats } from '../table/table-entry.ts'
import type { CompactRequest, MadeFile, RowsFile, RowsOfSpan } from './engine-messages.ts'
import { footerStats, isOfHour, isOutside, strayHours, tableFileOfRows } from './table-sql.ts'

/** DuckDB has 2,048 rows in memory at a time, and several times. */
const LONG_ROW_BYTES = 32 * KIB
const BOUND_CHARS_MAX = 64
const LAST_CODE_POINT = 0x10ffff

/** Whether the rows of a file are long, on average. */
export function hasLongRows({ bytes, count }: Pick<RowsFile, 'bytes' | 'count'>): boolean {
  return bytes > LONG_ROW_BYTES * count
}

/**
 * The first file has the events of the hour, but for long rows: each source of them makes a file of its own, so that
 * memory is bounded. Others have events without a time, or with a time outside the span of
 * their batch, if the hour is the first one of that batch: a file has events of one hour only.
 */
export async function makeHourFiles(
  connection: DuckDBConnection,
  { sources, hour, columns, path }: Omit<CompactRequest, 'kind' | 'id'>,
): Promise<MadeFile[]> {
  const files: MadeFile[] = []
  const make = async (of: readonly RowsOfSpan[], fileHour: number | null, where: string): Promise<number> => {
    const parquet = `${path}-${files.length}.parquet`
    const rows = of.map(each => each.rows)
    const reader = await connection.runAndReadAll(tableFileOfRows(rows, columns, where, parquet))
    const count = Number(reader.getRows()[0]?.[0])
    if (count > 0)
      files.push({ path: parquet, hour: fileHour, rows: count, stats: await statsOf(connection, parquet) })
    else await rm(parquet, { force: true })
    return count
  }
  const long = sources.filter(({ rows }) => hasLongRows(rows))
  const others = sources.filter(({ rows }) => !hasLongRows(rows))
  let count = 0
  for (const part of [others, ...long.map(source => [source])])
    if (part.length > 0) count += await make(part, hour, isOfHour(hour))
  const isWhole = sources.every(({ firstHour, lastHour }) => firstHour === hour && lastHour === hour)
  if (isWhole && count === sources.reduce((sum, { rows }) => sum + rows.count, 0)) return files
  for (const source of sources.filter(({ firstHour }) => firstHour === hour)) {
    const reader = await connection.runAndReadAll(strayHours([source.rows], source))
    for (const [stray] of reader.getRows()) {
      const strayHour = stray === null ? null : Number(stray)
      await make([source], strayHour, `${isOutside(source)} and ${isOfHour(strayHour)}`)
    }
  }
  return files
}

/** What the footer of a file says of its columns. */
export async function statsOf(
  connection: DuckDBConnection,
  parquet: string,
): Promise<Record<string, ColumnStats>> {
  const reader = await connection.runAndReadAll(footerStats(parquet))
  const stats: Record<string, ColumnStats> = {}
  for (const [name, bytes, nulls, min, max] of reader.getRows()) {
    const column = String(name)
    const sizes = { bytes: Number(bytes), nulls: Number(nulls) }
    stats[column] = BOUNDED_COLUMNS.has(column) ? { ...sizes, ...boundsOf(column, min, max) } : sizes
  }
  return stats
}

function boundsOf(column: string, min: unknown, max: unknown): Pick<ColumnStats, 'min' | 'max'> {
  if (typeof min !== 'string' || typeof max !== 'string') return {}
  if (column === 'timestamp' || column === 'received_at') return { min: Number(min), max: Number(max) }
  const upper = upperBound(max)
  return {
    min: Array.from(min).slice(0, BOUND_CHARS_MAX).join(''),
    ...(upper !== undefined && { max: upper }),
  }
}

/** A text of at most 64 characters that is not below `max`; undefined if there is none. */
function upperBound(max: string): string | undefined {
  const characters = Array.from(max)
  if (characters.length <= BOUND_CHARS_MAX) return max
  const bound = characters.slice(0, BOUND_CHARS_MAX)
  while (bound.length > 0) {
    const last = (bound.pop() as string).codePointAt(0) as number
    // Half of a surrogate pair is no character: 0xd7ff is followed by 0xe000.
    if (last < LAST_CODE_POINT)
      return bound.join('') + String.fromCodePoint(last === 0xd7ff ? 0xe000 : last + 1)
  }
  return undefined
}
