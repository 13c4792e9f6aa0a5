/**
 * Commits complete batches to the log, and makes objects of them.
 *
 * When it is this writer's turn, all batches that are ready go into one record. First, each batch drops the events that
 * other writers have archived in the meantime. After a record was sent, its batches are not changed until it is known
 * which record has its number. So a batch outlives the session and the connection that its events came from.
 */

import type { IdIndex } from '../dedupe/id-index.ts'
import type { LiveIds } from '../dedupe/live-ids.ts'
import { StoreUnavailable } from '../errors.ts'
import { ID_BYTES } from '../event/message-id.ts'
import type { CommitLog, Draft, LogListener } from '../log/commit-log.ts'
import type { BatchDraft, LogRecord } from '../log/log-record.ts'
import type { Settlement } from '../log/settlement.ts'
import { WriterTurns } from '../log/writer-turns.ts'
import type { Logger } from '../process/logger.ts'
import { BackOff, sleep } from '../process/sleep.ts'
import type { ObjectStore } from '../store/store.ts'
import type { ArchiveStats } from './archive-stats.ts'
import type { Batch, DuplicateOf } from './batch.ts'

const RETRY_LIMITS = { msMin: 250, msMax: 10_000 }
/** Limits of one record. */
const RECORD_BATCHES_MAX = 64
const RECORD_BODY_BYTES_MAX = 16 * 1024 * 1024
/** How many small batches are staged at the same time when another writer becomes active. */
const STAGED_AT_ONCE = 16
/** Longest wait before the log is read again for the record of the writer before us. Time lost here is lost for all. */
const FOLLOW_MS = 25

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
  /** A batch was archived. There is room for another. */
  archived(): void
  /** Batches were dropped. Their deliveries must come again. */
  lost(): void
  /** @param error why a commit failed, which is retried; undefined when a commit has succeeded */
  retrying(error: Error | undefined): void
}

export class Committer implements Pick<LogListener, 'applied' | 'otherWaits' | 'synchronised'> {
  readonly #parts: CommitterParts
  readonly #turns = new WriterTurns()
  /** Batches that are not committed, oldest first. */
  readonly #sealed = new Set<Batch>()
  /** The settlements of records that are committed. */
  readonly #settling = new Set<Promise<void>>()
  /** All batches that were added and are not archived, oldest first. */
  readonly #unfinished = new Set<Batch>()
  /** Of the unfinished batches, before compression. */
  #bytes = 0
  /** Batches in a record that was sent, while it is not known whether that record has its number. */
  readonly #inDoubt = new Set<Batch>()
  /** For each batch, where the events are archived that it dropped as duplicates. */
  readonly #dropped = new Map<Batch, DuplicateOf[]>()
  #committing: Promise<void> | undefined
  /** Ends the wait for our turn: aborted when a record of another writer is applied, or when stopping. */
  #turnWait = new AbortController()

  constructor(parts: CommitterParts) {
    this.#parts = parts
    parts.stopping.addEventListener('abort', () => this.#turnWait.abort())
  }

  /** How many batches were added and are not archived. */
  get size(): number {
    return this.#unfinished.size
  }

  /** The bytes of these batches, before compression. */
  get bytes(): number {
    return this.#bytes
  }

  /** Whether other archivers have committed in the last few seconds. */
  get isShared(): boolean {
    return this.#turns.hasActiveOthers(performance.now())
  }

  get oldest(): Batch | undefined {
    const [oldest] = this.#unfinished
    return oldest
  }

  /** Adds a batch whose content is complete. */
  add(batch: Batch): void {
    this.#sealed.add(batch)
    this.#unfinished.add(batch)
    this.#bytes += batch.bytes
    this.#committing ??= this.#commitAll()
  }

  /** Resolves when all added batches are archived; when stopping, also if an attempt has failed. */
  async idle(): Promise<void> {
    while (this.#committing !== undefined || this.#settling.size > 0) {
      await this.#committing
      await Promise.all(this.#settling)
    }
  }

  /** Marks the events of our batches that are in the record of another writer as duplicates. */
  applied(record: LogRecord, isOwn: boolean): void {
    const { settlement, live } = this.#parts
    settlement.applied(record)
    if (isOwn) return
    this.#turns.otherCommitted(record.writer, record.roundTripMs, performance.now())
    this.#turnWait.abort()
    for (const batch of live.owners) batch.unmarkVoid(each => each !== undefined && settlement.isVoid(each))
    for (const [n, { ids }] of record.batches.entries()) {
      for (let at = 0; at < ids.length; at += ID_BYTES) {
        const place = live.find(ids, at)
        place?.owner.markDuplicate(place.event, { number: record.number, batch: n })
      }
    }
  }

  otherWaits(writer: string, roundTripMs: number): void {
    this.#turns.otherWaits(writer, roundTripMs, performance.now())
  }

  /** @param isComplete false if the index may have forgotten ids of records that were new to this process */
  synchronised(isComplete: boolean): void {
    const { live, index } = this.#parts
    const { remembersFrom } = index
    for (const batch of live.owners) {
      const { ids } = batch
      for (let at = 0; at < ids.length; at += ID_BYTES)
        if (index.has(ids, at)) batch.markDuplicate(at / ID_BYTES, undefined)
    }
    if (!isComplete || index.remembersFrom !== remembersFrom) this.#dropAll()
  }

  /** Our events may be archived under ids that the index has forgotten. They must come again, to be looked up. */
  #dropAll(): void {
    for (const batch of [...this.#sealed]) {
      this.#sealed.delete(batch)
      this.#forget(batch)
    }
    this.#parts.lost()
  }

  async #commitAll(): Promise<void> {
    const { commitLog, stopping, log, retrying } = this.#parts
    const backOff = new BackOff(RETRY_LIMITS)
    // `#committing` is cleared in the same turn in which the loop ends. Later, `add` could miss it and start no new loop.
    while (this.#sealed.size > 0) {
      let taken: Batch[] = []
      try {
        await this.#stageSmall()
        await this.#waitForTurn()
        const record = await commitLog.append(async () => {
          taken = this.#isOwnTurn || stopping.aborted ? await this.#readyBatches() : []
          return taken.length === 0 ? undefined : this.#draftOf(taken)
        })
        if (record !== undefined) this.#committed(taken, record)
        backOff.reset()
        retrying(undefined)
      } catch (error) {
        for (const batch of taken) this.#inDoubt.add(batch)
        log.warn({ err: error }, 'Batches cannot be committed now. Trying again.')
        retrying(error as Error)
        if (stopping.aborted) break
        await backOff.pause(stopping)
      }
    }
    this.#committing = undefined
  }

  get #isOwnTurn(): boolean {
    return this.#turns.waitMs(performance.now()) === 0
  }

  /**
   * Whether small batches are staged before they are committed. With other active writers, object bytes in a record
   * would delay the others, and would be sent in vain if another record takes the number.
   */
  get #isStagedFirst(): boolean {
    return this.isShared && !this.#parts.stopping.aborted
  }

  /** Stages the small batches that were sealed while no other writer was active. */
  async #stageSmall(): Promise<void> {
    if (!this.#isStagedFirst) return
    const inMemory = [...this.#sealed].filter(({ content }) => content?.body !== undefined)
    const stage = async (batch: Batch): Promise<void> => {
      await batch.stage()
      const staged = batch.content?.staged
      if (staged !== undefined && !this.#sealed.has(batch)) this.#removeStaged(staged)
    }
    const results = await Promise.allSettled(inMemory.slice(0, STAGED_AT_ONCE).map(stage))
    for (const result of results) if (result.status === 'rejected') throw result.reason
  }

  /** Waits for our turn, and applies the records of others: a create at a number that is taken would cost more. */
  async #waitForTurn(): Promise<void> {
    const { commitLog } = this.#parts
    while (this.#isStagedFirst) {
      this.#turnWait = new AbortController()
      const { signal } = this.#turnWait
      const ms = this.#turns.waitMs(performance.now())
      if (ms > 0) await sleep(Math.min(ms, FOLLOW_MS), signal)
      if (!signal.aborted) await commitLog.follow()
      if (this.#isOwnTurn) return
    }
  }

  /** @returns the batches for the next record, without the events that others have archived */
  async #readyBatches(): Promise<Batch[]> {
    const ready: Batch[] = []
    let bytes = 0
    for (const batch of [...this.#sealed]) {
      if (batch.hasDuplicates && !(await this.#dropDuplicates(batch))) continue
      const { content } = batch
      const isToBeStaged = content?.body !== undefined && this.#isStagedFirst
      if (content === undefined || isToBeStaged) continue
      bytes += content.body?.length ?? 0
      if (ready.length > 0 && (ready.length === RECORD_BATCHES_MAX || bytes > RECORD_BODY_BYTES_MAX)) break
      ready.push(batch)
    }
    return ready
  }

  /** @returns false if the batch is not to be committed: no event is left in it, or its staged object is lost */
  async #dropDuplicates(batch: Batch): Promise<boolean> {
    const { live, stats } = this.#parts
    const rebuilt = await batch.dropDuplicates().catch(error => this.#dropLost(batch, error))
    if (rebuilt === undefined) return false
    const { dropped, staged } = rebuilt
    stats.duplicates += dropped.length
    this.#dropped.set(batch, [...(this.#dropped.get(batch) ?? []), ...dropped])
    live.remove(batch)
    const { ids } = batch
    for (let at = 0; at < ids.length; at += ID_BYTES) live.add(ids, at, batch, at / ID_BYTES)
    if (staged !== undefined && !this.#inDoubt.has(batch)) this.#removeStaged(staged)
    if (batch.content !== undefined) return true
    this.#sealed.delete(batch)
    this.#finish(batch)
    return false
  }

  #removeStaged(key: string): void {
    const { store, log } = this.#parts
    store
      .remove([key])
      .catch(error => log.debug({ err: error, key }, 'A staged object could not be removed.'))
  }

  /** Drops a batch whose staged object is lost. @throws StoreUnavailable if the object may be readable later */
  #dropLost(batch: Batch, error: unknown): undefined {
    if (error instanceof StoreUnavailable) throw error
    this.#parts.log.error(
      { err: error },
      'A staged object is lost. Its events are redelivered and archived again.',
    )
    this.#sealed.delete(batch)
    this.#forget(batch)
    this.#parts.lost()
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

  /** @returns whether all batches are objects; undefined if that was not known when stopping */
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

  /**
   * Releases the deliveries of a batch whose object is stored, or that has no events left. They also wait for the
   * unsettled records that have the events which the batch dropped as duplicates.
   */
  #finish(batch: Batch): void {
    const { settlement, archived } = this.#parts
    const dropped = this.#dropped.get(batch) ?? []
    this.#forget(batch)
    if (dropped.some(each => each !== undefined && settlement.isVoid(each))) {
      this.#parts.lost()
      return
    }
    const unsettled = new Set(dropped.flatMap(each => (each && settlement.recordOf(each.number)) ?? []))
    for (const pending of batch.waiters) {
      for (const record of unsettled) {
        pending.waitForOneMore()
        settlement.whenSettled(record, () => pending.oneDone())
      }
      pending.oneDone()
    }
    batch.waiters.length = 0
    archived()
  }

  #forget(batch: Batch): void {
    if (this.#unfinished.delete(batch)) this.#bytes -= batch.bytes
    this.#inDoubt.delete(batch)
    this.#dropped.delete(batch)
    this.#parts.live.remove(batch)
  }
}
