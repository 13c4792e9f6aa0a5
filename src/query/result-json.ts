/** Values of DuckDB as JSON: numbers keep their digits, and JSON stays as it is stored. */

import type { DuckDBType, DuckDBValue } from '@duckdb/node-api'

const LINE_BREAKS = /[\n\r]/g

/** The types of what a value of a nested type holds. */
interface NestedType {
  readonly alias?: string | undefined
  readonly valueType?: DuckDBType
  readonly entryTypes?: readonly DuckDBType[]
  readonly memberTypes?: readonly DuckDBType[]
  readonly memberTags?: readonly string[]
}

/** @param type of the value. Text with the alias `JSON` is JSON already */
export function jsonOf(value: DuckDBValue, type?: DuckDBType): string {
  if (value === null || value === undefined) return 'null'
  const { alias, valueType, memberTypes, memberTags } = (type ?? {}) as NestedType
  if (typeof value === 'string')
    return alias === 'JSON' ? value.replace(LINE_BREAKS, ' ') : JSON.stringify(value)
  if (typeof value === 'number') return numberJson(value)
  if (typeof value === 'bigint' || typeof value === 'boolean') return String(value)
  if ('items' in value) return `[${value.items.map(item => jsonOf(item, valueType)).join(',')}]`
  if ('entries' in value) return entriesJson(value.entries, (type ?? {}) as NestedType)
  if ('scale' in value) return value.toString()
  if ('tag' in value) return jsonOf(value.value, memberTypes?.[memberTags?.indexOf(value.tag) ?? -1])
  if ('value' in value) return jsonOf(value.value, value.type)
  if ('micros' in value && 'isFinite' in value) return timeJson(value)
  return JSON.stringify(value.toString())
}

/** JSON has no infinity and no NaN. */
function numberJson(value: number): string {
  if (!Number.isFinite(value)) return 'null'
  return Object.is(value, -0) ? '-0' : String(value)
}

function entriesJson(
  entries: Readonly<Record<string, DuckDBValue>> | readonly { key: DuckDBValue; value: DuckDBValue }[],
  { valueType, entryTypes }: NestedType,
): string {
  const members = Array.isArray(entries)
    ? entries.map(({ key, value }) => [String(key), value, valueType] as const)
    : Object.entries(entries as Readonly<Record<string, DuckDBValue>>).map(
        ([name, value], index) => [name, value, entryTypes?.[index]] as const,
      )
  return `{${members.map(([name, value, type]) => `${JSON.stringify(name)}:${jsonOf(value, type)}`).join(',')}}`
}

/** `2026-11-24T13:05:07.123Z` where milliseconds are all that there is. */
function timeJson(time: { readonly micros: bigint; readonly isFinite: boolean; toString(): string }): string {
  const ms = Number(time.micros / 1_000n)
  const isExact = time.isFinite && time.micros % 1_000n === 0n && Math.abs(ms) <= 8.64e15
  return JSON.stringify(isExact ? new Date(ms).toISOString() : time.toString())
}
