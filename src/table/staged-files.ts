/** Moves files of the table from where they are staged to their keys. */

import { TableDamaged } from '../errors.ts'
import { forEachAtOnce } from '../process/for-each-at-once.ts'
import type { ObjectStore } from '../store/store.ts'
import type { TableFile } from './table-entry.ts'
import type { TableKeys } from './table-keys.ts'
import type { TableLog } from './table-log.ts'
import type { TableState } from './table-state.ts'

const MOVES_AT_ONCE = 4
/** What no entry names may be of a process that still runs. */
const ABANDONED_MS_MIN = 24 * 60 * 60 * 1000

/**
 * Places the files that are staged. Any number of processes may do so at once: the bytes below a staged key never
 * change, and it is removed with the move. A move that is late finds nothing to move.
 *
 * @returns these files
 * @throws StoreUnavailable; TableDamaged if a file is gone
 */
export function placeStaged(store: ObjectStore, table: TableState): Promise<TableFile[]> {
  return placeAll(store, table, ({ isStaged, path }) => (isStaged === true ? path : undefined))
}

/**
 * Brings the metadata for other readers up to the table.
 *
 * @param options.dropsHistory no older version or snapshot may stay: they name files whose bytes change, or go
 */
export type TablePublisher = (table: TableState, options: { readonly dropsHistory: boolean }) => Promise<void>

/**
 * Shows the table to other readers, then replaces files by the staged copies of what an erasure made of them. A snapshot
 * of Iceberg that still named the key would have wrong sizes.
 *
 * @throws StoreUnavailable; TableDamaged if a file is gone
 */
export async function publishTable(
  store: ObjectStore,
  log: TableLog,
  publish: TablePublisher,
): Promise<void> {
  const table = await log.refresh()
  const dropsHistory = [...table.files.values()].some(({ copy }) => copy !== undefined)
  await publish(table, { dropsHistory })
  const replaced = await placeAll(store, table, ({ copy }) => copy)
  await log.append(now => {
    const placed = placedIn(now, replaced)
    return placed.length === 0 ? undefined : { placed }
  })
}

/** Of files that were placed, the keys of those that the table does not say so of yet. */
export function placedIn(table: TableState, files: readonly TableFile[]): string[] {
  return files.flatMap(({ key, isStaged, copy }) => {
    const file = table.files.get(key)
    const isSame = file !== undefined && file.isStaged === isStaged && file.copy === copy
    return isSame ? key : []
  })
}

async function placeAll(
  store: ObjectStore,
  table: TableState,
  stagedOf: (file: TableFile) => string | undefined,
): Promise<TableFile[]> {
  const files = [...table.files.values()].filter(file => stagedOf(file) !== undefined)
  await forEachAtOnce(files, MOVES_AT_ONCE, file => place(store, file, stagedOf(file) as string))
  return files
}

async function place(store: ObjectStore, { key, bytes }: TableFile, staged: string): Promise<void> {
  if ((await store.move(staged, key)) === 'moved') return
  const { object } = await store.read(key, { start: 0, length: 1 })
  if (object?.size === bytes) return
  throw new TableDamaged(
    `The file ${key} of the table is gone, and so is ${staged}, which it was made of. Restore one of them from a backup.`,
  )
}

/** The keys of what is staged for the table, or was rewritten, whether an entry names it or not. */
export async function stagedFiles(
  store: Pick<ObjectStore, 'list'>,
  { staged, rewritten }: TableKeys,
): Promise<string[]> {
  const keys: string[] = []
  for (const prefix of [staged, rewritten]) for await (const key of store.list(prefix)) keys.push(key)
  return keys
}

/** Those of the keys that no file of the table has. */
export function unnamedOf(keys: readonly string[], table: TableState): string[] {
  const named = new Set(Array.from(table.files.values(), ({ path, copy }) => [path, copy]).flat())
  return keys.filter(key => !named.has(key))
}

/** Removes what was staged by processes that ended before they named it. */
export async function removeAbandoned(
  store: ObjectStore,
  { staged }: TableKeys,
  table: TableState,
): Promise<void> {
  const named = new Set(Array.from(table.files.values(), ({ path, copy }) => copy ?? path))
  const abandoned: string[] = []
  for await (const key of store.list(staged)) {
    if (named.has(key)) continue
    const { object, date } = await store.read(key, { start: 0, length: 1 })
    if (object !== undefined && (date ?? Date.now()) - object.modifiedAt > ABANDONED_MS_MIN)
      abandoned.push(key)
  }
  if (abandoned.length > 0) await store.remove(abandoned)
}
