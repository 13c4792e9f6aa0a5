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
import { ObjectNotFound, QueryFailed } from '../errors.ts'
import type { Engine } from '../query/engine.ts'
import type { QueryCache } from '../query/query-cache.ts'
import { fetchObject } from '../store/fetch-object.ts'
import type { ObjectStore } from '../store/store.ts'
import type { TableFile } from '../table/table-entry.ts'
import { hourOf } from '../table/table-keys.ts'
import type { TableLog } from '../table/table-log.ts'
import type { TableState } from '../table/table-state.ts'
import type { Matches } from './find-matches.ts'

/** Files that are looked through at once. */
const FILES_AT_ONCE = 16

export interface AffectedFile {
  readonly file: TableFile
  /** Wanted events. */
  readonly events: number
}

export interface FileParts {
  readonly store: ObjectStore
  readonly cache: Pick<QueryCache, 'temporaryPath'>
  readonly engine: () => Promise<Engine>
  readonly stopping: AbortSignal
}

/** @throws QueryFailed, StoreUnavailable */
export async function findFiles(
  parts: FileParts,
  table: TableState,
  { ids, times, untimed, parquet }: Matches,
): Promise<AffectedFile[]> {
  if (ids.size === 0) return []
  const hours = new Set<number | null>(times.map(hourOf))
  if (untimed > 0) hours.add(null)
  const files = [...table.files.values()].filter(({ hour }) => hours.has(hour))
  const affected: AffectedFile[] = []
  for (let at = 0; at < files.length; at += FILES_AT_ONCE) {
    parts.stopping.throwIfAborted()
    const some = await Promise.all(
      files.slice(at, at + FILES_AT_ONCE).map(async file => ({ file, path: await fetched(parts, file) })),
    )
    const engine = await parts.engine()
    const { counts = [] } = await engine.run({
      kind: 'find',
      files: some.map(({ path }) => path),
      ids: parquet,
    })
    const byPath = new Map(counts)
    for (const { file, path } of some) {
      const events = byPath.get(path) ?? 0
      if (events > 0) affected.push({ file, events })
      await rm(path)
    }
  }
  return affected
}

/** @returns the new file, which no entry names yet @throws QueryFailed, StoreUnavailable */
export async function stageFile(
  parts: FileParts,
  log: TableLog,
  { file, events }: AffectedFile,
  { parquet: ids }: Matches,
): Promise<TableFile> {
  const { store, cache, engine } = parts
  const { columns } = await log.refresh()
  const source = await fetched(parts, file)
  const parquet = cache.temporaryPath('parquet')
  const typed = columns.slice(0, file.typedColumns)
  const running = await engine()
  const { files: [made] = [] } = await running.run({
    kind: 'erase',
    file: source,
    ids,
    columns: typed,
    parquet,
  })
  if (made?.rows !== file.rows)
    throw new QueryFailed(
      `Of ${file.rows} rows of ${file.key} ${made?.rows} were written: this is a bug, please report it. Nothing was changed.`,
    )
  const { counts = [] } = await running.run({ kind: 'find', files: [parquet], ids })
  const stillThere = counts[0]?.[1] ?? 0
  if (stillThere !== events)
    throw new QueryFailed(
      `Of ${events} events in ${file.key} ${stillThere} kept their id: this is a bug, please report it. Nothing was changed.`,
    )
  const path = `${log.keys.rewritten}${randomUUID()}.parquet`
  const copy = `${log.keys.staged}${randomUUID()}`
  const { size: bytes } = await stat(parquet)
  await store.put(path, createReadStream(parquet))
  await store.put(copy, createReadStream(parquet))
  await Promise.all([rm(source), rm(parquet)])
  return { ...file, path, copy, bytes, stats: made.stats }
}

async function fetched({ store, cache }: FileParts, file: TableFile): Promise<string> {
  const path = cache.temporaryPath('parquet')
  const bytes = await fetchObject(store, file.path, path).catch(error => {
    // Moved to its key, by a process that was killed before it said so, or right now.
    if (error instanceof ObjectNotFound && file.isStaged === true) return fetchObject(store, file.key, path)
    throw error
  })
  if (bytes === file.bytes) return path
  throw new QueryFailed(
    `The file ${file.key} of the table has ${bytes} bytes, and the table's log says ${file.bytes}. Restore it from a backup.`,
  )
}
