/**
 * Puts the events of hours that are over into the table, as Parquet.
 *
 *   plan ──► claim ──► rows ──► Parquet ──► stage ──► append an entry ──► move to its key ──► Iceberg
 *
 * State. The table's log says for each hour up to which record of the archive's log its events are in the table, and
 * in which files. Both change with one entry. An entry is created by a process that has read all before it, so:
 *
 * - An event is in one file: an entry adds the events of an hour in records after `after` and up to `through`, and only
 *   if the table has the hour up to `after`, and of none of these batches. Of two processes that made the same file one
 *   appends; the other removes what it staged. An hour may have several files: each waits for the one before.
 * - An erased event does not come back: an erasure first changes the objects, then counts itself in the table's log,
 *   and then looks for files. A file that was planned before it counted is not added.
 * - The rows of a file follow from the archive's log alone. Only batches that are objects under their keys are taken:
 *   such a batch never becomes void.
 * - A glob over `data/` never has an event twice: a file comes there by a move, after its entry, and its staged bytes
 *   are gone then. A move that is late finds nothing to move.
 * - A crash before the entry leaves a staged object, which a later run removes. A crash after it leaves a staged
 *   file of the table, which queries read and the next run moves.
 */

import { randomUUID } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { rm, stat } from 'node:fs/promises'
import { MIB } from '../config/setting-types.ts'
import { ObjectNotFound, QueryFailed } from '../errors.ts'
import { type ArchivedBatch, type ArchivedBatches, archivedBatches } from '../query/archive-batches.ts'
import { coverageOf, hoursOf } from '../query/coverage.ts'
import type { MadeFile, RowsOfSpan } from '../query/engine-messages.ts'
import { uncoveredBatches } from '../query/event-sources.ts'
import { hasLongRows } from '../query/hour-files.ts'
import { BatchReader } from '../query/read-batch.ts'
import { writeRows } from '../query/write-rows.ts'
import type { ObjectStore } from '../store/store.ts'
import {
  abandonedFiles,
  placedIn,
  placeStaged,
  publishTable,
  type TablePublisher,
} from '../table/staged-files.ts'
import type { TableColumn, TableFile } from '../table/table-entry.ts'
import type { TableKeys } from '../table/table-keys.ts'
import { tableKeys } from '../table/table-keys.ts'
import { TableLog, TableLogReader } from '../table/table-log.ts'
import { compactedThrough, isCompacted, type TableState } from '../table/table-state.ts'
import { type Claim, claim } from './claims.ts'
import { type CompactionJob, compactionJobs, type FileLimits } from './compaction-jobs.ts'
import { FileMaker, type FileMakerParts } from './file-maker.ts'
import { newColumns, type WantedColumn } from './typed-columns.ts'

/** Of long events in one file. */
const LONG_ROWS_BYTES_MAX = 128 * MIB

export interface CompactorParts extends FileMakerParts {
  readonly store: ObjectStore
  readonly prefix: string
  readonly columns: readonly WantedColumn[]
  readonly publish: TablePublisher
  readonly fileLimits?: FileLimits
}

export interface CompactionReport {
  /** Files that were added to the table, and their events and bytes. */
  files: number
  events: number
  bytes: number
  /** Of the objects that were read. */
  storedBytes: number
  /**
   * Files that another process makes, whose batches are not objects yet or have expired, or that wait for a file before
   * them.
   */
  skipped: number
  /** Files that cannot be made, because an object is damaged or gone, or the engine has failed. */
  failed: number
  /** Why the first of them cannot be made. */
  reason?: string
  /** Typed columns that the table has since this run. */
  columns: string[]
}

interface Written {
  readonly job: CompactionJob
  readonly claimed: Claim
  readonly sources: readonly RowsOfSpan[]
}

interface Making extends Written {
  /** Local files. */
  readonly files: Promise<readonly MadeFile[]>
  readonly columns: readonly TableColumn[]
}

export class Compactor {
  readonly report: CompactionReport = {
    files: 0,
    events: 0,
    bytes: 0,
    storedBytes: 0,
    skipped: 0,
    failed: 0,
    columns: [],
  }
  readonly #parts: CompactorParts
  readonly #keys: TableKeys
  #planned = 0
  /** When the work was planned. */
  #erasures = 0
  readonly #files: FileMaker

  constructor(parts: CompactorParts) {
    this.#parts = parts
    this.#files = new FileMaker(parts)
    this.#keys = tableKeys(parts.prefix)
  }

  /** Files that the run makes, once it is planned. */
  get planned(): number {
    return this.#planned
  }

  /**
   * @param isDue whether an hour goes into the table now. @param hour hours since 1970
   * @throws QueryFailed, StoreUnavailable, LogRefused, TableDamaged
   */
  async run(isDue: (hour: number) => boolean): Promise<CompactionReport> {
    const { store, prefix, stopping } = this.#parts
    const before = await new TableLogReader(store, this.#keys).refresh()
    this.#erasures = before.erasures
    const archived = await uncoveredBatches(before, store, prefix)
    if (archived.log === undefined) return this.report
    const log = new TableLog(store, this.#keys, archived.log, stopping)
    try {
      const table = await this.#readied(log)
      const jobs = compactionJobs(table, archived.batches, archived.through, isDue, this.#parts.fileLimits)
      this.#planned = jobs.length
      await this.#make(log, jobs, table.columns)
      await this.#finish(log, archived)
    } finally {
      await this.#files.close()
    }
    return this.report
  }

  /** Adds typed columns, and places what an earlier run has left. */
  async #readied(log: TableLog): Promise<TableState> {
    const { columns } = this.#parts
    const table = await log.refresh()
    await this.#removeAbandoned(log, table)
    await log.append(({ columns: existing }) => {
      const added = newColumns(existing, columns)
      this.report.columns = added.map(({ name }) => name)
      return added.length === 0 ? undefined : { columns: [...existing, ...added] }
    })
    return log.refresh()
  }

  /** A process that slept for a day cannot name what is removed: it began before this was counted as an erasure. */
  async #removeAbandoned(log: TableLog, table: TableState): Promise<void> {
    const { store } = this.#parts
    const abandoned = await abandonedFiles(store, this.#keys.staged, table)
    if (abandoned.length === 0) return
    const counted = await log.append(({ erasures }) => ({ erasures: erasures + 1 }))
    // Unless there was another one, the work of this run was planned on the same objects.
    if (counted?.erasures === this.#erasures + 1) this.#erasures++
    await store.remove(abandoned)
  }

  /** Three files are under way: of one the rows are written, one is made by the engine, one is added to the table. */
  async #make(log: TableLog, jobs: readonly CompactionJob[], columns: readonly TableColumn[]): Promise<void> {
    let making: Promise<unknown> = Promise.resolve()
    let adding: Promise<void> = Promise.resolve()
    let addingBefore: Promise<void> = adding
    let hourLeft: number | undefined
    try {
      for (const job of jobs) {
        if (this.#parts.stopping.aborted) break
        if (job.hour === hourLeft) {
          this.report.skipped++
          continue
        }
        const written = await this.#rowsOf(job, [making, addingBefore])
        if (written === undefined) {
          hourLeft = job.hour
          continue
        }
        const files = this.#files.make(job.hour, written.sources, columns)
        making = files.catch(() => {})
        addingBefore = adding
        adding = this.#add(log, { ...written, files, columns }, addingBefore)
        adding.catch(() => {})
      }
    } finally {
      await adding
    }
  }

  /**
   * @param before of files before. Nothing more can be made if one rejects
   * @returns undefined if another process makes the file, or an object is not there yet, gone, damaged or has expired
   */
  async #rowsOf(job: CompactionJob, before: readonly Promise<unknown>[]): Promise<Written | undefined> {
    const claimed = await claim(this.#parts.store, this.#keys, job)
    if (claimed === undefined) {
      this.report.skipped++
      return undefined
    }
    const [written, others] = await Promise.allSettled([this.#writeSources(job.batches), Promise.all(before)])
    if (written.status === 'fulfilled' && others.status === 'fulfilled')
      return { job, claimed, sources: written.value }
    await claimed.release()
    if (written.status === 'fulfilled') await removeRows(written.value)
    if (others.status === 'rejected') throw others.reason
    const { reason } = written as PromiseRejectedResult
    if (reason instanceof ObjectNotFound || (await this.#haveExpired(job.batches))) this.report.skipped++
    else this.#fail(reason)
    return undefined
  }

  /** Whether one of the batches has expired since the work was planned: its object may be gone. */
  async #haveExpired(batches: readonly ArchivedBatch[]): Promise<boolean> {
    const { store, prefix } = this.#parts
    const keys = new Set(batches.map(({ key }) => key))
    const first = (batches[0] as ArchivedBatch).record
    const { expired } = await archivedBatches(store, prefix, first, ({ key }) => keys.has(key))
    return expired.length > 0
  }

  /** A file of rows for each span: the events of a batch that reaches into another hour are chosen by it. */
  async #writeSources(batches: readonly ArchivedBatch[]): Promise<RowsOfSpan[]> {
    const { store, prefix, cache, stopping } = this.#parts
    const reader = new BatchReader(store, prefix, { isStoredOnly: true })
    const sources: RowsOfSpan[] = []
    try {
      for (const ofSpan of bySpan(batches)) {
        const [firstHour, lastHour] = hoursOf(ofSpan[0] as ArchivedBatch)
        const rows = await writeRows(reader, {
          path: cache.temporaryPath('rows'),
          batches: ofSpan,
          assertWanted: () => {
            if (stopping.aborted) throw new QueryFailed('The command was interrupted.')
          },
          written: ({ storedBytes }) => {
            this.report.storedBytes += storedBytes
          },
        })
        sources.push({ rows, firstHour, lastHour })
      }
    } catch (error) {
      await removeRows(sources)
      throw error
    }
    return sources
  }

  /**
   * A file that cannot be made leaves its hour out of the table, and no other one.
   *
   * @param before of the file before: an hour may have several files, which are added in their order
   */
  async #add(
    log: TableLog,
    { job, claimed, sources, files, columns }: Making,
    before: Promise<void>,
  ): Promise<void> {
    try {
      const made = await files.finally(() => removeRows(sources))
      await before
      const added = await Promise.all(made.map(file => this.#stage(file, job.hour, columns)))
      const isAppended = await this.#append(log, job, added)
      if (!isAppended) {
        this.report.skipped++
        await this.#parts.store.remove(added.map(file => file.path))
      }
      await Promise.all(made.map(file => rm(file.path)))
    } catch (error) {
      this.#fail(error)
    } finally {
      await claimed.release()
      await before
    }
  }

  /** @throws what is not a fault of the file */
  #fail(error: unknown): void {
    if (!this.#isOfFile(error)) throw error
    this.report.failed++
    this.report.reason ??= error.message
  }

  /** Whether another file may succeed. */
  #isOfFile(error: unknown): error is Error {
    return error instanceof QueryFailed && this.#files.canStart && !this.#parts.stopping.aborted
  }

  async #stage(made: MadeFile, batchHour: number, columns: readonly TableColumn[]): Promise<TableFile> {
    const { store } = this.#parts
    const name = randomUUID()
    const path = `${this.#keys.staged}${name}`
    const { size: bytes } = await stat(made.path)
    await store.put(path, createReadStream(made.path))
    const { hour, rows, stats } = made
    return {
      key: this.#keys.dataFile(hour, name),
      path,
      isStaged: true,
      bytes,
      rows,
      hour,
      ...(hour !== batchHour && { batchHour }),
      typedColumns: columns.length,
      stats,
    }
  }

  /** @returns false if another process has added these events, or has not yet added those before them */
  async #append(log: TableLog, job: CompactionJob, added: readonly TableFile[]): Promise<boolean> {
    const { hour, after, through } = job
    const first = (job.batches[0] as ArchivedBatch).record
    const appended = await log.append(table => {
      const isNext = compactedThrough(table, hour) >= after && !isCompacted(table, hour, first)
      return isNext && table.erasures === this.#erasures
        ? { added: [...added], compacted: [{ hour, through }] }
        : undefined
    })
    if (appended === undefined) return false
    for (const { rows, bytes } of added) {
      this.report.files++
      this.report.events += rows
      this.report.bytes += bytes
    }
    await placeStaged(this.#parts.store, log)
    return true
  }

  async #finish(log: TableLog, archived: ArchivedBatches): Promise<void> {
    const { store, publish } = this.#parts
    const files = await placeStaged(store, log)
    await log.append(table => {
      const placed = placedIn(table, files)
      const coveredThrough = coveredIn(table, archived)
      const isNew = coveredThrough > table.coveredThrough
      if (placed.length === 0 && !isNew) return undefined
      return { ...(placed.length > 0 && { placed }), ...(isNew && { coveredThrough }) }
    })
    await publishTable(store, log, publish)
  }
}

async function removeRows(sources: readonly RowsOfSpan[]): Promise<void> {
  await Promise.all(sources.map(({ rows }) => rm(rows.path, { force: true })))
}

/** Batches in groups that have the same first and last hour. Long events are in groups of their own, which are smaller. */
function bySpan(batches: readonly ArchivedBatch[]): ArchivedBatch[][] {
  const groups = new Map<string, ArchivedBatch[]>()
  let longBytes = 0
  for (const batch of batches) {
    const isLong = hasLongRows({ bytes: batch.bytes, count: batch.events })
    if (isLong) longBytes += batch.bytes
    const part = isLong ? Math.ceil(longBytes / LONG_ROWS_BYTES_MAX) : 0
    const key = [...hoursOf(batch), part].join()
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [batch])
    else group.push(batch)
  }
  return [...groups.values()]
}

/** The last record up to which the table has all events. */
function coveredIn(table: TableState, { batches, through }: ArchivedBatches): number {
  for (const batch of batches) if (coverageOf(table, batch, batch.record) !== 'all') return batch.record - 1
  return through
}
