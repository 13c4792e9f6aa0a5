/**
 * Changes an archive's log for commands that rewrite or remove objects: it follows the log like an archiver, archives
 * nothing, and folds all records before their objects are changed.
 *
 * A folded record was settled: no archiver stores its objects again. So an object that is changed now stays changed.
 */

import { randomUUID } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import type { IdIndex } from '../dedupe/id-index.ts'
import { openIdIndex } from '../dedupe/open-id-index.ts'
import type { Logger } from '../process/logger.ts'
import type { ObjectStore } from '../store/store.ts'
import { CommitLog, type LogListener } from './commit-log.ts'
import { Folder } from './folder.ts'
import type { Changes } from './later-changes.ts'
import { logKeys } from './log-keys.ts'
import { LogReader } from './log-reader.ts'
import { isInline, type LogBatch, type LogRecord } from './log-record.ts'
import type { LogParts } from './log-sync.ts'
import { Settlement } from './settlement.ts'
import { Watermark } from './watermark.ts'

/** Nothing is looked up in its index of ids, which forgets them as soon as it may. */
const INDEX_LIMITS = { dedupeWindowMs: 60_000, dedupeIdsMax: 1_000_000 }

export interface MaintainerParts {
  readonly store: ObjectStore
  readonly prefix: string
  /** For its index. It is emptied by the caller. */
  readonly directory: string
  readonly log: Logger
  readonly stopping: AbortSignal
}

export class LogMaintainer {
  readonly #parts: MaintainerParts
  readonly #index: IdIndex
  readonly #reader: LogReader
  readonly #watermark: Watermark
  readonly #commitLog: CommitLog
  readonly #settlement: Settlement
  readonly #folder: Folder
  /** Since `fold`. */
  #hasOtherRewrites = false

  private constructor(parts: MaintainerParts, index: IdIndex) {
    this.#parts = parts
    this.#index = index
    const { store, prefix, log, stopping } = parts
    // Each unsettled record adds a listener: no warning for more than ten.
    setMaxListeners(0, stopping)
    const keys = logKeys(prefix)
    this.#reader = new LogReader(store, keys)
    this.#watermark = new Watermark(this.#reader)
    const { dedupeWindowMs } = INDEX_LIMITS
    const logParts: LogParts = {
      ...{ store, index, prefix, keys, dedupeWindowMs, log },
      reader: this.#reader,
      watermark: this.#watermark,
    }
    const writer = randomUUID()
    this.#commitLog = new CommitLog({ ...logParts, writer, stopping }, this.#listener())
    this.#settlement = new Settlement({
      ...{ store, log, writer, stopping },
      reader: this.#reader,
      watermark: this.#watermark,
      voidBatch: (number, batch, isVoid) => this.#voidBatch(number, batch, isVoid),
      retrying: () => {},
      voided: () => {},
    })
    this.#folder = new Folder({
      ...logParts,
      commitLog: this.#commitLog,
      settlement: this.#settlement,
      stopping,
      keepsIds: true,
    })
  }

  /** @throws ConfigInvalid, StoreUnavailable, LogDamaged, LogRefused */
  static async open(parts: MaintainerParts): Promise<LogMaintainer> {
    const index = await openIdIndex(parts.directory, INDEX_LIMITS, parts.log)
    const maintainer = new LogMaintainer(parts, index)
    try {
      await maintainer.#commitLog.follow()
      return maintainer
    } catch (error) {
      await index.close()
      throw error
    }
  }

  /**
   * Folds all records that the log has now. What the log says of objects is to be read after it.
   *
   * @throws StoreUnavailable, LogDamaged, LogRefused
   */
  async fold(): Promise<void> {
    await this.#commitLog.follow()
    this.#hasOtherRewrites = false
    const through = this.#commitLog.position?.number ?? 0
    while (this.#watermark.number < through) {
      this.#parts.stopping.throwIfAborted()
      // Another process may fold, too. Then this one reads how far it came.
      await this.#folder.fold()
      await this.#watermark.refresh()
    }
  }

  /**
   * Appends a record without batches.
   *
   * @returns false if `rewrites` is given, and another process has appended some since `fold`: nothing is appended. So
   * what another process had staged before a record with `rewrites`, and not named, is never named
   * @throws StoreUnavailable, LogDamaged, LogRefused
   */
  async append({ rewrites, expiredBefore }: Changes): Promise<boolean> {
    const appended = await this.#commitLog.append(async () =>
      rewrites !== undefined && this.#hasOtherRewrites
        ? undefined
        : {
            batches: [],
            voids: [],
            done: this.#settlement.ownDone,
            waiting: false,
            ...(rewrites !== undefined && { rewrites: [...rewrites] }),
            ...(expiredBefore !== undefined && { expiredBefore }),
          },
    )
    return appended !== undefined
  }

  /**
   * Removes the bytes of inline objects from folded records, which stay for an hour.
   *
   * @param isAffected whether the object of a batch is to be changed
   * @throws StoreUnavailable, LogDamaged
   */
  async removeBodies(isAffected: (batch: LogBatch) => boolean): Promise<number> {
    const { store, prefix } = this.#parts
    const keys = logKeys(prefix)
    let removed = 0
    for await (const key of store.list(keys.records)) {
      const number = Number(key.slice(keys.records.length))
      if (!(number <= this.#watermark.number)) continue
      const { record } = await this.#reader.record(number)
      if (record === undefined || !record.batches.some(batch => isInline(batch) && isAffected(batch)))
        continue
      const bytes = await this.#reader.wholeRecord(number)
      if (bytes === undefined || bytes.length === record.headBytes) continue
      await store.replace(key, Buffer.from(bytes.subarray(0, record.headBytes)))
      removed++
    }
    return removed
  }

  async close(): Promise<void> {
    await this.#index.close()
  }

  async #voidBatch(number: number, batch: number, isVoid: () => boolean): Promise<void> {
    await this.#commitLog.append(async () =>
      isVoid()
        ? undefined
        : { batches: [], voids: [{ number, batch }], done: this.#settlement.ownDone, waiting: false },
    )
  }

  #applied(record: LogRecord, isOwn: boolean): void {
    this.#settlement.applied(record)
    if (!isOwn && record.rewrites !== undefined) this.#hasOtherRewrites = true
  }

  #listener(): LogListener {
    return {
      applied: (record, isOwn) => this.#applied(record, isOwn),
      resumed: record => this.#settlement.applied(record),
      resumedVoids: voids => this.#settlement.appliedVoids(voids),
      unsettled: () => this.#settlement.unsettledNumbers,
      conflicted: () => {},
      otherWaits: () => {},
      retrying: () => {},
      // Records that were folded meanwhile are not applied one by one.
      synchronised: () => {
        this.#hasOtherRewrites = true
      },
    }
  }
}
