/** The columns of the table and of the view `events`. */

import type { TableColumn } from './table-entry.ts'

/**
 * The columns of every event, in their order. `text`: a string. `time`: a timestamp with time zone. `json`: JSON, in a
 * Parquet file of the table as a string. `line`: the event as it was sent, if the other columns do not say all of it.
 */
export const EVENT_COLUMNS = [
  ['message_id', 'text'],
  ['event', 'text'],
  ['type', 'text'],
  ['user_id', 'text'],
  ['anonymous_id', 'text'],
  ['timestamp', 'time'],
  ['received_at', 'time'],
  ['source', 'text'],
  ['channel', 'text'],
  ['properties', 'json'],
  ['context', 'json'],
  ['traits', 'json'],
  ['extra', 'json'],
  ['raw', 'line'],
] as const

/** Columns whose bounds are kept: those of other columns could name a user. */
export const BOUNDED_COLUMNS: ReadonlySet<string> = new Set([
  'message_id',
  'event',
  'timestamp',
  'received_at',
])

/** The field id of a column of every event, in Parquet and Iceberg: from 1. Typed columns follow. */
function fieldIdOf(index: number): number {
  return index + 1
}

/** All columns of a file or of the table, with the types of Iceberg. @param typed the typed columns that it has */
export function tableColumns(
  typed: readonly TableColumn[],
): { readonly name: string; readonly type: TableColumn['type']; readonly fieldId: number }[] {
  const own = EVENT_COLUMNS.map(([name, kind], index) => ({
    name,
    type: kind === 'time' ? ('timestamptz' as const) : ('string' as const),
    fieldId: fieldIdOf(index),
  }))
  return [...own, ...typed.map(({ name, type, fieldId }) => ({ name, type, fieldId }))]
}
