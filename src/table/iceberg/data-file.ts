/** A file of the table as a manifest has it: its path, its partition, and what is known of its columns. */

import { BOUNDED_COLUMNS, tableColumns } from '../table-columns.ts'
import type { ColumnStats, TableColumn, TableFile } from '../table-entry.ts'

interface OfColumn<Value> {
  readonly key: number
  readonly value: Value
}

export interface DataFile {
  readonly content: 0
  /** A URI. */
  readonly file_path: string
  readonly file_format: 'PARQUET'
  /** Hours since 1970. */
  readonly partition: { readonly received_at_hour: number | null }
  readonly record_count: number
  readonly file_size_in_bytes: number
  readonly column_sizes: readonly OfColumn<number>[] | null
  readonly value_counts: readonly OfColumn<number>[] | null
  readonly null_value_counts: readonly OfColumn<number>[] | null
  readonly lower_bounds: readonly OfColumn<Buffer>[] | null
  readonly upper_bounds: readonly OfColumn<Buffer>[] | null
}

/** @param typed all typed columns of the table */
export function dataFileOf(file: TableFile, path: string, typed: readonly TableColumn[]): DataFile {
  const known = tableColumns(typed).flatMap(({ name, fieldId }) => {
    const stats = Object.hasOwn(file.stats, name) ? file.stats[name] : undefined
    return stats === undefined ? [] : [{ name, fieldId, stats }]
  })
  const ofEach = (value: (stats: ColumnStats) => number): OfColumn<number>[] =>
    known.map(({ fieldId, stats }) => ({ key: fieldId, value: value(stats) }))
  const bounds = (end: 'min' | 'max'): OfColumn<Buffer>[] =>
    known.flatMap(({ name, fieldId, stats: { [end]: bound } }) =>
      bound === undefined || !BOUNDED_COLUMNS.has(name) ? [] : [{ key: fieldId, value: boundOf(bound) }],
    )
  return {
    content: 0,
    file_path: path,
    file_format: 'PARQUET',
    partition: { received_at_hour: file.hour },
    record_count: file.rows,
    file_size_in_bytes: file.bytes,
    column_sizes: ofEach(({ bytes }) => bytes),
    value_counts: ofEach(() => file.rows),
    null_value_counts: ofEach(({ nulls }) => nulls),
    lower_bounds: bounds('min'),
    upper_bounds: bounds('max'),
  }
}

/** Iceberg's "single-value serialization": UTF-8, or microseconds in 8 bytes, little-endian. */
function boundOf(bound: string | number): Buffer {
  if (typeof bound === 'string') return Buffer.from(bound)
  const bytes = Buffer.alloc(8)
  bytes.writeBigInt64LE(BigInt(bound))
  return bytes
}

/** An hour as the bound of a partition: 4 bytes, little-endian. */
export function hourBound(hour: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32LE(hour)
  return bytes
}
