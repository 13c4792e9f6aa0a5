/** Moves files of the table from where they are staged to their keys. */

import { TableDamaged } from '../errors.ts'
import { forEachAtOnce } from '../process/for-each-at-once.ts'
import type { ObjectStore } from '../store/store.ts'
import type { TableFile } from './table-entry.ts'
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
export function placeStaged(store: ObjectStore, log: TableLog): Promise<TableFile[]> {
  return placeAll(store, log, ({ isStaged, path }) => (isStaged === true ? path : undefined))
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
 * @param areFilesRemoved files that are not in the table any more will be removed
 * @throws StoreUnavailable; TableDamaged if a file is gone
 */
export async function publishTable(
  store: ObjectStore,
  log: TableLog,
  publish: TablePublisher,
  areFilesRemoved = false,
): Promise<void> {
  const table = await log.refresh()
  const areFilesReplaced =
    table.oldPaths.size > 0 || [...table.files.values()].some(({ copy }) => copy !== undefined)
  if (table.files.size > 0 || areFilesRemoved)
    await publish(table, { dropsHistory: areFilesReplaced || areFilesRemoved })
  const replaced = await placeAll(store, log, ({ copy }) => copy, table)
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
  log: TableLog,
  stagedOf: (file: TableFile) => string | undefined,
  table?: TableState,
): Promise<TableFile[]> {
  const { files } = table ?? (await log.refresh())
  const staged = [...files.values()].filter(file => stagedOf(file) !== undefined)
  const placed: TableFile[] = []
  const lost: TableFile[] = []
  await forEachAtOnce(staged, MOVES_AT_ONCE, async file => {
    const isThere = await isPlaced(store, file, stagedOf(file) as string)
    if (isThere) placed.push(file)
    else lost.push(file)
  })
  if (lost.length > 0) assertRemoved(await log.refresh(), lost)
  return placed
}

/** @returns false if neither the key nor `staged` has its bytes */
async function isPlaced(store: ObjectStore, { key, bytes }: TableFile, staged: string): Promise<boolean> {
  if ((await store.move(staged, key)) === 'moved') return true
  const { object } = await store.read(key, { start: 0, length: 1 })
  return object?.size === bytes
}

/** @throws TableDamaged if the table still has one of the files: it was not removed or replaced meanwhile */
function assertRemoved(table: TableState, lost: readonly TableFile[]): void {
  for (const { key, path, copy } of lost) {
    const now = table.files.get(key)
    if (now?.path !== path || now.copy !== copy) continue
    throw new TableDamaged(
      `The file ${key} of the table is gone, and so is ${copy ?? path}, which it was made of. Restore one of them from a backup.`,
    )
  }
}

/**
 * Finds files that were stored by processes that ended before they named them, or that are not named any more. A process
 * that only slept could still name one: before a staged file is removed, an entry has to count an erasure.
 *
 * @param prefix of the files
 */
export async function abandonedFiles(
  store: ObjectStore,
  prefix: string,
  table: TableState,
): Promise<string[]> {
  const named = new Set(Array.from(table.files.values(), ({ path, copy }) => [path, copy]).flat())
  const abandoned: string[] = []
  for await (const key of store.list(prefix)) {
    if (named.has(key)) continue
    const { object, date } = await store.read(key, { start: 0, length: 1 })
    if (object !== undefined && (date ?? Date.now()) - object.modifiedAt > ABANDONED_MS_MIN)
      abandoned.push(key)
  }
  return abandoned
}
