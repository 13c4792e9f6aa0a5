/**
 * Erases events in the files of an archive's table.
 *
 *   list what is staged ──► count the erasure ──► remove what nobody names ──► replace files ──► remove old bytes
 *
 * A compactor, or another erasure, that began before this one was counted cannot add or replace a file any more. So
 * what it had staged is of no use, and is removed. What comes later is made of objects that are rewritten already.
 */

import type { ObjectStore } from '../store/store.ts'
import { placedIn, placeStaged, publishTable, type TablePublisher } from '../table/staged-files.ts'
import type { TableLog } from '../table/table-log.ts'
import type { TableState } from '../table/table-state.ts'
import type { FilesAhead } from './files-ahead.ts'
import type { Matches } from './find-matches.ts'
import { type AffectedFile, type ErasedFile, type FileParts, findFiles, stageFile } from './rewrite-files.ts'
import { changedMeanwhile } from './rewrite-objects.ts'

/** Of files that are staged at once, and named by one entry. The last may exceed the bytes. */
const GROUP_FILES_MAX = 4
const GROUP_BYTES_MAX = 64 * 1024 * 1024

export interface TableErasureParts extends FileParts {
  readonly made: Pick<FilesAhead, 'take'>
  readonly publish: TablePublisher
  /** A file has its new bytes. */
  readonly rewritten: () => void
}

/** @throws QueryFailed if another erasure has begun; StoreUnavailable, TableDamaged; the reason of `stopping` */
export async function eraseInTable(
  parts: TableErasureParts,
  log: TableLog,
  matches: Matches,
): Promise<readonly AffectedFile[]> {
  const { store, publish } = parts
  const staged = await keysBelow(store, [log.keys.staged, log.keys.rewritten])
  const counted = await log.append(({ erasures }) => ({ erasures: erasures + 1 }))
  const { erasures } = counted as TableState
  await removeUnnamed(store, staged, await log.refresh())
  await placeAllStaged(store, log)
  await publishTable(store, log, publish)
  const table = await log.refresh()
  const affected = await findFiles(parts, table, matches)
  await replaceAll(parts, log, affected, erasures)
  await publishTable(store, log, publish)
  await removeOldPaths(store, log)
  return affected
}

/** Stages a group of files while the engine makes the next one. */
async function replaceAll(
  parts: TableErasureParts,
  log: TableLog,
  affected: readonly AffectedFile[],
  erasures: number,
): Promise<void> {
  let replacing: Promise<void> = Promise.resolve()
  try {
    for (const group of groupsOf(affected)) {
      const made: ErasedFile[] = []
      for (const each of group) {
        parts.stopping.throwIfAborted()
        made.push(await parts.made.take(each))
      }
      await replacing
      replacing = replaceFiles(parts, log, made, erasures)
      replacing.catch(() => {})
    }
  } finally {
    await replacing
  }
}

function* groupsOf(files: readonly AffectedFile[]): Generator<AffectedFile[]> {
  let group: AffectedFile[] = []
  let bytes = 0
  for (const each of files) {
    group.push(each)
    bytes += each.file.bytes
    if (group.length < GROUP_FILES_MAX && bytes < GROUP_BYTES_MAX) continue
    yield group
    group = []
    bytes = 0
  }
  if (group.length > 0) yield group
}

async function replaceFiles(
  { store, rewritten }: TableErasureParts,
  log: TableLog,
  files: readonly ErasedFile[],
  erasures: number,
): Promise<void> {
  const replaced = await Promise.all(files.map(file => stageFile(store, log.keys, file)))
  const appended = await log.append(table =>
    table.erasures === erasures &&
    files.every(({ file: { key, path } }) => table.files.get(key)?.path === path)
      ? { replaced }
      : undefined,
  )
  if (appended === undefined) {
    await store.remove(replaced.flatMap(({ path, copy }) => [path, copy as string]))
    throw changedMeanwhile('the table')
  }
  for (const _ of files) rewritten()
}

async function placeAllStaged(store: ObjectStore, log: TableLog): Promise<void> {
  const staged = await placeStaged(store, log)
  await log.append(table => {
    const placed = placedIn(table, staged)
    return placed.length === 0 ? undefined : { placed }
  })
}

async function keysBelow(store: ObjectStore, prefixes: readonly string[]): Promise<string[]> {
  const keys: string[] = []
  for (const prefix of prefixes) for await (const key of store.list(prefix)) keys.push(key)
  return keys
}

async function removeUnnamed(store: ObjectStore, keys: readonly string[], table: TableState): Promise<void> {
  const named = new Set(table.oldPaths)
  for (const { path, copy } of table.files.values()) {
    named.add(path)
    if (copy !== undefined) named.add(copy)
  }
  await store.remove(keys.filter(key => !named.has(key)))
}

async function removeOldPaths(store: ObjectStore, log: TableLog): Promise<void> {
  const removedPaths = [...(await log.refresh()).oldPaths]
  if (removedPaths.length === 0) return
  await store.remove(removedPaths)
  await log.append(() => ({ removedPaths }))
}
