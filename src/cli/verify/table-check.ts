/** Compares the files of an archive's table with the table's log. It reads no file. */

import { TableDamaged } from '../../errors.ts'
import { forEachAtOnce } from '../../process/for-each-at-once.ts'
import type { StoreReader } from '../../store/store.ts'
import type { TableFile } from '../../table/table-entry.ts'
import { tableKeys } from '../../table/table-keys.ts'
import { TableLogReader } from '../../table/table-log.ts'

const READS_AT_ONCE = 16

export interface TableFindings {
  readonly files: number
  readonly events: number
  /** Named by the table's log, and gone or of another length. */
  readonly missing: { readonly files: number; readonly list: readonly string[] }
  /** A glob finds them, and the table's log does not name them: their events may count twice. */
  readonly unknown: { readonly files: number; readonly list: readonly string[] }
  /** Why the table could not be compared. */
  readonly refused?: string
}

/**
 * @param listMax most findings of each kind that are listed
 * @returns null if the archive has no table
 * @throws StoreUnavailable
 */
export async function checkTable(
  store: StoreReader,
  prefix: string,
  listMax: number,
): Promise<TableFindings | null> {
  const nothing = { files: 0, list: [] }
  try {
    return await check(store, prefix, listMax)
  } catch (error) {
    if (!(error instanceof TableDamaged)) throw error
    return { files: 0, events: 0, missing: nothing, unknown: nothing, refused: error.message }
  }
}

async function check(store: StoreReader, prefix: string, listMax: number): Promise<TableFindings | null> {
  const keys = tableKeys(prefix)
  const reader = new TableLogReader(store, keys)
  const before = await reader.refresh()
  if (before.number === 0) return null
  const missing: string[] = []
  await forEachAtOnce(before.files.values(), READS_AT_ONCE, async file => {
    if (await isWhole(store, file)) return
    // It may have been placed, replaced or removed meanwhile.
    const now = (await reader.refresh()).files.get(file.key)
    if (now !== undefined && !(await isWhole(store, now))) missing.push(file.key)
  })
  const found: string[] = []
  for await (const key of store.list(keys.data)) if (!before.files.has(key)) found.push(key)
  const after = await reader.refresh()
  const unknown: string[] = []
  for (const key of found) {
    const isThere = (await store.read(key, { start: 0, length: 1 })).object !== undefined
    if (isThere && !after.files.has(key)) unknown.push(key)
  }
  return {
    files: after.files.size,
    events: Array.from(after.files.values()).reduce((sum, { rows }) => sum + rows, 0),
    missing: { files: missing.length, list: missing.toSorted().slice(0, listMax) },
    unknown: { files: unknown.length, list: unknown.toSorted().slice(0, listMax) },
  }
}

/** Whether its bytes are where its entry says, with the right length. */
async function isWhole(store: StoreReader, { key, path, copy, bytes }: TableFile): Promise<boolean> {
  const paths = copy === undefined ? new Set([path, key]) : new Set([path])
  const sizes = await Promise.all(
    Array.from(paths, async each => (await store.read(each, { start: 0, length: 1 })).object?.size),
  )
  return path === key || copy !== undefined
    ? sizes.every(size => size === bytes)
    : sizes.some(size => size === bytes)
}
