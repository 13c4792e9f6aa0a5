/**
 * Keeps archiving going: checks the store, opens the log, then runs a session that consumes. After a failure it starts
 * again, with back-off and jitter. While the store cannot be used, sessions end soon, so that the events of an outage
 * stay in the queue.
 *
 * Beside the session a loop follows the log, so that this process knows what others have archived. The same loop
 * settles records that others left, and folds the log. Complete batches outlive a session: the committer has them.
 */

import { randomUUID } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import type { Config } from '../config/config.ts'
import type { IdIndex } from '../dedupe/id-index.ts'
import { LiveIds } from '../dedupe/live-ids.ts'
import { RecentLengths } from '../dedupe/recent-lengths.ts'
import { isRefusal, LogDamaged, LogRefused, StoreUnavailable } from '../errors.ts'
import { appendVoid } from '../log/append-void.ts'
import { BeyondWindow } from '../log/beyond-window.ts'
import { CommitLog, type LogListener } from '../log/commit-log.ts'
import { Folder } from '../log/folder.ts'
import { type LogKeys, logKeys } from '../log/log-keys.ts'
import { LogReader } from '../log/log-reader.ts'
import type { LogRecord } from '../log/log-record.ts'
import type { LogParts } from '../log/log-sync.ts'
import { type LogStatus, LogTotals } from '../log/log-totals.ts'
import { Settlement } from '../log/settlement.ts'
import { Watermark } from '../log/watermark.ts'
import { extensionOf } from '../object/format.ts'
import { objectKey } from '../object/object-key.ts'
import { createDeferred } from '../process/deferred.ts'
import type { Logger } from '../process/logger.ts'
import { BackOff, sleep } from '../process/sleep.ts'
import { withTimeLimit } from '../process/time-limit.ts'
import type { Queue } from '../queue/queue.ts'
import type { ObjectStore } from '../store/store.ts'
import { SuppressedUsers } from '../suppression/suppressed-users.ts'
import { ArchiveSession, type SessionConfig, type SessionParts } from './archive-session.ts'
import { ArchiveStats } from './archive-stats.ts'
import type { Batch } from './batch.ts'
import { BeyondWindowLookup } from './beyond-window-lookup.ts'
import { Committer } from './committer.ts'

export type ArchiverConfig = SessionConfig & Pick<Config, 'dedupeWindowMs'>

/** `start` resolves after this time even if the store has not answered. */
const FIRST_ANSWER_MS_MAX = 2_000
const RETRY_LIMITS = { msMin: 500, msMax: 30_000 }
/** Interval between two reads of the log's end: the shortest while records come, the longest at rest. */
const FOLLOW_MS_MIN = 100
const FOLLOW_MS_MAX = 10_000
/** A session without a failure for this time counts as recovered, even if it archived nothing. */
const RECOVERED_MS = 60_000
/** A session fails if commits or settlements fail for longer than this. The queue then redelivers to others. */
const RETRY_MS_MAX = 20_000
const BATCH_LOST =
  'The store lost a batch before it became an object. Its events are redelivered and archived again.'

/** The two steps that put a complete batch into the archive. */
type Step = 'commit' | 'settle'

export interface ArchiverParts {
  readonly queue: Pick<Queue, 'consume'>
  readonly store: ObjectStore
  readonly index: IdIndex
  readonly config: ArchiverConfig
  readonly log: Logger
}

export class Archiver {
  readonly stats = new ArchiveStats()
  readonly #parts: ArchiverParts
  readonly #stopping = new AbortController()
  readonly #begun = createDeferred()
  readonly #backOff = new BackOff(RETRY_LIMITS)
  readonly #commitLog: CommitLog
  readonly #committer: Committer
  readonly #settlement: Settlement
  readonly #beyondWindow: BeyondWindow
  readonly #folder: Folder
  readonly #totals: LogTotals
  readonly #watermark: Watermark
  readonly #suppressed: SuppressedUsers
  readonly #sessionParts: SessionParts
  #session: ArchiveSession | undefined
  #running: Promise<unknown> = Promise.resolve()
  #trouble: string | undefined
  /** Since when each step has been failing, by `performance.now()`. */
  readonly #failingSince = new Map<Step, number>()
  /** The store passed its check, and archiving failed nevertheless. So only a stored object shows that it works. */
  #isDoubtful = false

  constructor(parts: ArchiverParts) {
    this.#parts = parts
    this.#trouble = `${parts.store.description} has not answered yet`
    const { store, index, config, log } = parts
    this.#suppressed = new SuppressedUsers(store, config.archive.prefix, log)
    const writer = randomUUID()
    const stopping = this.#stopping.signal
    // Each unsettled record adds a listener: no warning for more than ten.
    setMaxListeners(0, stopping)
    const keys = logKeys(config.archive.prefix)
    const reader = new LogReader(store, keys)
    const watermark = new Watermark(reader)
    this.#watermark = watermark
    this.#totals = new LogTotals({ reader, watermark })
    const live = new LiveIds<Batch>()
    const logParts: LogParts = {
      store,
      index,
      reader,
      watermark,
      keys,
      prefix: config.archive.prefix,
      dedupeWindowMs: config.dedupeWindowMs,
      log,
    }
    this.#commitLog = new CommitLog({ ...logParts, writer, stopping }, this.#logListener())
    this.#settlement = this.#newSettlement(logParts, writer)
    this.#committer = this.#newCommitter(live)
    this.#beyondWindow = new BeyondWindow({ index, reader, watermark, settlement: this.#settlement })
    this.#folder = new Folder({
      ...logParts,
      commitLog: this.#commitLog,
      settlement: this.#settlement,
      stopping,
    })
    this.#sessionParts = this.#newSessionParts(keys, live)
  }

  /** Why it cannot archive now, as text for a person; undefined while it can. */
  get trouble(): string | undefined {
    return this.#trouble
  }

  /** `receivedAt` of the oldest event that it holds, in milliseconds since 1970; undefined if it holds none. */
  get oldestReceivedAt(): number | undefined {
    return this.#committer.oldest?.firstReceivedAt ?? this.#session?.oldestReceivedAt
  }

  /** Undefined until the log has been opened for the first time. */
  get logStatus(): LogStatus | undefined {
    const { position } = this.#commitLog
    if (position === undefined) return undefined
    return {
      id: position.log,
      position: position.number,
      watermark: this.#watermark.number,
      total: this.#totals.total(position.number),
      unsettled: this.#settlement.unsettled,
      commits: this.#totals.commits,
      conflicts: this.#totals.conflicts,
      lastCommitAt: this.#totals.lastCommitAt,
    }
  }

  /** Resolves when it archives, when its first attempt has failed, or after two seconds. */
  async start(): Promise<void> {
    this.#running = Promise.all([this.#run(), this.#follow(), this.#suppressed.follow(this.#stopping.signal)])
    await withTimeLimit(this.#begun.promise, FIRST_ANSWER_MS_MAX, () => {})
  }

  /**
   * Takes no more deliveries, and seals the open batch. Resolves when all batches are archived and acknowledged, or when
   * an attempt to do so has failed.
   */
  async stop(): Promise<void> {
    this.#stopping.abort()
    await this.#running
    await this.#committer.idle()
  }

  async #run(): Promise<void> {
    const { store, log } = this.#parts
    while (!this.#stopping.signal.aborted) {
      let hasAnswered = false
      try {
        await store.check()
        await this.#commitLog.follow()
        await this.#suppressed.refresh()
        hasAnswered = true
        await this.#archive()
      } catch (error) {
        this.#isDoubtful = hasAnswered
        this.stats.failures++
        this.#trouble = (error as Error).message
        this.#begun.resolve()
        const what = isRefusal(error) ? { reason: error.message } : { err: error }
        log.error(what, 'Archiving has stopped. Events that are not archived stay in the queue.')
        await this.#backOff.pause(this.#stopping.signal)
      }
    }
    this.#begun.resolve()
    this.#trouble = 'stopped'
  }

  async #archive(): Promise<void> {
    if (!this.#isDoubtful) this.#trouble = undefined
    this.#failingSince.clear()
    const recovered = setTimeout(() => this.#recovered(), RECOVERED_MS)
    this.#begun.resolve()
    const session = new ArchiveSession(this.#sessionParts)
    this.#session = session
    try {
      await session.run(this.#stopping.signal)
    } finally {
      this.#session = undefined
      clearTimeout(recovered)
    }
  }

  /**
   * Follows the log, settles records that others left, and folds. Errors are logged at debug: a store that fails stops
   * the session too, and the session reports it. A damaged log fails the session from here.
   */
  async #follow(): Promise<void> {
    const { log } = this.#parts
    const { signal } = this.#stopping
    let ms = FOLLOW_MS_MIN
    while (!signal.aborted) {
      await sleep(ms / 2 + Math.random() * (ms / 2), signal)
      if (signal.aborted) return
      try {
        const applied = await this.#commitLog.follow()
        ms = applied > 0 ? FOLLOW_MS_MIN : Math.min(FOLLOW_MS_MAX, ms * 2)
        this.#settlement.sweep()
        if (this.#beyondWindow.isStale) await this.#beyondWindow.refresh()
        await this.#folder.foldIfDue()
        await this.#totals.countUpTo(this.#commitLog.position?.number ?? 0)
      } catch (error) {
        ms = FOLLOW_MS_MAX
        log.debug({ err: error }, 'The log cannot be followed now.')
        if (error instanceof LogDamaged || error instanceof LogRefused) this.#failSession(error)
      }
    }
  }

  #logListener(): LogListener {
    return {
      applied: (record, isOwn) => this.#applied(record, isOwn),
      resumed: record => this.#resumed(record),
      resumedVoids: voids => this.#settlement.appliedVoids(voids),
      conflicted: () => this.#totals.conflicted(),
      otherWaits: (writer, roundTripMs) => this.#committer.otherWaits(writer, roundTripMs),
      unsettled: () => this.#settlement.unsettledNumbers,
      retrying: error => this.#retrying('commit', error),
      synchronised: isComplete => this.#committer.synchronised(isComplete),
    }
  }

  #newSettlement({ store, reader, watermark, log }: LogParts, writer: string): Settlement {
    return new Settlement({
      store,
      reader,
      watermark,
      log,
      writer,
      stopping: this.#stopping.signal,
      voidBatch: (number, batch, isVoid) =>
        appendVoid(this.#commitLog, { number, batch }, isVoid, () => this.#settlement.ownDone),
      retrying: error => this.#retrying('settle', error),
      voided: () => this.#failSession(new StoreUnavailable(BATCH_LOST)),
    })
  }

  #newCommitter(live: LiveIds<Batch>): Committer {
    const { store, index, config, log } = this.#parts
    return new Committer({
      commitLog: this.#commitLog,
      settlement: this.#settlement,
      live,
      store,
      index,
      stats: this.stats,
      log,
      stopping: this.#stopping.signal,
      keyOf: (batch, nonce) => keyOf(config, batch, nonce),
      archived: () => this.#archived(),
      lost: () => this.#failSession(new StoreUnavailable(BATCH_LOST)),
      retrying: error => this.#retrying('commit', error),
    })
  }

  #newSessionParts(keys: LogKeys, live: LiveIds<Batch>): SessionParts {
    const { queue, store, index, config, log } = this.#parts
    return {
      queue,
      objects: {
        store,
        keys,
        format: config.archiveFormat,
        compression: config.archiveCompression,
        isShared: () => this.#committer.isShared,
      },
      committer: this.#committer,
      settlement: this.#settlement,
      live,
      index,
      beyondWindowLookup: new BeyondWindowLookup({
        beyondWindow: this.#beyondWindow,
        index,
        store,
        log,
        roomFreed: () => this.#session?.roomFreed(),
      }),
      suppressed: this.#suppressed,
      config,
      lengths: new RecentLengths(),
      stats: this.stats,
      log,
    }
  }

  #applied(record: LogRecord, isOwn: boolean): void {
    this.#beyondWindow.applied(record)
    this.#totals.applied(record, isOwn)
    this.#committer.applied(record, isOwn)
  }

  #resumed(record: LogRecord): void {
    this.#beyondWindow.applied(record)
    this.#settlement.applied(record)
  }

  #failSession(error: Error): void {
    this.#session?.fail(error)
  }

  #retrying(step: Step, error: Error | undefined): void {
    if (error === undefined) {
      const wasFailing = this.#failingSince.delete(step)
      if (wasFailing && this.#session !== undefined && !this.#isDoubtful) this.#recovered()
      return
    }
    this.#trouble = error.message
    const now = performance.now()
    const since = this.#failingSince.get(step) ?? now
    this.#failingSince.set(step, since)
    const isFinal = error instanceof LogDamaged || error instanceof LogRefused
    if (isFinal || now - since > RETRY_MS_MAX) this.#failSession(error)
  }

  #archived(): void {
    this.#backOff.reset()
    this.#recovered()
    this.#session?.roomFreed()
  }

  #recovered(): void {
    this.#isDoubtful = false
    if (this.#failingSince.size === 0) this.#trouble = undefined
  }
}

function keyOf(
  { archive, archiveFormat, archiveCompression }: ArchiverConfig,
  batch: Batch,
  nonce: string,
): string {
  const extension = extensionOf(archiveFormat, archiveCompression)
  return objectKey(archive.prefix, new Date(batch.receivedAt), nonce, extension)
}
