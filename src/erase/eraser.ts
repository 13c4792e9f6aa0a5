/**
 * Erases events from an archive: from its objects, from the records of its log, and from its table.
 *
 * An erased event keeps its id, its source and its time, so it counts as archived, and does not come back. Everything
 * else of it is gone. Objects come first, then the erasure counts itself in the table's log, then files of the table
 * are looked for: a compactor that has read the objects before cannot add its file any more, nor can another erasure.
 * So what killed commands have staged before is removed: it may have the events. The command can be stopped
 * and killed at any time. Run again it completes what it has begun, and goes on with what is left.
 */

import { join } from 'node:path'
import { QueryFailed } from '../errors.ts'
import { LogMaintainer } from '../log/log-maintainer.ts'
import type { Logger } from '../process/logger.ts'
import { type ArchivedBatch, type ArchivedBatches, archivedBatches } from '../query/archive-batches.ts'
import { Engine } from '../query/engine.ts'
import { QuerySession, type QuerySettings } from '../query/query-session.ts'
import type { ObjectStore } from '../store/store.ts'
import {
  placedIn,
  placeStaged,
  publishTable,
  stagedFiles,
  type TablePublisher,
  unnamedOf,
} from '../table/staged-files.ts'
import { tableKeys } from '../table/table-keys.ts'
import { TableLog, TableLogReader } from '../table/table-log.ts'
import { findMatches, type Matches } from './find-matches.ts'
import { type AffectedFile, type FileParts, findFiles, stageFile } from './rewrite-files.ts'
import { type AffectedObject, completeRewrites, findObjects, rewriteObjects } from './rewrite-objects.ts'

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
  readonly matches: Matches
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
  #engine: Engine | undefined

  private constructor(parts: EraserParts, session: QuerySession) {
    this.#parts = parts
    this.#session = session
  }

  /** @throws QueryFailed, StoreUnavailable, LogRefused, TableDamaged */
  static async open(parts: EraserParts): Promise<Eraser> {
    const session = await QuerySession.open(parts.store, parts.settings, {})
    parts.stopping.addEventListener('abort', () => session.stop())
    return new Eraser(parts, session)
  }

  /** Finds the events that match, and what has them. Changes nothing. */
  async plan(where: string): Promise<ErasurePlan> {
    await this.#session.ready()
    const matches = await findMatches(this.#session, where)
    const { batches } = await this.#archived()
    const objects =
      matches.ids.size === 0
        ? []
        : await findObjects(this.#parts.store, batches, matches, () => this.progress.looked++)
    const table = await new TableLogReader(
      this.#parts.store,
      tableKeys(this.#parts.settings.prefix),
    ).refresh()
    const files = await findFiles(this.#files, table, matches)
    return { events: matches.ids.size, objects, files, matches }
  }

  /** @throws QueryFailed, StoreUnavailable, LogDamaged, LogRefused, TableDamaged; the reason of `stopping` */
  async erase({ objects, matches }: ErasurePlan): Promise<readonly AffectedFile[]> {
    const { store, settings, log, stopping } = this.#parts
    const { prefix } = settings
    this.progress.phase = 'objects'
    const directory = join(this.#session.files.runDirectory, 'ids')
    const maintainer = await LogMaintainer.open({ store, prefix, directory, log, stopping })
    try {
      await maintainer.fold()
      const { changes, batches } = await this.#archived()
      assertUnchanged(objects, batches)
      await completeRewrites(store, prefix, changes.rewrites)
      const rewritten = (): void => {
        this.progress.rewritten++
      }
      await rewriteObjects({ store, prefix, maintainer, stopping, rewritten }, objects, matches.ids)
    } finally {
      await maintainer.close()
    }
    this.progress.phase = 'table'
    const files = await this.#eraseInTable(matches)
    this.progress.phase = 'done'
    return files
  }

  async close(): Promise<void> {
    await this.#engine?.close()
    await this.#session.close()
  }

  /** Also completes what an earlier erasure has left. */
  async #eraseInTable(matches: Matches): Promise<readonly AffectedFile[]> {
    const { store, publish } = this.#parts
    const { log: id } = await this.#archived()
    if (id === undefined) return []
    const log = this.#tableLog(id)
    const before = await stagedFiles(store, log.keys)
    if ((await log.refresh()).number === 0 && before.length === 0) return []
    const counted = await log.append(({ erasures }) => ({ erasures: erasures + 1 }))
    await store.remove(unnamedOf(before, await log.refresh()))
    const staged = await placeStaged(store, await log.refresh())
    await log.append(table => {
      const placed = placedIn(table, staged)
      return placed.length === 0 ? undefined : { placed }
    })
    await publishTable(store, log, publish)
    const affected = await findFiles(this.#files, await log.refresh(), matches)
    const old: string[] = []
    for (const each of affected) {
      this.#parts.stopping.throwIfAborted()
      const replaced = await stageFile(this.#files, log, each, matches)
      const { key, path } = each.file
      const appended = await log.append(table =>
        table.files.get(key)?.path === path && table.erasures === counted?.erasures
          ? { replaced: [replaced] }
          : undefined,
      )
      if (appended === undefined) {
        await store.remove([replaced.path, replaced.copy ?? replaced.path])
        throw changedMeanwhile(key)
      }
      if (each.file.path !== each.file.key) old.push(each.file.path)
      this.progress.rewritten++
    }
    await publishTable(store, log, publish)
    await store.remove(old)
    return affected
  }

  #archived(): Promise<ArchivedBatches> {
    return archivedBatches(this.#parts.store, this.#parts.settings.prefix)
  }

  #tableLog(id: string): TableLog {
    const { store, settings, stopping } = this.#parts
    return new TableLog(store, tableKeys(settings.prefix), id, stopping)
  }

  get #files(): FileParts {
    const { store, stopping } = this.#parts
    return { store, cache: this.#session.files, stopping, engine: () => this.#running() }
  }

  /** For SQL of ours, on files of this run. */
  async #running(): Promise<Engine> {
    const { residentBytesMax, spillBytesMax, threads } = this.#parts.settings
    this.#engine ??= await Engine.start({
      directory: this.#session.files.runDirectory,
      residentBytesMax,
      spillBytesMax,
      threads,
      isForUser: false,
    })
    return this.#engine
  }
}

/** @throws QueryFailed if another erasure has rewritten one of the objects since they were looked through */
function assertUnchanged(objects: readonly AffectedObject[], batches: readonly ArchivedBatch[]): void {
  const digests = new Map(batches.map(({ key, sha256 }) => [key, sha256]))
  for (const { batch } of objects)
    if (digests.get(batch.key) !== batch.sha256) throw changedMeanwhile(batch.key)
}

function changedMeanwhile(key: string): Error {
  return new QueryFailed(
    `Another command has changed ${key} meanwhile. Run this one again: it goes on with what is left.`,
  )
}
