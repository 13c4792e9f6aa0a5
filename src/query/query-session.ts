/** Readies the view `events` of an archive, and runs queries on it. */

import { rm } from 'node:fs/promises'
import { GIB, MIB } from '../config/setting-types.ts'
import { ObjectNotFound, QueryFailed } from '../errors.ts'
import { forEachAtOnce } from '../process/for-each-at-once.ts'
import { fetchObject } from '../store/fetch-object.ts'
import type { StoreReader } from '../store/store.ts'
import type { TableFile } from '../table/table-entry.ts'
import { partitionOf } from '../table/table-keys.ts'
import type { ArchivedBatch, TimeRange } from './archive-batches.ts'
import { Engine } from './engine.ts'
import type { Done, OutputFormat, RowsFile, ViewSource } from './engine-messages.ts'
import { type EventSources, eventSources } from './event-sources.ts'
import { QueryCache } from './query-cache.ts'
import { BatchReader } from './read-batch.ts'
import { writeRows } from './write-rows.ts'

/** Of one Parquet file: bytes before compression, and objects. */
const GROUP_BYTES_MAX = 128 * MIB
const GROUP_OBJECTS_MAX = 10_000
/** Of the process that makes Parquet files: enough for the largest event, which may be in its row twice. */
const CONVERTER_BYTES_MAX = 2 * GIB
const CONVERTER_THREADS_MAX = 2
const TABLE_READS_AT_ONCE = 8

export interface QuerySettings {
  readonly prefix: string
  readonly cacheDirectory: string
  readonly cacheBytesMax: number
  readonly residentBytesMax: number
  /** Disk that one query may take for what does not fit into memory. */
  readonly spillBytesMax: number
  readonly threads: number
}

/** What a session reads, before it does. */
export interface QueryPlan {
  /** Objects and files of the table that are read, and their events. */
  readonly objects: number
  readonly events: number
  /** Hours of these. */
  readonly partitions: number
  /** Of these, to be fetched; and their bytes as stored. */
  readonly fetchedObjects: number
  readonly fetchedBytes: number
}

export interface QueryProgress {
  objects: number
  events: number
}

export class QuerySession {
  readonly progress: QueryProgress = { objects: 0, events: 0 }
  readonly plan: QueryPlan
  readonly #store: StoreReader
  readonly #settings: QuerySettings
  readonly #cache: QueryCache
  readonly #range: TimeRange
  /** Of the view. */
  readonly #sources: ViewSource[]
  readonly #events: EventSources
  readonly #missing: readonly ArchivedBatch[]
  readonly #missingFiles: readonly TableFile[]
  #engine: Engine | undefined
  #isStopping = false

  private constructor(
    store: StoreReader,
    settings: QuerySettings,
    range: TimeRange,
    parts: {
      cache: QueryCache
      events: EventSources
      sources: readonly ViewSource[]
      missing: readonly ArchivedBatch[]
      missingFiles: readonly TableFile[]
    },
  ) {
    this.#store = store
    this.#settings = settings
    this.#range = range
    this.#cache = parts.cache
    this.#events = parts.events
    this.#sources = [...parts.sources]
    this.#missing = parts.missing
    this.#missingFiles = parts.missingFiles
    this.plan = planOf(store, parts.events, parts.missing, parts.missingFiles)
  }

  /**
   * Reads the logs of the table and of the archive, and finds what has to be fetched.
   *
   * @throws QueryFailed, StoreUnavailable, LogRefused, TableDamaged
   */
  static async open(store: StoreReader, settings: QuerySettings, range: TimeRange): Promise<QuerySession> {
    const events = await eventSources(store, settings.prefix, range)
    const cache = await QueryCache.open(settings.cacheDirectory, settings.cacheBytesMax)
    const tableFiles = new Map(events.files.map(file => [file.path, file]))
    const isAlone = (key: string): boolean => tableFiles.has(key) || events.parts.has(key)
    const wanted = [...events.batches, ...events.files.map(cacheable)]
    const all = [...events.uncovered, ...events.allFiles.map(cacheable)]
    const { files, missing } = await cache.plan(wanted, all, isAlone)
    const isBatch = (each: (typeof wanted)[number]): each is ArchivedBatch => 'record' in each
    return new QuerySession(store, settings, range, {
      cache,
      events,
      sources: files.map(({ path, keys: [key = ''] }) => sourceOf(path, key, events, tableFiles)),
      missing: missing.filter(isBatch),
      missingFiles: missing.flatMap(({ key }) => tableFiles.get(key) ?? []),
    })
  }

  /** Fetches what is missing, and makes the view. @throws QueryFailed, StoreUnavailable */
  async ready(): Promise<void> {
    await this.#fetchFiles()
    if (this.#missing.length > 0) await this.#convertMissing()
    await this.#openEngine()
  }

  /** @param rowsMax rows that are returned, as texts */
  async query(sql: string, rowsMax: number): Promise<Done> {
    return (await this.#running()).run({ kind: 'query', sql, rowsMax })
  }

  /** Writes the answer of a query into a file of this session. @returns its path */
  async write(sql: string, format: OutputFormat): Promise<string> {
    const path = this.#cache.temporaryPath(format)
    const engine = await this.#running()
    await engine.run({ kind: 'write', sql, format, path })
    return path
  }

  /** Files of this session, which end with it. */
  get files(): Pick<QueryCache, 'runDirectory' | 'temporaryPath'> {
    return this.#cache
  }

  /** Ends the engine, and frees its memory. The next query starts it again. */
  async rest(): Promise<void> {
    await this.#engine?.close()
    this.#engine = undefined
  }

  /** Removes what the cache has of objects and files that the archive does not have any more. */
  async forget(): Promise<void> {
    const { uncovered, allFiles } = await eventSources(this.#store, this.#settings.prefix, {})
    await this.#cache.plan([], [...uncovered, ...allFiles.map(cacheable)], () => false)
  }

  /** Stops what runs, which is rejected then. Nothing runs in this session afterwards. */
  stop(): void {
    this.#isStopping = true
    this.#engine?.interrupt()
  }

  /** Stops the query that runs, which is rejected then. Another may follow. */
  interrupt(): void {
    this.#engine?.interrupt()
  }

  async close(): Promise<void> {
    await this.#engine?.close()
    await this.#cache.close()
  }

  /** The engine, which is started again if it was killed. */
  async #running(): Promise<Engine> {
    if (this.#engine === undefined || this.#engine.hasEnded) await this.#openEngine()
    this.#refuseIfStopping()
    return this.#engine as Engine
  }

  async #openEngine(): Promise<void> {
    const { since, until } = this.#range
    this.#refuseIfStopping()
    this.#engine = await this.#startEngine(true)
    await this.#engine.run({ kind: 'view', sources: this.#sources, since, until })
    this.#refuseIfStopping()
  }

  #refuseIfStopping(): void {
    if (this.#isStopping) throw new QueryFailed('The query was interrupted.')
  }

  /** @param isForUser whether it runs SQL of the user's. If not, its work is bounded by the groups. */
  #startEngine(isForUser: boolean): Promise<Engine> {
    const { residentBytesMax, spillBytesMax, threads } = this.#settings
    return Engine.start({
      directory: this.#cache.runDirectory,
      residentBytesMax: isForUser ? residentBytesMax : Math.max(residentBytesMax, CONVERTER_BYTES_MAX),
      spillBytesMax,
      threads: isForUser ? threads : Math.min(threads, CONVERTER_THREADS_MAX),
      isForUser,
    })
  }

  /** Reads the next group while the engine converts the one before. */
  async #convertMissing(): Promise<void> {
    const engine = await this.#startEngine(false)
    this.#engine = engine
    try {
      let converting: Promise<void> = Promise.resolve()
      for (const group of groupsOf(this.#missing, this.#events)) {
        const [rows] = await Promise.all([this.#writeRows(group), converting])
        converting = this.#convert(engine, group, rows)
        converting.catch(() => {})
      }
      await converting
    } finally {
      this.#engine = undefined
      await engine.close()
    }
  }

  async #convert(engine: Engine, group: readonly ArchivedBatch[], rows: RowsFile): Promise<void> {
    const parquet = this.#cache.temporaryPath('parquet')
    const done = await engine.run({ kind: 'convert', rows, parquet })
    if (done.rows !== rows.count)
      throw new QueryFailed(
        `Of ${rows.count} events ${done.rows} were converted: this is a bug, please report it.`,
      )
    await rm(rows.path)
    const path = await this.#cache.add(parquet, group)
    this.#sources.push({ path, kind: 'cached', only: this.#events.parts.get(group[0]?.key ?? '') })
  }

  #writeRows(batches: readonly ArchivedBatch[]): Promise<RowsFile> {
    return writeRows(new BatchReader(this.#store, this.#settings.prefix), {
      path: this.#cache.temporaryPath('rows'),
      batches,
      assertWanted: () => this.#refuseIfStopping(),
      written: ({ events }) => {
        this.progress.objects++
        this.progress.events += events
      },
    })
  }

  async #fetchFiles(): Promise<void> {
    await forEachAtOnce(this.#missingFiles, TABLE_READS_AT_ONCE, async file => {
      this.#refuseIfStopping()
      const path = this.#cache.temporaryPath('parquet')
      const bytes = await this.#fetchFile(file, path)
      if (bytes !== file.bytes)
        throw new QueryFailed(
          `The file ${file.key} of the table has ${bytes} bytes, and the table's log says ${file.bytes}. Restore it from a backup.`,
        )
      // A link needs no copy in the cache.
      if (this.#store.localPath(file.path) === undefined) await this.#cache.add(path, [cacheable(file)])
      this.#sources.push({ path, kind: 'table' })
      this.progress.objects++
      this.progress.events += file.rows
    })
  }

  /** A staged file may have been moved to its key since its entry was read. */
  async #fetchFile(file: TableFile, path: string): Promise<number> {
    try {
      return await fetchObject(this.#store, file.path, path)
    } catch (error) {
      if (!(error instanceof ObjectNotFound)) throw error
      if (file.isStaged === true) return await fetchObject(this.#store, file.key, path)
      throw new QueryFailed(
        `The file ${file.key} of the table is gone. If it was removed or replaced just now, ask again.`,
      )
    }
  }
}

function sourceOf(
  path: string,
  key: string,
  events: EventSources,
  tableFiles: ReadonlyMap<string, TableFile>,
): ViewSource {
  return tableFiles.has(key) ? { path, kind: 'table' } : { path, kind: 'cached', only: events.parts.get(key) }
}

/** A file of the table in the cache. Its bytes never change below its path. */
function cacheable({ path, bytes }: TableFile) {
  return { key: path, sha256: `table:${bytes}` }
}

function planOf(
  store: StoreReader,
  { batches, files }: EventSources,
  missing: readonly ArchivedBatch[],
  missingFiles: readonly TableFile[],
): QueryPlan {
  const sum = (sizes: readonly number[]): number => sizes.reduce((total, size) => total + size, 0)
  const partitions = new Set([
    ...batches.map(({ key }) => /dt=[^/]*\/hour=[^/]*/.exec(key)?.[0]),
    ...files.map(({ hour }) => partitionOf(hour)),
  ])
  const fetched = missingFiles.filter(({ path }) => store.localPath(path) === undefined)
  return {
    objects: batches.length + files.length,
    events: sum(batches.map(({ events }) => events)) + sum(files.map(({ rows }) => rows)),
    partitions: partitions.size,
    fetchedObjects: missing.length + fetched.length,
    fetchedBytes: sum(missing.map(({ storedBytes }) => storedBytes)) + sum(fetched.map(({ bytes }) => bytes)),
  }
}

/** Batches in the order of their events, in groups that make a file each. One of which only some rows count is alone. */
function* groupsOf(batches: readonly ArchivedBatch[], { parts }: EventSources): Generator<ArchivedBatch[]> {
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
