/**
 * Reads and appends the log of an archive, for one process.
 *
 *   closed ──(open)──► open ──(an error)──► closed …
 *
 * While it is open, all records up to the position of the index are applied, and the listener was called for each.
 * Opening, following and appending run one at a time.
 *
 * docs/decisions/0005-one-log.md says why it is exact.
 */

import { randomUUID } from 'node:crypto'
import type { LogPosition, VoidBatch } from '../dedupe/id-index.ts'
import { LogDamaged, LogRefused, StoreUnavailable } from '../errors.ts'
import { DIGEST_VERSION } from '../event/message-id.ts'
import { BackOff } from '../process/sleep.ts'
import type { StoreDate } from '../store/store.ts'
import { recordNumber } from './log-keys.ts'
import { recordsAheadMax } from './log-reader.ts'
import { type BatchDraft, type EncodedRecord, encodeRecord, type LogRecord, wasStored } from './log-record.ts'
import { type LogParts, resetIfOtherHistory, rootOf, rootRecord, synchronise } from './log-sync.ts'
import { READS_AHEAD_MAX, ReadsAhead } from './reads-ahead.ts'

/** Pause before a create with an unknown outcome is sent again. */
const CREATE_RETRY_LIMITS = { msMin: 50, msMax: 5_000 }
/** The head hint is written after this many records, or after this time. */
const HINT_RECORDS = 100
const HINT_MS = 60 * 60 * 1000
/**
 * A writer that has lost every create for this time writes the waiting hint, and repeats it at this interval. Writers
 * that commit read the hint at the same interval.
 */
const WAITING_MS = 2_000
/** The waiting hint is valid for this time, by the store's clock. */
const WAITING_FRESH_MS = 10_000
/** Weight of the newest create in the moving average of the round trip. */
const ROUND_TRIP_WEIGHT = 0.2

/** The part of a record that the caller of `append` gives. */
export interface Draft extends Pick<LogRecord, 'rewrites' | 'expiredBefore'> {
  readonly batches: readonly BatchDraft[]
  readonly voids: LogRecord['voids']
  readonly done: number
  readonly waiting: boolean
}

export interface LogListener {
  /** The index has the ids of the record now. @param isOwn this process has just appended it */
  applied(record: LogRecord, isOwn: boolean): void
  /** A record was applied before this process started, and may not be settled. */
  resumed(record: LogRecord): void
  /** Void batches that were applied before this process started. */
  resumedVoids(voids: readonly VoidBatch[]): void
  /** @returns the numbers of applied records that are not known to be settled, ascending */
  unsettled(): readonly number[]
  /** A create has an unknown outcome, and is sent again. */
  retrying(error: Error): void
  /** A record of another writer has the number that was tried. */
  conflicted(): void
  /** Another writer has written the waiting hint. */
  otherWaits(writer: string, roundTripMs: number): void
  /**
   * Manifests were read into the index. Ids that were looked up before have to be looked up again.
   *
   * @param isComplete false if the index may have forgotten ids of records that were new to this process
   */
  synchronised(isComplete: boolean): void
}

export interface CommitLogParts extends LogParts {
  /** A random id, new at each start of the process. */
  readonly writer: string
  /** When aborted, a failed request is not retried. */
  readonly stopping: AbortSignal
}

export class CommitLog {
  readonly #parts: CommitLogParts
  readonly #listener: LogListener
  #root: LogRecord | undefined
  #wasOpen = false
  #busy: Promise<unknown> = Promise.resolve()
  /** Moving average of the time that a create takes. */
  #roundTripMs = 0
  /** The last record that this process has applied, or that its index had at the start. */
  #appliedThrough = 0
  /** Voids in records up to this one need no ids to remove: the index was rebuilt after them. */
  #rebuiltFor = 0
  /** The time of the first create that was lost since the last one that was won. */
  #lostSince: number | undefined
  #announcedAt = Number.NEGATIVE_INFINITY
  #lookedForWaitingAt = Number.NEGATIVE_INFINITY
  #hintedNumber = 0
  #hintedAt = Number.NEGATIVE_INFINITY

  constructor(parts: CommitLogParts, listener: LogListener) {
    this.#parts = parts
    this.#listener = listener
  }

  /** The last record that is applied; undefined until the log has been opened for the first time. */
  get position(): LogPosition | undefined {
    return this.#parts.index.position
  }

  /**
   * Applies all new records.
   *
   * @returns how many records were new
   * @throws StoreUnavailable, LogDamaged, LogRefused, or a disk error of the index
   */
  follow(): Promise<number> {
    return this.#exclusively(() => this.#followToEnd())
  }

  /**
   * Appends a record.
   *
   * @param draft called before each attempt, when all earlier records are applied; undefined: append nothing
   * @returns the record, after it is applied; undefined if `draft` returned undefined
   * @throws StoreUnavailable, LogDamaged, LogRefused, or a disk error of the index. Either nothing was sent, or the
   * process is stopping and the sent record may still be created later.
   */
  append(draft: () => Promise<Draft | undefined>): Promise<LogRecord | undefined> {
    return this.#exclusively(async () => {
      for (;;) {
        await this.#parts.index.ready()
        const content = await draft()
        if (content === undefined) return undefined
        const own = this.#encode(content)
        const created = await this.#create(own)
        if (created === undefined) {
          await this.#synchronise()
          continue
        }
        await this.#apply(created.record, created.storedAt, created.record.nonce === own.record.nonce)
        if (created.record.nonce === own.record.nonce) {
          this.#lostSince = undefined
          // Not awaited: it is a hint, and must not delay the batches of this record.
          void this.#lookForWaiting()
          return created.record
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
        // The log and what is known here may differ. The next call opens the log again.
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
    // Before the end of the log is read: a later hint could name a record that was created after that read.
    const hinted = Math.max(await reader.hintedHead(), await this.#lastListed())
    await watermark.refresh()
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
        `The log ends at record ${number}, but record ${hinted} existed: something deletes below _frequency/ in the bucket (a lifecycle rule?). Restore what is missing, or see "frequency log repair --help".`,
      )
    this.#root = root
    log.debug({ position: this.position, watermark: watermark.number }, 'The log is open.')
  }

  /** The highest record number in a listing. Reading record by record would stop at a gap before it. */
  async #lastListed(): Promise<number> {
    const { store, keys } = this.#parts
    let last = 0
    for await (const key of store.list(keys.records)) last = Math.max(last, recordNumber(keys, key) ?? 0)
    return last
  }

  /** Tells the listener of records and voids that were applied before this process started, and may not be settled. */
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
    const ahead = new ReadsAhead(number => this.#read(number), recordsAheadMax)
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

  /** @returns no record if it is damaged but folded by now; it is read from the manifest then. @throws LogDamaged */
  async #read(number: number) {
    try {
      return await this.#parts.reader.record(number)
    } catch (error) {
      if (error instanceof LogDamaged) {
        await this.#parts.watermark.refresh()
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
   * Removes the ids of the batches that a record makes void from the index.
   *
   * @returns the voids that still apply
   * @throws StoreUnavailable if the ids cannot be read any more: the index was reset, and is rebuilt by the next call
   */
  async #removeVoidIds({ number, voids }: LogRecord): Promise<VoidBatch[]> {
    const { index, reader } = this.#parts
    const valid: VoidBatch[] = []
    for (const each of voids) {
      const batch = (await reader.record(each.number)).record?.batches[each.batch]
      // The record was repaired later. It names other batches, whose objects are stored.
      const isOther = batch?.isStored === true
      if (!isOther) valid.push(each)
      if (batch !== undefined && !isOther) await index.remove(batch.ids)
      else if (number > this.#rebuiltFor) {
        await index.reset(0)
        this.#root = undefined
        this.#rebuiltFor = number
        throw new StoreUnavailable(
          `A void batch of log record ${each.number} cannot be read any more. The index of ids is rebuilt.`,
        )
      }
    }
    return valid
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
   * Sends the record until it is known which record has its number. Sends the same bytes each time, because any of the
   * creates may take effect late.
   *
   * @returns the record that has the number; undefined if the number is folded, so that nothing can be created there
   * @throws StoreUnavailable when stopping
   */
  async #create({
    bytes,
    record,
  }: EncodedRecord): Promise<{ record: LogRecord; storedAt: number } | undefined> {
    const { store, keys, reader, watermark, stopping } = this.#parts
    const backOff = new BackOff(CREATE_RETRY_LIMITS)
    const key = keys.record(record.number)
    for (;;) {
      try {
        const sentAt = performance.now()
        const { outcome, date } = await store.create(key, bytes)
        this.#measure(performance.now() - sentAt)
        if (outcome === 'created') {
          if (await watermark.counts(record.number, date)) return this.#created(record, date)
          return undefined
        }
        const found = await reader.record(record.number)
        if (!(await watermark.counts(record.number, found.date))) return undefined
        if (found.record !== undefined) return { record: found.record, storedAt: found.storedAt }
      } catch (error) {
        // Also for errors that a person has to fix: until then it is not known which record has the number.
        if (stopping.aborted) throw error
        this.#listener.retrying(error as Error)
      }
      await backOff.pause(stopping)
    }
  }

  #created(record: LogRecord, date: StoreDate): { record: LogRecord; storedAt: number } {
    this.#hint(record.number)
    return { record, storedAt: date ?? Date.now() }
  }

  /** Writes the waiting hint: a slow writer loses to fast ones, and the log has no record that shows that it waits. */
  async #announceWaiting(): Promise<void> {
    const now = performance.now()
    this.#lostSince ??= now
    if (now - this.#lostSince < WAITING_MS || now - this.#announcedAt < WAITING_MS) return
    this.#announcedAt = now
    const { store, keys, writer, log } = this.#parts
    const hint = { writer, roundTripMs: Math.round(this.#roundTripMs) }
    await store
      .replace(keys.waiting, Buffer.from(JSON.stringify(hint)))
      .catch(error => log.debug({ err: error }, 'The waiting hint could not be written.'))
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
      log.debug({ err: error }, 'The waiting hint could not be read.')
    }
  }

  #measure(ms: number): void {
    this.#roundTripMs += (ms - this.#roundTripMs) * (this.#roundTripMs === 0 ? 1 : ROUND_TRIP_WEIGHT)
  }

  /** Writes the head hint: a later start sees by it if records at the end are missing. Not awaited. */
  #hint(number: number): void {
    const now = performance.now()
    if (number - this.#hintedNumber < HINT_RECORDS && now - this.#hintedAt < HINT_MS) return
    this.#hintedNumber = number
    this.#hintedAt = now
    const { store, keys, log } = this.#parts
    store
      .replace(keys.head, Buffer.from(String(number)))
      .catch(error => log.debug({ err: error }, 'The head hint could not be written.'))
  }
}
