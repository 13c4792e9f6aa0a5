/** The typed columns of the table: members of events that get a column of their own. */

import { ConfigInvalid } from '../errors.ts'
import { tableColumns } from '../table/table-columns.ts'
import type { TableColumn } from '../table/table-entry.ts'

export type WantedColumn = Pick<TableColumn, 'name' | 'member' | 'type'>

/** The names of types, and what else people call them. */
const TYPES: Readonly<Record<string, TableColumn['type']>> = {
  string: 'string',
  text: 'string',
  varchar: 'string',
  long: 'long',
  bigint: 'long',
  integer: 'long',
  double: 'double',
  number: 'double',
  boolean: 'boolean',
  timestamptz: 'timestamptz',
  timestamp: 'timestamptz',
}
/** The partitions of the glob and of Iceberg, and what DuckDB calls the place of a row (erase-sql.ts). */
const RESERVED = ['dt', 'hour', 'received_at_hour', 'file_row_number']
const MEMBER = /^[A-Za-z_$][\w$-]*(?:\.[A-Za-z_$][\w$-]*)*$/

/**
 * Reads `TABLE_COLUMNS`: `properties.plan:string,properties.price:double`. The column of `properties.plan` is
 * `properties_plan`.
 *
 * @throws ConfigInvalid
 */
export function parseTableColumns(text: string | undefined): WantedColumn[] {
  const columns = (text ?? '')
    .split(',')
    .map(part => part.trim())
    .filter(part => part !== '')
    .map(wantedColumn)
  const names = new Set([...tableColumns([]).map(({ name }) => name), ...RESERVED])
  for (const { name } of columns) {
    if (names.has(name)) throw new ConfigInvalid(`TABLE_COLUMNS: the table has two columns ${name}.`)
    names.add(name)
  }
  return columns
}

function wantedColumn(part: string): WantedColumn {
  const [member = '', typeText = 'string', ...rest] = part.split(':')
  const type = TYPES[typeText.toLowerCase()]
  if (!MEMBER.test(member) || type === undefined || rest.length > 0)
    throw new ConfigInvalid(
      `TABLE_COLUMNS must be like properties.plan:string,properties.price:double, with the types string, long, double, boolean and timestamptz, not ${JSON.stringify(part.slice(0, 100))}.`,
    )
  return { name: member.replaceAll(/[.$-]/g, '_').toLowerCase(), member, type }
}

/**
 * The columns that the table does not have yet.
 *
 * @throws ConfigInvalid if it has one with another type or member
 */
export function newColumns(existing: readonly TableColumn[], wanted: readonly WantedColumn[]): TableColumn[] {
  const byName = new Map(existing.map(column => [column.name, column]))
  let fieldId = tableColumns(existing).length
  return wanted.flatMap(column => {
    const known = byName.get(column.name)
    if (known === undefined) return [{ ...column, fieldId: ++fieldId }]
    if (known.member !== column.member || known.type !== column.type)
      throw new ConfigInvalid(
        `TABLE_COLUMNS: the table has ${known.name} of ${known.member} as ${known.type}, which cannot change. Use another member or the same type.`,
      )
    return []
  })
}
