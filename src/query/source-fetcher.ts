/** Brings what a query reads to local disk: files of the table as they are, and the events of batches as Parquet. */

import { rm } from 'node:fs/promises'
import { GIB, MIB } from '../config/setting-types.ts'
import { QueryFailed, StoreUnavailable } from '../errors.ts'
import { forEachAtOnce } from '../process/for-each-at-once.ts'
import { BackOff } from '../process/sleep.ts'
import type { StoreReader } from '../store/store.ts'
import { fetchTableFile } from '../table/fetch-table-file.ts'
import type { TableFile } from '../table/table-entry.ts'
import type { ArchivedBatch } from './archive-batches.ts'
import { Engine } from './engine.ts'
import type { RowsFile, ViewSource } from './engine-messages.ts'
import type { ArchiveSources } from './event-sources.ts'
import type { QueryCache } from './query-cache.ts'
import { BatchReader } from './read-batch.ts'
import type { QueryProgress, QuerySettings } from './session-settings.ts'
import { writeRows } from './write-rows.ts'

/** Of one Parquet file: bytes before compression, and objects. */
const GROUP_BYTES_MAX = 128 * MIB
const GROUP_OBJECTS_MAX = 10_000
/** Of the process that makes Parquet files: enough for the largest event, which may be in its row twice. */
const CONVERTER_BYTES_MAX = 2 * GIB
const CONVERTER_THREADS_MAX = 2
const TABLE_READS_AT_ONCE = 8
/** Attempts to read while the store is unavailable. */
const ATTEMPTS_MAX = 4
const RETRY_LIMITS = { msMin: 500, msMax: 5_000 }

export interface FetcherParts {
  readonly store: StoreReader
  readonly settings: QuerySettings
  readonly cache: QueryCache
  readonly events: Pick<ArchiveSources, 'parts'>
}

export class SourceFetcher {
  readonly #parts: FetcherParts
  readonly #stopping = new AbortController()
  /** Converts rows. */
  #engine: Engine | undefined

  constructor(parts: FetcherParts) {
    this.#parts = parts
  }

  /** @throws QueryFailed, StoreUnavailable */
  async fetch(
    batches: readonly ArchivedBatch[],
    files: readonly TableFile[],
    progress: QueryProgress,
  ): Promise<ViewSource[]> {
    const sources = await this.#fetchFiles(files, progress)
    if (batches.length > 0) sources.push(...(await this.#convertAll(batches, progress)))
    return sources
  }

  /** What runs is rejected soon. */
  stop(): void {
    this.#stopping.abort()
    this.#engine?.interrupt()
  }

  async close(): Promise<void> {
    await this.#engine?.close()
  }

  /** Reads the next group while the engine converts the one before. */
  async #convertAll(batches: readonly ArchivedBatch[], progress: QueryProgress): Promise<ViewSource[]> {
    const { parts } = this.#parts.events
    const sources: ViewSource[] = []
    const engine = await this.#startEngine()
    this.#engine = engine
    try {
      let converting: Promise<unknown> = Promise.resolve()
      for (const group of groupsOf(batches, parts)) {
        const [rows] = await Promise.all([this.#rowsOf(group, progress), converting])
        converting = this.#convert(engine, group, rows).then(source => sources.push(source))
        converting.catch(() => {})
      }
      await converting
      return sources
    } finally {
      this.#engine = undefined
      await engine.close()
    }
  }

  /** Its work is bounded by the groups. */
  #startEngine(): Promise<Engine> {
    const { residentBytesMax, spillBytesMax, threads } = this.#parts.settings
    return Engine.start({
      directory: this.#parts.cache.runDirectory,
      residentBytesMax: Math.max(residentBytesMax, CONVERTER_BYTES_MAX),
      spillBytesMax,
      threads: Math.min(threads, CONVERTER_THREADS_MAX),
      isForUser: false,
    })
  }

  async #convert(engine: Engine, group: readonly ArchivedBatch[], rows: RowsFile): Promise<ViewSource> {
    const { cache, events } = this.#parts
    const parquet = cache.temporaryPath('parquet')
    const done = await engine.run({ kind: 'convert', rows, parquet })
    if (done.rows !== rows.count)
      throw new QueryFailed(
        `Of ${rows.count} events ${done.rows} were converted: this is a bug, please report it.`,
      )
    await rm(rows.path)
    const path = await cache.add(parquet, group)
    return { path, kind: 'cached', only: events.parts.get(group[0]?.key ?? '') }
  }

  #rowsOf(batches: readonly ArchivedBatch[], progress: QueryProgress): Promise<RowsFile> {
    const { store, settings, cache } = this.#parts
    const before = { ...progress }
    return this.#again(() => {
      Object.assign(progress, before)
      return writeRows(new BatchReader(store, settings.prefix), {
        path: cache.temporaryPath('rows'),
        batches,
        assertWanted: () => this.#refuseIfStopping(),
        written: ({ events }) => {
          progress.objects++
          progress.events += events
        },
      })
    })
  }

  async #fetchFiles(files: readonly TableFile[], progress: QueryProgress): Promise<ViewSource[]> {
    const { store, cache } = this.#parts
    const sources: ViewSource[] = []
    await forEachAtOnce(files, TABLE_READS_AT_ONCE, async file => {
      this.#refuseIfStopping()
      const path = cache.temporaryPath('parquet')
      const bytes = await this.#again(() => fetchTableFile(store, file, path))
      if (bytes === undefined)
        throw new QueryFailed(
          `The file ${file.key} of the table is gone. If it was removed or replaced just now, ask again.`,
        )
      if (bytes !== file.bytes)
        throw new QueryFailed(
          `The file ${file.key} of the table has ${bytes} bytes, and the table's log says ${file.bytes}. Restore it from a backup.`,
        )
      // A link needs no copy in the cache.
      if (store.localPath(file.path) === undefined) await cache.add(path, [cacheable(file)])
      sources.push({ path, kind: 'table' })
      progress.objects++
      progress.events += file.rows
    })
    return sources
  }

  /** Tries again while the store is unavailable: a stream may break off in the middle of an object. */
  async #again<T>(work: () => Promise<T>): Promise<T> {
    const backOff = new BackOff(RETRY_LIMITS)
    for (let attempt = 1; ; attempt++) {
      try {
        return await work()
      } catch (error) {
        if (!(error instanceof StoreUnavailable) || attempt === ATTEMPTS_MAX) throw error
        await backOff.pause(this.#stopping.signal)
        this.#refuseIfStopping()
      }
    }
  }

  #refuseIfStopping(): void {
    if (this.#stopping.signal.aborted) throw new QueryFailed('The query was interrupted.')
  }
}

/** A file of the table in the cache. Its bytes never change below its path. */
export function cacheable({ path, bytes }: TableFile) {
  return { key: path, sha256: `table:${bytes}` }
}

/** Batches in the order of their events, in groups that make a file each. One of which only some rows count is alone. */
function* groupsOf(
  batches: readonly ArchivedBatch[],
  parts: ArchiveSources['parts'],
): Generator<ArchivedBatch[]> {
  let group: ArchivedBatch[] = []
  let bytes = 0
  for (const batch of batches.toSorted((a, b) => a.firstReceivedAt - b.firstReceivedAt)) {
    if (parts.has(batch.key)) {
      yield [batch]
      continue
    }
    if (group.length > 0 && (bytes + batch.bytes > GROUP_BYTES_MAX || group.length === GROUP_OBJECTS_MAX)) {
      yield group
      group = []
      bytes = 0
    }
    group.push(batch)
    bytes += batch.bytes
  }
  if (group.length > 0) yield group
}
