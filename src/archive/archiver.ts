/**
 * Keeps archiving going: asks the store whether it can be used, opens the log, then consumes, and after a failure
 * begins again, with back-off and jitter. While the store cannot be used nothing is consumed for long, so the events
 * of an outage stay in the queue.
 *
 * Two things run beside the session: one follows the log, so that this process knows what others archive and can
 * go on for them at once; one folds what the log has. Batches that are complete outlive a session.
 */

import { randomUUID } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import type { Config } from '../config/config.ts'
import type { IdIndex } from '../dedupe/id-index.ts'
import { LiveIds } from '../dedupe/live-ids.ts'
import { RecentLengths } from '../dedupe/recent-lengths.ts'
import { isRefusal, LogDamaged, LogRefused, StoreUnavailable } from '../errors.ts'
import { CommitLog } from '../log/commit-log.ts'
import { Folder } from '../log/folder.ts'
import { Forgotten } from '../log/forgotten.ts'
import { logKeys } from '../log/log-keys.ts'
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
import { ArchiveSession, type SessionConfig, type SessionParts } from './archive-session.ts'
import { ArchiveStats } from './archive-stats.ts'
import type { Batch } from './batch.ts'
import { Committer } from './committer.ts'
import { OldEvents } from './old-events.ts'

export type ArchiverConfig = SessionConfig & Pick<Config, 'dedupeWindowMs'>

/** How long a start waits for a store that says nothing. */
const FIRST_ANSWER_MS_MAX = 2_000
const RETRY_LIMITS = { msMin: 500, msMax: 30_000 }
/** Between looks for new records: while some come, and at rest. */
const FOLLOW_MS_MIN = 100
const FOLLOW_MS_MAX = 10_000
/** After this without a failure archiving has recovered, also where there was nothing to archive. */
const RECOVERED_MS = 60_000
/** So long batches may be kept from being committed, or settled, until what waits for them is left to others. */
const TROUBLE_MS_MAX = 20_000
const BATCH_LOST = 'A batch was lost in the store before it was an object: its events are archived again.'

/** What a batch goes through once it is complete. */
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
  readonly #forgotten: Forgotten
  readonly #folder: Folder
  readonly #totals: LogTotals
  readonly #watermark: Watermark
  readonly #sessionParts: SessionParts
  #session: ArchiveSession | undefined
  #running: Promise<unknown> = Promise.resolve()
  #trouble: string | undefined
  /** Since when each step fails, by a clock that does not step. */
  readonly #failingSince = new Map<Step, number>()
  /** The store says that it can be used, and could not: so only an object that is stored shows that it can. */
  #isDoubtful = false

  constructor(parts: ArchiverParts) {
    this.#parts = parts
    this.#trouble = `${parts.store.description} has not answered yet`
    const { store, index, config, log, queue } = parts
    const writer = randomUUID()
    const stopping = this.#stopping.signal
    // Each record that waits to be settled listens to it.
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
    this.#commitLog = new CommitLog(
      { ...logParts, writer, stopping },
      {
        applied: (record, isOwn) => this.#applied(record, isOwn),
        resumed: record => this.#resumed(record),
        resumedVoids: voids => this.#settlement.appliedVoids(voids),
        conflicted: () => this.#totals.conflicted(),
        otherWaits: (writer, roundTripMs) => this.#committer.otherWaits(writer, roundTripMs),
        unsettled: () => this.#settlement.unsettledNumbers,
        troubled: error => this.#troubled('commit', error),
        synchronised: isComplete => this.#committer.synchronised(isComplete),
      },
    )
    this.#settlement = new Settlement({
      store,
      reader,
      watermark,
      log,
      writer,
      stopping,
      voidBatch: (number, batch, isVoid) => this.#voidBatch(number, batch, isVoid),
      troubled: error => this.#troubled('settle', error),
      voided: () => this.#failSession(new StoreUnavailable(BATCH_LOST)),
    })
    this.#committer = new Committer({
      commitLog: this.#commitLog,
      settlement: this.#settlement,
      live,
      store,
      index,
      stats: this.stats,
      log,
      stopping,
      keyOf: (batch, nonce) => keyOf(config, batch, nonce),
      archived: () => this.#archived(),
      lost: () => this.#failSession(new StoreUnavailable(BATCH_LOST)),
      troubled: error => this.#troubled('commit', error),
    })
    this.#forgotten = new Forgotten({ index, reader, watermark, settlement: this.#settlement })
    this.#folder = new Folder({
      ...logParts,
      commitLog: this.#commitLog,
      settlement: this.#settlement,
      stopping,
    })
    this.#sessionParts = {
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
      oldEvents: new OldEvents({
        forgotten: this.#forgotten,
        index,
        store,
        log,
        freed: () => this.#session?.goOn(),
      }),
      config,
      lengths: new RecentLengths(),
      stats: this.stats,
      log,
    }
  }

  /** What keeps it from archiving now, in words for a person. */
  get trouble(): string | undefined {
    return this.#trouble
  }

  /** When the oldest event was received that it holds, in milliseconds since 1970; undefined where it holds none. */
  get oldestReceivedAt(): number | undefined {
    return this.#committer.oldest?.firstReceivedAt ?? this.#session?.oldestReceivedAt
  }

  /** Undefined until the log was open once. */
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

  /** Resolves when it archives, or has found that it cannot yet, or the store has said nothing for a while. */
  async start(): Promise<void> {
    this.#running = Promise.all([this.#run(), this.#follow()])
    await withTimeLimit(this.#begun.promise, FIRST_ANSWER_MS_MAX, () => {})
  }

  /** Takes no more deliveries, seals the open batch, and resolves when all batches are archived and acknowledged, or cannot be now. */
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
        hasAnswered = true
        await this.#archive()
      } catch (error) {
        this.#isDoubtful = hasAnswered
        this.stats.failures++
        this.#trouble = (error as Error).message
        this.#begun.resolve()
        const what = isRefusal(error) ? { reason: error.message } : { err: error }
        log.error(what, 'Archiving has stopped. What is not archived stays in the queue.')
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

  /** Knows soon what others archive, settles what they leave, and folds. What goes wrong is the session's to tell. */
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
        if (this.#forgotten.isStale) await this.#forgotten.refresh()
        await this.#folder.foldIfDue()
        await this.#totals.countUpTo(this.#commitLog.position?.number ?? 0)
      } catch (error) {
        ms = FOLLOW_MS_MAX
        log.debug({ err: error }, 'The log cannot be followed now.')
        if (error instanceof LogDamaged || error instanceof LogRefused) this.#failSession(error)
      }
    }
  }

  #applied(record: LogRecord, isOwn: boolean): void {
    this.#forgotten.applied(record)
    this.#totals.applied(record, isOwn)
    this.#committer.applied(record, isOwn)
  }

  #resumed(record: LogRecord): void {
    this.#forgotten.applied(record)
    this.#settlement.applied(record)
  }

  async #voidBatch(number: number, batch: number, isVoid: () => boolean): Promise<void> {
    await this.#commitLog.append(async () =>
      isVoid()
        ? undefined
        : { batches: [], voids: [{ number, batch }], done: this.#settlement.ownDone, waiting: false },
    )
  }

  #failSession(error: Error): void {
    this.#session?.fail(error)
  }

  #troubled(step: Step, error: Error | undefined): void {
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
    if (isFinal || now - since > TROUBLE_MS_MAX) this.#failSession(error)
  }

  #archived(): void {
    this.#backOff.reset()
    this.#recovered()
    this.#session?.goOn()
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
