/** Readies the view `events` of an archive, and runs queries on it. */

import { QueryFailed } from '../errors.ts'
import type { StoreReader } from '../store/store.ts'
import type { TableFile } from '../table/table-entry.ts'
import { partitionOf } from '../table/table-keys.ts'
import type { ArchivedBatch, TimeRange } from './archive-batches.ts'
import { Engine } from './engine.ts'
import type { Done, OutputFormat, ViewSource } from './engine-messages.ts'
import { type ArchiveSources, archiveSources, type EventSources, inRange } from './event-sources.ts'
import { QueryCache } from './query-cache.ts'
import type { QueryProgress, QuerySettings } from './session-settings.ts'
import { cacheable, SourceFetcher } from './source-fetcher.ts'

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

export class QuerySession {
  readonly progress: QueryProgress = { objects: 0, events: 0 }
  readonly plan: QueryPlan
  readonly #store: StoreReader
  readonly #settings: QuerySettings
  readonly #cache: QueryCache
  readonly #range: TimeRange
  /** Of the view. */
  readonly #sources: ViewSource[]
  readonly #missing: readonly ArchivedBatch[]
  readonly #missingFiles: readonly TableFile[]
  readonly #fetcher: SourceFetcher
  /** Rejected if it did not start. */
  #starting: Promise<Engine> | undefined
  #engine: Engine | undefined
  #isStopping = false

  private constructor(
    store: StoreReader,
    settings: QuerySettings,
    range: TimeRange,
    parts: {
      cache: QueryCache
      starting: Promise<Engine> | undefined
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
    this.#starting = parts.starting
    this.#sources = [...parts.sources]
    this.#missing = parts.missing
    this.#missingFiles = parts.missingFiles
    this.#fetcher = new SourceFetcher({ store, settings, cache: parts.cache, events: parts.events })
    this.plan = planOf(store, parts.events, parts.missing, parts.missingFiles)
  }

  /**
   * Reads the logs of the table and of the archive, and finds what has to be fetched.
   *
   * @param known all that the archive has, if its logs were read before
   * @throws QueryFailed, StoreUnavailable, LogRefused, TableDamaged
   */
  static async open(
    store: StoreReader,
    settings: QuerySettings,
    range: TimeRange,
    known?: ArchiveSources,
  ): Promise<QuerySession> {
    const cache = await QueryCache.open(settings.cacheDirectory, settings.cacheBytesMax)
    // Whoever asks for a part of what was read before may not need an engine.
    const starting = known === undefined ? startEngine(settings, cache) : undefined
    try {
      const events = inRange(known ?? (await archiveSources(store, settings.prefix)), range)
      const tableFiles = new Map(events.files.map(file => [file.path, file]))
      const isAlone = (key: string): boolean => tableFiles.has(key) || events.parts.has(key)
      const wanted = [...events.batches, ...events.files.map(cacheable)]
      const all = [...events.all.batches, ...events.all.files.map(cacheable)]
      const { files, missing } = await cache.plan(wanted, all, isAlone)
      const isBatch = (each: (typeof wanted)[number]): each is ArchivedBatch => 'record' in each
      return new QuerySession(store, settings, range, {
        cache,
        starting,
        events,
        sources: files.map(({ path, keys: [key = ''] }) => sourceOf(path, key, events, tableFiles)),
        missing: missing.filter(isBatch),
        missingFiles: missing.flatMap(({ key }) => tableFiles.get(key) ?? []),
      })
    } catch (error) {
      await closeEngine(starting)
      await cache.close()
      throw error
    }
  }

  /**
   * Checks a query on an empty view, so that a mistake is known before anything is fetched.
   *
   * @throws QueryFailed in DuckDB's words
   */
  async check(sql: string): Promise<void> {
    await this.#openEngine([])
    await this.#engine?.run({ kind: 'check', sql })
  }

  /** Fetches what is missing, and makes the view. @throws QueryFailed, StoreUnavailable */
  async ready(): Promise<void> {
    this.#sources.push(...(await this.#fetcher.fetch(this.#missing, this.#missingFiles, this.progress)))
    await this.#openEngine(this.#sources)
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

  /** Writes the texts of a query's only column into a file of this session, one a line. @returns path and lines */
  async writeLines(sql: string): Promise<{ readonly path: string; readonly lines: number }> {
    const path = this.#cache.temporaryPath('lines')
    const engine = await this.#running()
    const { rows } = await engine.run({ kind: 'write', sql, format: 'lines', path })
    return { path, lines: rows }
  }

  /** Ends the engine, and frees its memory. The next query starts it again. */
  async rest(): Promise<void> {
    await closeEngine(this.#starting)
    this.#starting = undefined
    this.#engine = undefined
  }

  /** Removes what the cache has of objects and files that the archive does not have any more. */
  async forget(): Promise<void> {
    const { batches, files } = await archiveSources(this.#store, this.#settings.prefix)
    await this.#cache.plan([], [...batches, ...files.map(cacheable)], () => false)
  }

  /** Stops what runs, which is rejected then. Nothing runs in this session afterwards. */
  stop(): void {
    this.#isStopping = true
    this.#fetcher.stop()
    this.#engine?.interrupt()
  }

  /** Stops the query that runs, which is rejected then. Another may follow. */
  interrupt(): void {
    this.#engine?.interrupt()
  }

  async close(): Promise<void> {
    await this.#fetcher.close()
    await closeEngine(this.#starting)
    await this.#cache.close()
  }

  /** The engine, which is started again if it was killed. */
  async #running(): Promise<Engine> {
    if (this.#engine === undefined || this.#engine.hasEnded) await this.#openEngine(this.#sources)
    this.#refuseIfStopping()
    return this.#engine as Engine
  }

  async #openEngine(sources: readonly ViewSource[]): Promise<void> {
    const { since, until } = this.#range
    this.#refuseIfStopping()
    if (this.#starting === undefined || this.#engine?.hasEnded)
      this.#starting = startEngine(this.#settings, this.#cache)
    try {
      this.#engine = await this.#starting
    } catch (error) {
      // The next query tries again.
      this.#starting = undefined
      throw error
    }
    await this.#engine.run({ kind: 'view', sources, since, until })
    this.#refuseIfStopping()
  }

  #refuseIfStopping(): void {
    if (this.#isStopping) throw new QueryFailed('The query was interrupted.')
  }
}

/** Resolves to an engine. If it does not start, nobody needs to hear of that before it is wanted. */
function startEngine(
  { residentBytesMax, spillBytesMax, threads }: QuerySettings,
  { runDirectory }: QueryCache,
): Promise<Engine> {
  const options = { directory: runDirectory, residentBytesMax, spillBytesMax, threads, isForUser: true }
  const starting = Engine.start(options)
  starting.catch(() => {})
  return starting
}

async function closeEngine(starting: Promise<Engine> | undefined): Promise<void> {
  const engine = await starting?.catch(() => undefined)
  await engine?.close()
}

function sourceOf(
  path: string,
  key: string,
  events: EventSources,
  tableFiles: ReadonlyMap<string, TableFile>,
): ViewSource {
  return tableFiles.has(key) ? { path, kind: 'table' } : { path, kind: 'cached', only: events.parts.get(key) }
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
