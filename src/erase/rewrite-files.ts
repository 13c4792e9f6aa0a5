/**
 * Rewrites the files of the table that have wanted events.
 *
 *   stage the new file twice ──► append an entry ──► Iceberg names the first copy ──► the second is moved to the key
 *
 * Readers of Iceberg have sizes and counts of a path, so the bytes below a path must not change: the new file gets a
 * path of its own, outside the glob. Readers of the glob must not see an event twice, so the glob's file is replaced.
 */

import { randomUUID } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { rm, stat } from 'node:fs/promises'
import { QueryFailed } from '../errors.ts'
import type { Done, FoundPlaces, WithoutId, Work } from '../query/engine-messages.ts'
import type { QueryCache } from '../query/query-cache.ts'
import type { ObjectStore } from '../store/store.ts'
import { fetchTableFile } from '../table/fetch-table-file.ts'
import type { TableColumn, TableFile } from '../table/table-entry.ts'
import { hourOf, type TableKeys } from '../table/table-keys.ts'
import type { TableState } from '../table/table-state.ts'
import type { Matches } from './find-matches.ts'

/** Files that are looked through at once. */
const FILES_AT_ONCE = 16

export interface AffectedFile {
  readonly file: TableFile
  /** Wanted events. */
  readonly events: number
  readonly places: FoundPlaces
}

export interface FileParts {
  readonly store: ObjectStore
  readonly cache: Pick<QueryCache, 'temporaryPath'>
  /** Runs one work at a time, and one that finds beside it. */
  readonly run: (work: WithoutId<Work>) => Promise<Done>
  /** Files that were looked through, by path: the bytes below a path stay the same. */
  readonly looked: Map<string, Omit<AffectedFile, 'file'>>
  readonly stopping: AbortSignal
}

/** @throws QueryFailed, StoreUnavailable */
export async function findFiles(
  parts: FileParts,
  table: TableState,
  { ids, times, untimed, parquet }: Matches,
): Promise<AffectedFile[]> {
  if (ids.size === 0) return []
  const hours = new Set<number | null>()
  for (const at of times) hours.add(hourOf(at))
  if (untimed > 0) hours.add(null)
  const all = [...table.files.values()].filter(({ hour }) => hours.has(hour))
  const files = all.filter(({ path }) => !parts.looked.has(path))
  for (let at = 0; at < files.length; at += FILES_AT_ONCE) {
    parts.stopping.throwIfAborted()
    const some = await Promise.all(
      files.slice(at, at + FILES_AT_ONCE).map(async file => ({ file, path: await fetched(parts, file) })),
    )
    const places = parts.cache.temporaryPath('parquet')
    const { counts = [] } = await parts.run({
      kind: 'find',
      files: some.map(({ path }) => path),
      ids: parquet,
      places,
    })
    const byPath = new Map(counts)
    for (const { file, path } of some)
      parts.looked.set(file.path, { events: byPath.get(path) ?? 0, places: { parquet: places, path } })
    await Promise.all(some.map(({ path }) => rm(path)))
  }
  return all.flatMap(file => {
    const found = parts.looked.get(file.path)
    return found !== undefined && found.events > 0 ? { file, ...found } : []
  })
}

/** A new file, on local disk. */
export interface ErasedFile extends AffectedFile {
  readonly made: string
  readonly stats: TableFile['stats']
}

/** @param columns the typed columns of the table @throws QueryFailed, StoreUnavailable */
export async function makeFile(
  parts: FileParts,
  columns: readonly TableColumn[],
  affected: AffectedFile,
  { parquet: ids }: Matches,
): Promise<ErasedFile> {
  const { cache, run } = parts
  const { file, events, places } = affected
  const source = await fetched(parts, file)
  const parquet = cache.temporaryPath('parquet')
  const typed = columns.slice(0, file.typedColumns)
  const { files: [made] = [] } = await run({ kind: 'erase', file: source, places, columns: typed, parquet })
  if (made?.rows !== file.rows)
    throw new QueryFailed(
      `Of ${file.rows} rows of ${file.key} ${made?.rows} were written: this is a bug, please report it. The file was not changed.`,
    )
  const { counts = [] } = await run({ kind: 'find', files: [parquet], ids })
  if (counts.length > 0)
    throw new QueryFailed(
      `Of ${events} events of ${file.key} ${counts[0]?.[1]} would not be erased: this is a bug, please report it. The file was not changed.`,
    )
  await rm(source)
  return { ...affected, made: parquet, stats: made.stats }
}

/** @returns the new file, which no entry names yet @throws StoreUnavailable */
export async function stageFile(
  store: ObjectStore,
  keys: TableKeys,
  { file, made, stats }: ErasedFile,
): Promise<TableFile> {
  const path = `${keys.rewritten}${randomUUID()}.parquet`
  const copy = `${keys.staged}${randomUUID()}`
  const { size: bytes } = await stat(made)
  await Promise.all([store.put(path, createReadStream(made)), store.put(copy, createReadStream(made))])
  await rm(made)
  return { ...file, path, copy, bytes, stats }
}

async function fetched({ store, cache }: FileParts, file: TableFile): Promise<string> {
  const path = cache.temporaryPath('parquet')
  const bytes = await fetchTableFile(store, file, path)
  if (bytes === undefined)
    throw new QueryFailed(
      `The file ${file.key} of the table is gone. If another command has changed it just now, run this again.`,
    )
  if (bytes === file.bytes) return path
  throw new QueryFailed(
    `The file ${file.key} of the table has ${bytes} bytes, and the table's log says ${file.bytes}. If another erasure or a compaction runs, run this again when that has ended. If not, restore the file from a backup.`,
  )
}
