/**
 * Erases events from an archive: from its objects, from the records of its log, and from its table.
 *
 * An erased event keeps its id, its source and its time, so it counts as archived, and does not come back. Everything
 * else of it is gone. Objects come first, then the erasure counts itself in the table's log, then files of the table
 * are looked for: a compactor that has read the objects before cannot add its file any more, nor can another erasure.
 * So what killed commands have staged before is removed: it may have the events. The command can be stopped
 * and killed at any time. Run again it completes what it has begun, and goes on with what is left.
 *
 * New files of the table are made on local disk while the objects are rewritten (files-ahead.ts). They are staged after
 * the erasure has counted itself, and named only if the table still has the path that they were made of.
 */

import { MIB } from '../config/setting-types.ts'
import { logKeys } from '../log/log-keys.ts'
import { LogMaintainer } from '../log/log-maintainer.ts'
import { LogReader } from '../log/log-reader.ts'
import type { Logger } from '../process/logger.ts'
import { type ArchivedBatch, type ArchivedBatches, archivedBatches } from '../query/archive-batches.ts'
import { Engine } from '../query/engine.ts'
import type { Done, WithoutId, Work } from '../query/engine-messages.ts'
import { QuerySession } from '../query/query-session.ts'
import { BatchBytes } from '../query/read-batch.ts'
import type { QuerySettings } from '../query/session-settings.ts'
import type { ObjectStore } from '../store/store.ts'
import type { TablePublisher } from '../table/staged-files.ts'
import type { TableColumn } from '../table/table-entry.ts'
import { tableKeys } from '../table/table-keys.ts'
import { TableLog, TableLogReader } from '../table/table-log.ts'
import { eraseInTable } from './erase-in-table.ts'
import { FilesAhead } from './files-ahead.ts'
import { findMatches, type Matches } from './find-matches.ts'
import { type AffectedFile, type FileParts, findFiles, makeFile } from './rewrite-files.ts'
import type { BytesOf } from './rewrite-object.ts'
import {
  type AffectedObject,
  changedMeanwhile,
  completeRewrites,
  findObjects,
  removeLeftByArchivers,
  rewriteObjects,
} from './rewrite-objects.ts'

/** Of the process that rewrites files of the table. With this one the command stays below 1 GiB. */
const ENGINE_BYTES_MAX = 768 * MIB

export interface EraserParts {
  readonly store: ObjectStore
  readonly settings: QuerySettings
  readonly log: Logger
  readonly stopping: AbortSignal
  readonly publish: TablePublisher
}

/** What an erasure will do. */
export interface ErasurePlan {
  /** Events that match, each once. */
  readonly events: number
  readonly objects: readonly AffectedObject[]
  readonly files: readonly AffectedFile[]
  /** The typed columns of the table. */
  readonly columns: readonly TableColumn[]
  readonly matches: Matches
  /** An erasure was begun before. It is completed, whether it was interrupted or not. */
  readonly hasEarlier: boolean
}

export interface ErasureDone {
  readonly files: readonly AffectedFile[]
  /** What archivers have staged in the last hour, and not archived yet. */
  readonly staged: number
}

export interface ErasureProgress {
  phase: 'finding' | 'objects' | 'table' | 'done'
  /** Objects that were looked through. */
  looked: number
  /** Objects and files that have their new bytes. */
  rewritten: number
}

export class Eraser {
  readonly progress: ErasureProgress = { phase: 'finding', looked: 0, rewritten: 0 }
  readonly #parts: EraserParts
  readonly #session: QuerySession
  readonly #bytes: BytesOf
  #engine: Promise<Engine> | undefined
  /** What runs on each of the engine's connections. */
  readonly #working = {
    find: Promise.resolve<unknown>(undefined),
    other: Promise.resolve<unknown>(undefined),
  }
  readonly #looked: FileParts['looked'] = new Map()

  private constructor(parts: EraserParts, session: QuerySession) {
    this.#parts = parts
    this.#session = session
    const reader = new LogReader(parts.store, logKeys(parts.settings.prefix))
    this.#bytes = batch => new BatchBytes(parts.store, reader, batch)
    parts.stopping.addEventListener('abort', () => {
      session.stop()
      this.#engine?.then(engine => engine.interrupt()).catch(() => {})
    })
  }

  /** @throws QueryFailed, StoreUnavailable, LogRefused, TableDamaged */
  static async open(parts: EraserParts): Promise<Eraser> {
    return new Eraser(parts, await QuerySession.open(parts.store, parts.settings, {}))
  }

  /**
   * Finds the events that match, and what has them. Changes nothing.
   *
   * @param usersMax how many different users of them are looked up
   */
  async plan(where: string, usersMax = 0): Promise<ErasurePlan> {
    const { store, settings, stopping } = this.#parts
    // It starts while the session is readied.
    this.#running().catch(() => {})
    await this.#session.ready()
    const matches = await findMatches(this.#session, where, () => this.#running(), usersMax)
    const table = await new TableLogReader(store, tableKeys(settings.prefix)).refresh()
    const finding = new AbortController()
    const finds = findFiles(this.#files, table, matches)
    finds.catch(error => finding.abort(error))
    const { objects, hasRewrites } = await findObjects(
      this.#bytes,
      isWanted => this.#archived(isWanted),
      matches,
      () => {
        this.progress.looked++
        finding.signal.throwIfAborted()
        stopping.throwIfAborted()
      },
    )
    const files = await finds
    const hasEarlier = table.erasures > 0 || hasRewrites
    return { events: matches.ids.size, objects, files, columns: table.columns, matches, hasEarlier }
  }

  /** @throws QueryFailed, StoreUnavailable, LogDamaged, LogRefused, TableDamaged; the reason of `stopping` */
  async erase({
    objects,
    files: planned,
    columns,
    matches,
  }: Pick<ErasurePlan, 'objects' | 'files' | 'columns' | 'matches'>): Promise<ErasureDone> {
    this.progress.phase = 'objects'
    const made = new FilesAhead(planned, file => makeFile(this.#files, columns, file, matches))
    try {
      const { staged, log: id } = await this.#eraseInObjects(objects, matches)
      this.progress.phase = 'table'
      const { store, settings, stopping, publish } = this.#parts
      const log = new TableLog(store, tableKeys(settings.prefix), id, stopping)
      const parts = { ...this.#files, made, publish, rewritten: this.#rewritten }
      const files = await eraseInTable(parts, log, matches)
      // The engine is not needed any more.
      await Promise.all([this.#session.forget(), this.#closeEngine()])
      this.progress.phase = 'done'
      return { files, staged }
    } finally {
      made.stop()
    }
  }

  async close(): Promise<void> {
    await this.#closeEngine()
    await this.#session.close()
  }

  async #closeEngine(): Promise<void> {
    const engine = this.#engine
    this.#engine = undefined
    await engine?.then(running => running.close()).catch(() => {})
  }

  async #eraseInObjects(objects: readonly AffectedObject[], { ids }: Matches) {
    const { store, settings, log, stopping } = this.#parts
    const { prefix } = settings
    const maintainer = await LogMaintainer.open({ store, prefix, log, stopping })
    await maintainer.fold()
    const wanted = new Set(objects.map(({ batch }) => batch.key))
    const { changes, batches, log: id } = await this.#archived(({ key }) => wanted.has(key))
    await completeRewrites(store, prefix, maintainer, changes.rewrites)
    assertUnchanged(objects, batches)
    const parts = { store, prefix, bytes: this.#bytes, maintainer, stopping, rewritten: this.#rewritten }
    await rewriteObjects(parts, objects, ids)
    return { staged: await removeLeftByArchivers(store, prefix), log: id as string }
  }

  readonly #rewritten = (): void => {
    this.progress.rewritten++
  }

  #archived(isWanted?: (batch: ArchivedBatch) => boolean): Promise<ArchivedBatches> {
    return archivedBatches(this.#parts.store, this.#parts.settings.prefix, 0, isWanted)
  }

  get #files(): FileParts {
    const { store, stopping } = this.#parts
    const looked = this.#looked
    return { store, cache: this.#session.files, stopping, looked, run: this.#run }
  }

  readonly #run = (work: WithoutId<Work>): Promise<Done> => {
    const connection = work.kind === 'find' ? 'find' : 'other'
    const done = this.#working[connection].then(async () => (await this.#running()).run(work))
    this.#working[connection] = done.catch(() => {})
    return done
  }

  /** For SQL of ours, on files of this run. */
  async #running(): Promise<Engine> {
    const { residentBytesMax, spillBytesMax, threads } = this.#parts.settings
    this.#engine ??= Engine.start({
      directory: this.#session.files.runDirectory,
      residentBytesMax: Math.min(residentBytesMax, ENGINE_BYTES_MAX),
      spillBytesMax,
      threads,
      isForUser: false,
      keepsOrder: true,
    })
    const engine = await this.#engine
    this.#parts.stopping.throwIfAborted()
    return engine
  }
}

/** @throws QueryFailed if another erasure has rewritten one of the objects since they were looked through */
function assertUnchanged(objects: readonly AffectedObject[], batches: readonly ArchivedBatch[]): void {
  const digests = new Map(batches.map(({ key, sha256 }) => [key, sha256]))
  for (const { batch } of objects)
    if (digests.get(batch.key) !== batch.sha256) throw changedMeanwhile(batch.key)
}
