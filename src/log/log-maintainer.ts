/**
 * Changes an archive's log for commands that rewrite or remove objects: it follows the log like an archiver, archives
 * nothing, and folds all records before their objects are changed.
 *
 * A folded record was settled: no archiver stores its objects again. So an object that is changed now stays changed.
 */

import { randomUUID } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import type { Logger } from '../process/logger.ts'
import type { ObjectStore } from '../store/store.ts'
import { appendVoid } from './append-void.ts'
import { CommitLog, type LogListener } from './commit-log.ts'
import { Folder } from './folder.ts'
import type { Changes } from './later-changes.ts'
import { logKeys } from './log-keys.ts'
import { LogReader } from './log-reader.ts'
import type { LogRecord } from './log-record.ts'
import type { LogParts } from './log-sync.ts'
import { PositionOnlyIndex } from './position-only-index.ts'
import { Settlement } from './settlement.ts'
import { Watermark } from './watermark.ts'

/** No id is looked up, so the newest manifest is enough. */
const DEDUPE_WINDOW_MS = 1

export interface MaintainerParts {
  readonly store: ObjectStore
  readonly prefix: string
  readonly log: Logger
  readonly stopping: AbortSignal
}

export class LogMaintainer {
  readonly #parts: MaintainerParts
  readonly #reader: LogReader
  readonly #watermark: Watermark
  readonly #commitLog: CommitLog
  readonly #settlement: Settlement
  readonly #folder: Folder
  /** By number of a record that may not be folded: the earliest `lastReceivedAt` of its batches. */
  readonly #lastTimes = new Map<number, number>()
  /** Since `fold` others have folded records that this process has not seen one by one. */
  #hasSkipped = false
  /** Since `fold`. */
  #hasOtherRewrites = false

  private constructor(parts: MaintainerParts) {
    this.#parts = parts
    const { store, prefix, log, stopping } = parts
    // Each unsettled record adds a listener: no warning for more than ten.
    setMaxListeners(0, stopping)
    const keys = logKeys(prefix)
    this.#reader = new LogReader(store, keys)
    this.#watermark = new Watermark(this.#reader)
    const logParts: LogParts = {
      ...{ store, prefix, keys, log },
      index: new PositionOnlyIndex(),
      dedupeWindowMs: DEDUPE_WINDOW_MS,
      readsIds: false,
      reader: this.#reader,
      watermark: this.#watermark,
    }
    const writer = randomUUID()
    this.#commitLog = new CommitLog({ ...logParts, writer, stopping }, this.#listener())
    this.#settlement = new Settlement({
      ...{ store, log, writer, stopping },
      reader: this.#reader,
      watermark: this.#watermark,
      voidBatch: (number, batch, isVoid) =>
        appendVoid(this.#commitLog, { number, batch }, isVoid, () => this.#settlement.ownDone),
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

  /** @throws StoreUnavailable, LogDamaged, LogRefused */
  static async open(parts: MaintainerParts): Promise<LogMaintainer> {
    const maintainer = new LogMaintainer(parts)
    await maintainer.#commitLog.follow()
    return maintainer
  }

  /**
   * Folds all records that the log has now. What the log says of objects is to be read after it.
   *
   * @throws StoreUnavailable, LogDamaged, LogRefused
   */
  async fold(): Promise<void> {
    await this.#commitLog.follow()
    this.#hasSkipped = false
    this.#hasOtherRewrites = false
    const through = this.#commitLog.position?.number ?? 0
    while (this.#watermark.number < through) {
      this.#parts.stopping.throwIfAborted()
      // Another process may fold, too. Then this one reads how far it came.
      await this.#folder.fold()
      await this.#watermark.refresh()
    }
    for (const number of this.#lastTimes.keys())
      if (number <= this.#watermark.number) this.#lastTimes.delete(number)
  }

  /**
   * Appends a record without batches.
   *
   * @returns false if nothing was appended: since `fold` another process has appended `rewrites`, or may have archived
   * events that would expire. So what another process had staged before a record with `rewrites`, and not named, is
   * never named
   * @throws StoreUnavailable, LogDamaged, LogRefused
   */
  async append({ rewrites, expiredBefore }: Changes): Promise<boolean> {
    const appended = await this.#commitLog.append(async () =>
      this.#isOutdated({ rewrites, expiredBefore })
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

  #isOutdated({ rewrites, expiredBefore }: Changes): boolean {
    if (rewrites !== undefined && this.#hasOtherRewrites) return true
    if (expiredBefore === undefined) return false
    return this.#hasSkipped || [...this.#lastTimes.values()].some(last => last < expiredBefore)
  }

  #applied(record: LogRecord, isOwn: boolean): void {
    this.#settlement.applied(record)
    const { number, batches } = record
    if (batches.length > 0)
      this.#lastTimes.set(number, Math.min(...batches.map(({ lastReceivedAt }) => lastReceivedAt)))
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
        this.#hasSkipped = true
        this.#hasOtherRewrites = true
      },
    }
  }
}
