/**
 * Takes sealed batches into the log, and makes objects of them.
 *
 * What is sealed waits until its content is complete; then all that are ready go into one record, in their turn
 * among the archive's writers. Before that they lose the events that others have archived meanwhile. Once a
 * record was sent its batches stay as they are until it is seen whose number it is; so batches outlive the session,
 * and the connection, that their events came by.
 */

import type { IdIndex } from '../dedupe/id-index.ts'
import type { LiveIds } from '../dedupe/live-ids.ts'
import { StoreUnavailable } from '../errors.ts'
import { ID_BYTES } from '../event/message-id.ts'
import type { CommitLog, Draft, LogListener } from '../log/commit-log.ts'
import type { BatchDraft, LogRecord } from '../log/log-record.ts'
import type { Settlement } from '../log/settlement.ts'
import { Turns } from '../log/writer-turns.ts'
import type { Logger } from '../process/logger.ts'
import { BackOff, sleep } from '../process/sleep.ts'
import type { ObjectStore } from '../store/store.ts'
import type { ArchiveStats } from './archive-stats.ts'
import type { Batch, KnownIn } from './batch.ts'

const RETRY_LIMITS = { msMin: 250, msMax: 10_000 }
/** What one record takes. */
const RECORD_BATCHES_MAX = 64
const RECORD_BODY_BYTES_MAX = 16 * 1024 * 1024
/** What was sealed before others were at work is staged by so many at once. */
const STAGED_AT_ONCE = 16
/** Between looks for the record of the one before us: what passes unseen is lost to all. */
const LOOK_MS = 25

export interface CommitterParts {
  readonly commitLog: Pick<CommitLog, 'append' | 'follow'>
  readonly settlement: Settlement
  readonly live: LiveIds<Batch>
  readonly store: ObjectStore
  readonly index: Pick<IdIndex, 'has' | 'remembersFrom'>
  readonly stats: ArchiveStats
  readonly log: Logger
  readonly stopping: AbortSignal
  keyOf(batch: Batch, nonce: string): string
  /** A batch is archived: there is room for another. */
  archived(): void
  /** Events were in batches that are given up: they have to come again. */
  lost(): void
  /** @param error what keeps batches from being committed now; undefined where nothing does */
  troubled(error: Error | undefined): void
}

export class Committer implements Pick<LogListener, 'applied' | 'otherWaits' | 'synchronised'> {
  readonly #parts: CommitterParts
  readonly #turns = new Turns()
  /** Sealed, in no record that counts; oldest first. */
  readonly #sealed = new Set<Batch>()
  /** Records whose batches are not yet objects. */
  readonly #settling = new Set<Promise<void>>()
  /** All that were added and are not archived, oldest first. */
  readonly #unfinished = new Set<Batch>()
  #bytes = 0
  /** Of these, batches that a record names which was sent, and of which it was not seen whose number it is. */
  readonly #undecided = new Set<Batch>()
  /** Where the events are that a batch has lost to others. */
  readonly #awaited = new Map<Batch, KnownIn[]>()
  #committing: Promise<void> | undefined
  /** While our turn is waited for: aborted when another's record is seen, or once stopping. */
  #waiting = new AbortController()

  constructor(parts: CommitterParts) {
    this.#parts = parts
    parts.stopping.addEventListener('abort', () => this.#waiting.abort())
  }

  /** Batches that are sealed and not archived. */
  get size(): number {
    return this.#unfinished.size
  }

  /** Of these, before compression. */
  get bytes(): number {
    return this.#bytes
  }

  /** Other archivers have committed of late. */
  get isShared(): boolean {
    return this.#turns.areOthersAtWork(performance.now())
  }

  get oldest(): Batch | undefined {
    const [oldest] = this.#unfinished
    return oldest
  }

  /** To be called for a batch whose content is complete. */
  add(batch: Batch): void {
    this.#sealed.add(batch)
    this.#unfinished.add(batch)
    this.#bytes += batch.bytes
    this.#committing ??= this.#commitAll()
  }

  /** Resolves when all that was added is archived, or, once stopping, cannot be now. */
  async idle(): Promise<void> {
    while (this.#committing !== undefined || this.#settling.size > 0) {
      await this.#committing
      await Promise.all(this.#settling)
    }
  }

  /** Marks what is ours, and in somebody else's record. */
  applied(record: LogRecord, isOwn: boolean): void {
    const { settlement, live } = this.#parts
    settlement.applied(record)
    if (isOwn) return
    this.#turns.otherSeen(record.writer, record.roundTripMs, performance.now())
    this.#waiting.abort()
    for (const batch of live.owners) batch.unmark(known => known !== undefined && settlement.isVoid(known))
    for (const [n, { ids }] of record.batches.entries()) {
      for (let at = 0; at < ids.length; at += ID_BYTES) {
        const place = live.find(ids, at)
        place?.owner.markKnown(place.event, { number: record.number, batch: n })
      }
    }
  }

  otherWaits(writer: string, roundTripMs: number): void {
    this.#turns.otherWaits(writer, roundTripMs, performance.now())
  }

  /** @param isComplete whether the index remembers all that came since it was last asked */
  synchronised(isComplete: boolean): void {
    const { live, index } = this.#parts
    const { remembersFrom } = index
    for (const batch of live.owners) {
      const { ids } = batch
      for (let at = 0; at < ids.length; at += ID_BYTES)
        if (index.has(ids, at)) batch.markKnown(at / ID_BYTES, undefined)
    }
    if (!isComplete || index.remembersFrom !== remembersFrom) this.#abandon()
  }

  /** What is in batches may be archived, and forgotten: all of it has to come again, and to be looked up. */
  #abandon(): void {
    for (const batch of [...this.#sealed]) {
      this.#sealed.delete(batch)
      this.#forget(batch)
    }
    this.#parts.lost()
  }

  async #commitAll(): Promise<void> {
    const { commitLog, stopping, log, troubled } = this.#parts
    const backOff = new BackOff(RETRY_LIMITS)
    // Not in a `finally` of the caller: what is added in between would wait for the next batch.
    while (this.#sealed.size > 0) {
      let taken: Batch[] = []
      try {
        await this.#stageSmall()
        await this.#ownTurn()
        const record = await commitLog.append(async () => {
          taken = this.#isOwnTurn || stopping.aborted ? await this.#readyBatches() : []
          return taken.length === 0 ? undefined : this.#draftOf(taken)
        })
        if (record !== undefined) this.#committed(taken, record)
        backOff.reset()
        troubled(undefined)
      } catch (error) {
        for (const batch of taken) this.#undecided.add(batch)
        log.warn({ err: error }, 'Batches cannot be committed now; trying again.')
        troubled(error as Error)
        if (stopping.aborted) break
        await backOff.pause(stopping)
      }
    }
    this.#committing = undefined
  }

  get #isOwnTurn(): boolean {
    return this.#turns.waitMs(performance.now()) === 0
  }

  /** Whether bytes in a record would hold others up, and be sent for nothing where one of them has its number. */
  get #isStagedFirst(): boolean {
    return this.isShared && !this.#parts.stopping.aborted
  }

  /** Stages what was sealed when nobody else was at work. */
  async #stageSmall(): Promise<void> {
    const { store, log } = this.#parts
    if (!this.#isStagedFirst) return
    const inMemory = [...this.#sealed].filter(({ content }) => content?.body !== undefined)
    const stage = async (batch: Batch): Promise<void> => {
      await batch.stage()
      const staged = batch.content?.staged
      if (staged === undefined || this.#sealed.has(batch)) return
      store.remove([staged]).catch(error => log.debug({ err: error }, 'A staged object was left.'))
    }
    const results = await Promise.allSettled(inMemory.slice(0, STAGED_AT_ONCE).map(stage))
    for (const result of results) if (result.status === 'rejected') throw result.reason
  }

  /** Waits for our turn, and knows then what others have committed: a create at a number that is taken costs more. */
  async #ownTurn(): Promise<void> {
    const { commitLog } = this.#parts
    while (this.#isStagedFirst) {
      this.#waiting = new AbortController()
      const { signal } = this.#waiting
      const ms = this.#turns.waitMs(performance.now())
      if (ms > 0) await sleep(Math.min(ms, LOOK_MS), signal)
      if (!signal.aborted) await commitLog.follow()
      if (this.#isOwnTurn) return
    }
  }

  /** Those that go into the next record, without what others have archived. */
  async #readyBatches(): Promise<Batch[]> {
    const ready: Batch[] = []
    let bytes = 0
    for (const batch of [...this.#sealed]) {
      if (batch.hasKnown && !(await this.#dropKnown(batch).catch(error => this.#lose(batch, error)))) continue
      const { content } = batch
      const isToBeStaged = content?.body !== undefined && this.#isStagedFirst
      if (content === undefined || isToBeStaged) continue
      bytes += content.body?.length ?? 0
      if (ready.length > 0 && (ready.length === RECORD_BATCHES_MAX || bytes > RECORD_BODY_BYTES_MAX)) break
      ready.push(batch)
    }
    return ready
  }

  /** @returns false where the batch is not there any more */
  async #dropKnown(batch: Batch): Promise<boolean> {
    const { live, stats, store, log } = this.#parts
    const { dropped, staged } = await batch.dropKnown()
    stats.duplicates += dropped.length
    this.#awaited.set(batch, [...(this.#awaited.get(batch) ?? []), ...dropped])
    live.remove(batch)
    const { ids } = batch
    for (let at = 0; at < ids.length; at += ID_BYTES) live.add(ids, at, batch, at / ID_BYTES)
    if (staged !== undefined && !this.#undecided.has(batch))
      store.remove([staged]).catch(error => log.debug({ err: error }, 'A staged object was left.'))
    if (batch.content !== undefined) return true
    this.#sealed.delete(batch)
    this.#finish(batch)
    return false
  }

  /** @returns false; @throws StoreUnavailable: what is staged may be there later */
  #lose(batch: Batch, error: unknown): false {
    if (error instanceof StoreUnavailable) throw error
    this.#parts.log.error({ err: error }, 'What was staged is lost: its events are archived again.')
    this.#sealed.delete(batch)
    this.#forget(batch)
    this.#parts.lost()
    return false
  }

  #draftOf(batches: readonly Batch[]): Draft {
    return {
      batches: batches.map(batch => this.#batchDraftOf(batch)),
      voids: [],
      done: this.#parts.settlement.ownDone,
      waiting: this.#sealed.size > batches.length,
    }
  }

  #batchDraftOf(batch: Batch): BatchDraft {
    const { nonce, sha256, storedBytes, body, staged } = batch.content as NonNullable<Batch['content']>
    const { events, bytes, firstReceivedAt, lastReceivedAt, ids } = batch
    const key = this.#parts.keyOf(batch, nonce)
    const draft = { key, sha256, storedBytes, events, bytes, firstReceivedAt, lastReceivedAt, ids, body }
    return staged === undefined ? draft : { ...draft, staged }
  }

  #committed(batches: readonly Batch[], record: LogRecord): void {
    this.#turns.committed(performance.now())
    for (const batch of batches) this.#sealed.delete(batch)
    const settling = this.#settle(batches, record).finally(() => this.#settling.delete(settling))
    this.#settling.add(settling)
  }

  async #settle(batches: readonly Batch[], record: LogRecord): Promise<void> {
    const { log, stats } = this.#parts
    const isWhole = await this.#settleOwn(batches, record)
    if (isWhole === undefined) return
    if (!isWhole) {
      for (const batch of batches) this.#forget(batch)
      this.#parts.lost()
      return
    }
    for (const [n, batch] of batches.entries()) {
      const { key, storedBytes, events, bytes } = record.batches[n] as LogRecord['batches'][number]
      const { reason } = batch
      const ms = performance.now() - batch.sealedAt
      stats.stored({ key, events, bytes, storedBytes, reason, at: Date.now() }, ms)
      batch.archived(key)
      log.info({ key, events, bytes, reason, record: record.number, ms: Math.round(ms) }, 'Batch archived.')
      this.#finish(batch)
    }
  }

  /** @returns whether all are objects; undefined where that is not known before the end */
  async #settleOwn(batches: readonly Batch[], record: LogRecord): Promise<boolean | undefined> {
    const { settlement, stopping, log } = this.#parts
    const bodies = batches.map(({ content }) => content?.body)
    const backOff = new BackOff(RETRY_LIMITS)
    for (;;) {
      try {
        return await settlement.settleOwn(record, bodies)
      } catch (error) {
        log.warn({ err: error, record: record.number }, 'Objects cannot be stored now.')
        if (stopping.aborted) return undefined
      }
      await backOff.pause(stopping)
    }
  }

  /** Its events are in objects, here or as soon as those records are settled that it waits for. */
  #finish(batch: Batch): void {
    const { settlement, archived } = this.#parts
    const known = this.#awaited.get(batch) ?? []
    this.#forget(batch)
    if (known.some(each => each !== undefined && settlement.isVoid(each))) {
      this.#parts.lost()
      return
    }
    const awaited = new Set(known.flatMap(each => (each && settlement.recordOf(each.number)) ?? []))
    for (const pending of batch.waiters) {
      for (const record of awaited) {
        pending.waitForOneMore()
        settlement.whenSettled(record, () => pending.arrived())
      }
      pending.arrived()
    }
    batch.waiters.length = 0
    archived()
  }

  #forget(batch: Batch): void {
    if (this.#unfinished.delete(batch)) this.#bytes -= batch.bytes
    this.#undecided.delete(batch)
    this.#awaited.delete(batch)
    this.#parts.live.remove(batch)
  }
}
