/**
 * The log of an archive, as one process reads and writes it.
 *
 *   closed ──(open)──► open ──(an error)──► closed …
 *
 * Open: all records up to the index's position are applied, and whoever listens has been told of each. One
 * thing is done at a time: opening, following, or appending.
 *
 * Why it is exact is in docs/decisions/0005-one-log.md.
 */

import { randomUUID } from 'node:crypto'
import type { LogPosition, VoidBatch } from '../dedupe/id-index.ts'
import { LogDamaged, LogRefused, StoreUnavailable } from '../errors.ts'
import { DIGEST_VERSION } from '../event/message-id.ts'
import { BackOff } from '../process/sleep.ts'
import type { StoreDate } from '../store/store.ts'
import { recordNumber } from './log-keys.ts'
import { type BatchDraft, type EncodedRecord, encodeRecord, type LogRecord, wasStored } from './log-record.ts'
import { type LogParts, resetIfOtherHistory, rootOf, rootRecord, synchronise } from './log-sync.ts'
import { READS_AHEAD_MAX, RecordsAhead } from './records-ahead.ts'

/** How often a create whose outcome is not known is tried again. */
const PLACE_LIMITS = { msMin: 50, msMax: 5_000 }
/** The hint of the head is written once in so many records of ours, or so much time. */
const HINT_RECORDS = 100
const HINT_MS = 60 * 60 * 1000
/** A writer that has lost for so long says so, and says it again; writers that commit look as often. */
const WAITING_MS = 2_000
/** For so long it counts, by the store's clock. */
const WAITING_FRESH_MS = 10_000
/** Weight of the newest create in the measured time of a round trip. */
const ROUND_TRIP_WEIGHT = 0.2

/** What goes into a record besides what the log says of itself. */
export interface Draft {
  readonly batches: readonly BatchDraft[]
  readonly voids: LogRecord['voids']
  readonly done: number
  readonly waiting: boolean
}

export interface LogListener {
  /** A record is known from now on. @param isOwn this process has just appended it */
  applied(record: LogRecord, isOwn: boolean): void
  /** A record was applied in an earlier life of this process, and may not be settled. */
  resumed(record: LogRecord): void
  /** These were applied in an earlier life as well. */
  resumedVoids(voids: readonly VoidBatch[]): void
  /** Numbers of the records that were applied and are not known to be settled, ascending. */
  unsettled(): readonly number[]
  /** A record was sent, and it is not known what became of it: it is tried again. */
  retrying(error: Error): void
  /** Another has the number that was tried for. */
  conflicted(): void
  /** Another writer says that it has lost for long. */
  otherWaits(writer: string, roundTripMs: number): void
  /**
   * The index was read anew: whatever was looked up before has to be looked up again.
   *
   * @param isComplete false where ids may be forgotten of records that this process had not applied
   */
  synchronised(isComplete: boolean): void
}

export interface CommitLogParts extends LogParts {
  /** Of this process, in this life. */
  readonly writer: string
  /** Once aborted, nothing is tried again. */
  readonly stopping: AbortSignal
}

export class CommitLog {
  readonly #parts: CommitLogParts
  readonly #listener: LogListener
  #root: LogRecord | undefined
  #wasOpen = false
  #busy: Promise<unknown> = Promise.resolve()
  /** How long a create takes of late. */
  #roundTripMs = 0
  /** The last record that this process was told of in this life, or that its index had. */
  #appliedThrough = 0
  /** Up to this record, voids whose ids are not to be had are no matter: the index was made anew since. */
  #rebuiltFor = 0
  /** Since when each number was another's. */
  #lostSince: number | undefined
  #announcedAt = Number.NEGATIVE_INFINITY
  #lookedForWaitingAt = Number.NEGATIVE_INFINITY
  #hintedNumber = 0
  #hintedAt = Number.NEGATIVE_INFINITY

  constructor(parts: CommitLogParts, listener: LogListener) {
    this.#parts = parts
    this.#listener = listener
  }

  /** The last record that is applied; undefined until the log was open once. */
  get position(): LogPosition | undefined {
    return this.#parts.index.position
  }

  /**
   * Applies all records that there are.
   *
   * @returns how many were new
   * @throws StoreUnavailable, LogDamaged, LogRefused, or what the disk of the index says
   */
  follow(): Promise<number> {
    return this.#exclusively(() => this.#followToEnd())
  }

  /**
   * Appends a record.
   *
   * @param draft asked for what to append, each time that all records before it are applied; where it gives
   * nothing, nothing is appended
   * @returns the record, once it is applied; undefined where there was nothing to append
   * @throws StoreUnavailable, LogDamaged, LogRefused, or what the disk of the index says: nothing was sent, or, once
   * stopping, what was sent may still become a record
   */
  append(draft: () => Promise<Draft | undefined>): Promise<LogRecord | undefined> {
    return this.#exclusively(async () => {
      for (;;) {
        await this.#parts.index.ready()
        const content = await draft()
        if (content === undefined) return undefined
        const own = this.#encode(content)
        const placed = await this.#place(own)
        if (placed === undefined) {
          await this.#synchronise()
          continue
        }
        await this.#apply(placed.record, placed.storedAt, placed.record.nonce === own.record.nonce)
        if (placed.record.nonce === own.record.nonce) {
          this.#lostSince = undefined
          // Not waited for: it is a hint, and its batches are to become objects.
          void this.#lookForWaiting()
          return placed.record
        }
        this.#listener.conflicted()
        await this.#announceWaiting()
        await this.#followToEnd()
      }
    })
  }

  async #exclusively<T>(work: () => Promise<T>): Promise<T> {
    const before = this.#busy
    const done = before.then(async () => {
      try {
        await this.#open()
        return await work()
      } catch (error) {
        // What the store is said to hold, and what is known here, may differ: the next one looks anew.
        if (!(error instanceof StoreUnavailable)) this.#root = undefined
        throw error
      }
    })
    this.#busy = done.catch(() => {})
    return done
  }

  async #open(): Promise<void> {
    if (this.#root !== undefined) return
    const { index, reader, watermark, writer, log } = this.#parts
    const root = await rootOf(this.#parts, () => rootRecord(randomUUID(), writer))
    // Before the end is looked for: what is hinted at afterwards may be newer than that look.
    const hinted = Math.max(await reader.hintedHead(), await this.#lastListed())
    await watermark.look()
    const wasEmpty = index.position === undefined
    this.#appliedThrough = Math.max(this.#appliedThrough, index.position?.number ?? 0)
    const isForgotten = await resetIfOtherHistory(this.#parts, root)
    if (wasEmpty || isForgotten || (index.position?.number ?? 0) < watermark.number)
      await this.#synchronise(root)
    if (!this.#wasOpen) await this.#resume()
    this.#wasOpen = true
    await this.#followToEnd(root)
    const number = this.position?.number ?? 0
    if (hinted > number)
      throw new LogRefused(
        `The log ends at record ${number}, and had ${hinted}: something deletes below _frequency/ in the bucket (a lifecycle rule?). Restore what is missing, or see "frequency log repair --help".`,
      )
    this.#root = root
    log.debug({ position: this.position, watermark: watermark.number }, 'The log is open.')
  }

  /** The highest number that is listed: behind a gap nobody would come to it by walking. */
  async #lastListed(): Promise<number> {
    const { store, keys } = this.#parts
    let last = 0
    for await (const key of store.list(keys.records)) last = Math.max(last, recordNumber(keys, key) ?? 0)
    return last
  }

  /** What an earlier life has applied and did not know to be settled. */
  async #resume(): Promise<void> {
    const { reader, watermark } = this.#parts
    const { unsettled = [], voids = [] } = this.position ?? {}
    const numbers = unsettled.filter(number => number > watermark.number)
    for (let at = 0; at < numbers.length; at += READS_AHEAD_MAX) {
      const some = numbers.slice(at, at + READS_AHEAD_MAX)
      const answers = await Promise.all(some.map(number => reader.record(number)))
      for (const { record } of answers)
        if (record !== undefined) this.#listener.resumed({ ...record, voids: [] })
    }
    this.#listener.resumedVoids(voids)
  }

  async #synchronise(root = this.#root): Promise<void> {
    if (root === undefined) throw new LogRefused('The log is not open.')
    const { index } = this.#parts
    const applied = this.#appliedThrough
    await synchronise(this.#parts, root)
    this.#appliedThrough = this.position?.number ?? 0
    this.#listener.synchronised(index.remembersFrom <= applied + 1)
  }

  async #followToEnd(root = this.#root): Promise<number> {
    const { index, watermark } = this.#parts
    const ahead = new RecordsAhead(number => this.#read(number))
    try {
      for (let applied = 0; ; ) {
        const number = (this.position?.number ?? 0) + 1
        const { record, storedAt, date } = await ahead.answer(number)
        if (!(await watermark.counts(number, date))) {
          await this.#synchronise(root)
          continue
        }
        if (record === undefined) return applied
        await index.ready()
        await this.#apply(record, storedAt, false)
        applied++
      }
    } finally {
      await ahead.settled()
    }
  }

  /** What cannot be read is no matter where it is folded. */
  async #read(number: number) {
    try {
      return await this.#parts.reader.record(number)
    } catch (error) {
      if (error instanceof LogDamaged) {
        await this.#parts.watermark.look()
        if (number <= this.#parts.watermark.number) return { record: undefined, storedAt: 0, date: undefined }
      }
      throw error
    }
  }

  async #apply(record: LogRecord, storedAt: number, isOwn: boolean): Promise<void> {
    const { index, watermark } = this.#parts
    const { number, hash, log, previous, batches } = record
    if (log !== this.position?.log) throw new LogDamaged(number, 'it is of another log')
    if (previous !== this.position.hash) throw new LogDamaged(number, 'it names another predecessor')
    const voids = await this.#removeVoidIds(record)
    const ids =
      batches.length === 1 ? (batches[0] as BatchDraft).ids : Buffer.concat(batches.map(each => each.ids))
    const before = this.#listener.unsettled().filter(each => each < number)
    const unsettled = wasStored(batches) ? before : [...before, number]
    const earlierVoids = (this.position.voids ?? []).filter(each => each.number > watermark.number)
    const allVoids = [...earlierVoids, ...voids]
    index.add(
      ids,
      { from: number, through: number, storedAt },
      { log, number, hash, unsettled, voids: allVoids },
    )
    this.#appliedThrough = number
    this.#listener.applied({ ...record, voids }, isOwn)
  }

  /**
   * Has the index forget the ids of batches that a record makes void.
   *
   * @returns those voids that mean batches as they are now
   * @throws StoreUnavailable where the ids are not to be had: the index is made anew from what the log says now
   */
  async #removeVoidIds({ number, voids }: LogRecord): Promise<VoidBatch[]> {
    const { index, reader } = this.#parts
    const meant: VoidBatch[] = []
    for (const each of voids) {
      const batch = (await reader.record(each.number)).record?.batches[each.batch]
      // The record was repaired since: it names other batches, which are objects.
      const isOther = batch?.isStored === true
      if (!isOther) meant.push(each)
      if (batch !== undefined && !isOther) await index.remove(batch.ids)
      else if (number > this.#rebuiltFor) {
        await index.reset(0)
        this.#root = undefined
        this.#rebuiltFor = number
        throw new StoreUnavailable(
          `What was void of log record ${each.number} is not in it any more: the index is made anew.`,
        )
      }
    }
    return meant
  }

  #encode(draft: Draft): EncodedRecord {
    const { position } = this
    if (position === undefined) throw new LogRefused('The log is not open.')
    return encodeRecord({
      ...draft,
      log: position.log,
      number: position.number + 1,
      previous: position.hash,
      nonce: randomUUID(),
      writer: this.#parts.writer,
      roundTripMs: Math.round(this.#roundTripMs),
      digest: DIGEST_VERSION,
    })
  }

  /**
   * Sends the record until it is seen who has its number. The bytes are the same each time: one that was sent
   * may take effect whenever it likes.
   *
   * @returns the record of that number; undefined where that is folded, and so no record
   * @throws StoreUnavailable once stopping
   */
  async #place({
    bytes,
    record,
  }: EncodedRecord): Promise<{ record: LogRecord; storedAt: number } | undefined> {
    const { store, keys, reader, watermark, stopping } = this.#parts
    const backOff = new BackOff(PLACE_LIMITS)
    const key = keys.record(record.number)
    for (;;) {
      try {
        const sentAt = performance.now()
        const { outcome, date } = await store.create(key, bytes)
        this.#measure(performance.now() - sentAt)
        if (outcome === 'created') {
          if (await watermark.counts(record.number, date)) return this.#placed(record, date)
          return undefined
        }
        const found = await reader.record(record.number)
        if (!(await watermark.counts(record.number, found.date))) return undefined
        if (found.record !== undefined) return { record: found.record, storedAt: found.storedAt }
      } catch (error) {
        // Also what only a person can mend: until then it is not known whose number it is.
        if (stopping.aborted) throw error
        this.#listener.retrying(error as Error)
      }
      await backOff.pause(stopping)
    }
  }

  #placed(record: LogRecord, date: StoreDate): { record: LogRecord; storedAt: number } {
    this.#hint(record.number)
    return { record, storedAt: date ?? Date.now() }
  }

  /** Who is slow loses to who is fast, and is not seen in the log: so it says elsewhere that it waits. It is a hint. */
  async #announceWaiting(): Promise<void> {
    const now = performance.now()
    this.#lostSince ??= now
    if (now - this.#lostSince < WAITING_MS || now - this.#announcedAt < WAITING_MS) return
    this.#announcedAt = now
    const { store, keys, writer, log } = this.#parts
    const hint = { writer, roundTripMs: Math.round(this.#roundTripMs) }
    await store
      .replace(keys.waiting, Buffer.from(JSON.stringify(hint)))
      .catch(error => log.debug({ err: error }, 'The hint that this archiver waits was not written.'))
  }

  async #lookForWaiting(): Promise<void> {
    const now = performance.now()
    if (now - this.#lookedForWaitingAt < WAITING_MS) return
    this.#lookedForWaitingAt = now
    const { reader, writer, log } = this.#parts
    try {
      const waiting = await reader.waiting(WAITING_FRESH_MS)
      if (waiting !== undefined && waiting.writer !== writer)
        this.#listener.otherWaits(waiting.writer, waiting.roundTripMs)
    } catch (error) {
      log.debug({ err: error }, 'It was not seen whether another archiver waits.')
    }
  }

  #measure(ms: number): void {
    this.#roundTripMs += (ms - this.#roundTripMs) * (this.#roundTripMs === 0 ? 1 : ROUND_TRIP_WEIGHT)
  }

  /** A later start sees by it that records are missing at the end. Not waited for: it is a hint. */
  #hint(number: number): void {
    const now = performance.now()
    if (number - this.#hintedNumber < HINT_RECORDS && now - this.#hintedAt < HINT_MS) return
    this.#hintedNumber = number
    this.#hintedAt = now
    const { store, keys, log } = this.#parts
    store
      .replace(keys.head, Buffer.from(String(number)))
      .catch(error => log.debug({ err: error }, 'The hint of the head was not written.'))
  }
}
