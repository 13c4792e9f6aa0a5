/** Readies the view `events` of an archive, and runs queries on it. */

import { open, rm } from 'node:fs/promises'
import { GIB, MIB } from '../config/setting-types.ts'
import { QueryFailed } from '../errors.ts'
import type { StoreReader } from '../store/store.ts'
import { type ArchivedBatch, archivedBatches, isInRange, type TimeRange } from './archive-batches.ts'
import { type Done, Engine } from './engine.ts'
import type { OutputFormat, RowsFile } from './engine-messages.ts'
import { EventRows } from './event-rows.ts'
import { QueryCache } from './query-cache.ts'
import { BatchReader } from './read-batch.ts'

/** Of one Parquet file: bytes before compression, and objects. */
const GROUP_BYTES_MAX = 128 * MIB
const GROUP_OBJECTS_MAX = 10_000
const READS_AT_ONCE = 16
/** Of the process that makes Parquet files: enough for the largest event, which may be in its row twice. */
const CONVERTER_BYTES_MAX = 2 * GIB
const CONVERTER_THREADS_MAX = 2
const WRITE_BYTES = MIB

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
  /** Batches in the range, and their events. */
  readonly objects: number
  readonly events: number
  /** Hours of the batches. */
  readonly partitions: number
  /** Of the batches, not in the cache; and their bytes as stored. */
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
  readonly #files: string[]
  readonly #missing: readonly ArchivedBatch[]
  #engine: Engine | undefined
  #isStopping = false

  private constructor(
    store: StoreReader,
    settings: QuerySettings,
    range: TimeRange,
    parts: {
      cache: QueryCache
      files: readonly string[]
      missing: readonly ArchivedBatch[]
      plan: QueryPlan
    },
  ) {
    this.#store = store
    this.#settings = settings
    this.#range = range
    this.#cache = parts.cache
    this.#files = [...parts.files]
    this.#missing = parts.missing
    this.plan = parts.plan
  }

  /**
   * Reads the log, and finds what has to be fetched.
   *
   * @param batches all of the archive's, if the log was read before
   * @throws QueryFailed, StoreUnavailable, LogRefused
   */
  static async open(
    store: StoreReader,
    settings: QuerySettings,
    range: TimeRange,
    batches?: readonly ArchivedBatch[],
  ): Promise<QuerySession> {
    const all = batches ?? (await archivedBatches(store, settings.prefix))
    const wanted = all.filter(batch => isInRange(batch, range))
    const cache = await QueryCache.open(settings.cacheDirectory, settings.cacheBytesMax)
    const { files, missing } = await cache.plan(wanted, all)
    return new QuerySession(store, settings, range, { cache, files, missing, plan: planOf(wanted, missing) })
  }

  /** Fetches what is missing, and makes the view. @throws QueryFailed, StoreUnavailable */
  async ready(): Promise<void> {
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

  /** Writes the texts of a query's only column into a file of this session, one a line. @returns path and lines */
  async writeLines(sql: string): Promise<{ readonly path: string; readonly lines: number }> {
    const path = this.#cache.temporaryPath('lines')
    const engine = await this.#running()
    const { rows } = await engine.run({ kind: 'write', sql, format: 'lines', path })
    return { path, lines: rows }
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
    await this.#engine.run({ kind: 'view', files: this.#files, since, until })
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
      for (const group of groupsOf(this.#missing)) {
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
    this.#files.push(await this.#cache.add(parquet, group))
  }

  async #writeRows(group: readonly ArchivedBatch[]): Promise<RowsFile> {
    const path = this.#cache.temporaryPath('rows')
    const reader = new BatchReader(this.#store, this.#settings.prefix)
    const rows = new EventRows()
    const file = await open(path, 'w', 0o600)
    let bytes = 0
    try {
      let writing: Promise<void> = Promise.resolve()
      const write = (): Promise<void> => {
        const taken = Buffer.from(rows.take())
        bytes += taken.length
        writing = writing.then(() => file.writeFile(taken))
        return writing
      }
      const afterPiece = async (): Promise<void> => {
        if (rows.bytes >= WRITE_BYTES) await write()
      }
      await this.#forEach(group, async batch => {
        await reader.addTo(rows, batch, afterPiece)
        this.progress.objects++
        this.progress.events += batch.events
      })
      await write()
    } finally {
      await file.close()
    }
    return { path, count: rows.count, bytes, longest: rows.longest }
  }

  /** Runs `each` for all of them, several at once. */
  async #forEach(
    batches: readonly ArchivedBatch[],
    each: (batch: ArchivedBatch) => Promise<void>,
  ): Promise<void> {
    const left = batches.values()
    let isFailed = false
    const run = async (): Promise<void> => {
      for (const batch of left) {
        if (isFailed) return
        this.#refuseIfStopping()
        try {
          await each(batch)
        } catch (error) {
          isFailed = true
          throw error
        }
      }
    }
    const results = await Promise.allSettled(Array.from({ length: READS_AT_ONCE }, run))
    for (const result of results) if (result.status === 'rejected') throw result.reason
  }
}

function planOf(wanted: readonly ArchivedBatch[], missing: readonly ArchivedBatch[]): QueryPlan {
  const sum = (of: (batch: ArchivedBatch) => number, batches: readonly ArchivedBatch[]) =>
    batches.reduce((total, batch) => total + of(batch), 0)
  return {
    objects: wanted.length,
    events: sum(({ events }) => events, wanted),
    partitions: new Set(wanted.map(({ key }) => key.slice(0, key.lastIndexOf('/')))).size,
    fetchedObjects: missing.length,
    fetchedBytes: sum(({ storedBytes }) => storedBytes, missing),
  }
}

/** Batches in the order of their events, in groups that make a file each. */
function* groupsOf(batches: readonly ArchivedBatch[]): Generator<ArchivedBatch[]> {
  let group: ArchivedBatch[] = []
  let bytes = 0
  for (const batch of batches.toSorted((a, b) => a.firstReceivedAt - b.firstReceivedAt)) {
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
