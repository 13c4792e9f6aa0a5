/** Moves files of the table from where they are staged to their keys. */

import { TableDamaged } from '../errors.ts'
import { forEachAtOnce } from '../process/for-each-at-once.ts'
import type { ObjectStore } from '../store/store.ts'
import type { TableFile } from '../table/table-entry.ts'
import type { TableKeys } from '../table/table-keys.ts'
import type { TableState } from '../table/table-state.ts'

const MOVES_AT_ONCE = 4
/** What no entry names may be of a process that still runs. */
const ABANDONED_MS_MIN = 24 * 60 * 60 * 1000

/**
 * Places the files that are staged. Any number of processes may do so at once: the bytes below a staged key never
 * change, and it is removed with the move.
 *
 * @returns the keys of these files
 * @throws StoreUnavailable; TableDamaged if a file is gone
 */
export async function placeStaged(store: ObjectStore, table: TableState): Promise<string[]> {
  const staged = [...table.files.values()].filter(({ isStaged }) => isStaged === true)
  await forEachAtOnce(staged, MOVES_AT_ONCE, file => place(store, file))
  return staged.map(({ key }) => key)
}

async function place(store: ObjectStore, { key, path, bytes }: TableFile): Promise<void> {
  if ((await store.move(path, key)) === 'moved') return
  const { object } = await store.read(key, { start: 0, length: 1 })
  if (object?.size === bytes) return
  throw new TableDamaged(
    `The file ${key} of the table is gone, and so is ${path}, which it was made of. Restore one of them from a backup.`,
  )
}

/** Removes what was staged by processes that ended before they named it. */
export async function removeAbandoned(
  store: ObjectStore,
  { staged }: TableKeys,
  table: TableState,
): Promise<void> {
  const named = new Set(Array.from(table.files.values(), ({ path }) => path))
  const abandoned: string[] = []
  for await (const key of store.list(staged)) {
    if (named.has(key)) continue
    const { object, date } = await store.read(key, { start: 0, length: 1 })
    if (object !== undefined && (date ?? Date.now()) - object.modifiedAt > ABANDONED_MS_MIN)
      abandoned.push(key)
  }
  if (abandoned.length > 0) await store.remove(abandoned)
}
