/**
 * Makes an object of each batch in the log's records, and knows which records are settled.
 *
 *   appended ──(its writer, at once)──► settled
 *      └──(another writer: a delivery waits for it, or a minute has passed)──► settled | void
 *
 * A record is settled when all of its objects are whole and at their keys. Settling a record twice stores the same
 * bytes at the same keys. If both the bytes and the object of a batch are gone, a new record makes the batch void: its
 * ids no longer count as archived, and its events are archived again.
 *
 * The writer of an inline batch may still have its bytes in memory, and store them late. So an empty object is created at
 * the key before the batch becomes void. Both creates are conditional: the first one decides.
 */

import { createHash, hash } from 'node:crypto'
import type { VoidBatch } from '../dedupe/id-index.ts'
import { IdSet } from '../dedupe/id-set.ts'
import { ObjectNotFound, StoreUnavailable } from '../errors.ts'
import { emptyObject } from '../object/format.ts'
import type { Logger } from '../process/logger.ts'
import { BackOff, sleep } from '../process/sleep.ts'
import type { ObjectStore } from '../store/store.ts'
import type { Voids } from './fold.ts'
import type { LogReader } from './log-reader.ts'
import { inlineBody, isInline, type LogBatch, type LogRecord, wasStored } from './log-record.ts'
import type { Watermark } from './watermark.ts'

const RETRY_LIMITS = { msMin: 100, msMax: 10_000 }
/** Other writers wait for this time before they settle a record: its own writer usually settles it sooner. */
const OTHERS_AFTER_MS = 5_000
/** A record that no delivery waits for is settled by others after one to two times this time, at random. */
const SWEEP_MS_MIN = 60_000

export interface SettlementParts {
  readonly store: ObjectStore
  readonly reader: LogReader
  readonly watermark: Pick<Watermark, 'refresh' | 'number' | 'manifestWith'>
  readonly log: Logger
  readonly writer: string
  /** When aborted, a failed settlement is not retried. */
  readonly stopping: AbortSignal
  /**
   * Applies all records, and appends one that makes a batch void, unless it is void already or its record is folded.
   *
   * @param isVoid called when all records are applied
   */
  voidBatch(number: number, batch: number, isVoid: () => boolean): Promise<void>
  /** @param error why an object could not be stored, which is retried; undefined when nothing is retried any more */
  retrying(error: Error | undefined): void
  /** A record with a void batch is done. Its waiters are not called: their deliveries must come again. */
  voided(): void
}

/** A record whose objects may not all be stored. */
export class UnsettledRecord {
  readonly record: LogRecord
  readonly appliedAt = performance.now()
  /** Called when the record is settled, if none of its batches is void. */
  readonly waiters: (() => void)[] = []
  settling: Promise<void> | undefined
  /** Batches that are void, by their place in the record. */
  readonly voids = new Set<number>()
  #ids: IdSet | undefined

  constructor(record: LogRecord) {
    this.record = record
  }

  has(ids: Buffer, at: number): boolean {
    this.#ids ??= idSetOf(this.record.batches)
    return this.#ids.has(ids, at)
  }
}

function idSetOf(batches: readonly LogBatch[]): IdSet {
  const set = new IdSet()
  for (const { ids } of batches) for (let at = 0; at < ids.length; at += 16) set.add(ids, at)
  return set
}

export class Settlement {
  readonly #parts: SettlementParts
  /** By number, oldest first. */
  readonly #unsettled = new Map<number, UnsettledRecord>()
  readonly #voids = new Map<number, Set<number>>()
  /** Settlements that have failed and are being retried. */
  readonly #failing = new Set<BackOff>()
  #lastOwn = 0

  constructor(parts: SettlementParts) {
    this.#parts = parts
  }

  /** The numbers of the applied records that are not known to be settled, ascending. */
  get unsettledNumbers(): readonly number[] {
    return [...this.#unsettled.keys()].sort((a, b) => a - b)
  }

  /** All own records up to this number are settled. */
  get ownDone(): number {
    for (const [number, { record }] of this.#unsettled)
      if (record.writer === this.#parts.writer) return number - 1
    return this.#lastOwn
  }

  isVoid({ number, batch }: VoidBatch): boolean {
    return this.#voids.get(number)?.has(batch) === true
  }

  /** How many records, and batches in them, are not known to be settled. */
  get unsettled(): { readonly records: number; readonly batches: number } {
    let batches = 0
    for (const { record } of this.#unsettled.values()) batches += record.batches.length
    return { records: this.#unsettled.size, batches }
  }

  /** The void batches of all records that are not folded, and of some that are. */
  get voids(): Voids {
    return this.#voids
  }

  applied(record: LogRecord): void {
    const { number, hash, writer, done, batches, voids } = record
    if (writer === this.#parts.writer) this.#lastOwn = number
    for (const each of [...this.#unsettled.values()])
      if (each.record.writer === writer && each.record.number <= done) this.#markSettled(each)
    this.appliedVoids(voids)
    // After the index was rebuilt a record is applied again. It keeps the deliveries that wait for it.
    const isKnown = this.#unsettled.get(number)?.record.hash === hash
    if (!wasStored(batches) && !isKnown) this.#unsettled.set(number, new UnsettledRecord(record))
  }

  appliedVoids(voids: readonly VoidBatch[]): void {
    for (const { number, batch } of voids) {
      this.#voids.set(number, (this.#voids.get(number) ?? new Set()).add(batch))
      this.#unsettled.get(number)?.voids.add(batch)
    }
  }

  /** The record, if it is not known to be settled; else undefined. */
  recordOf(number: number): UnsettledRecord | undefined {
    return this.#unsettled.get(number)
  }

  /** The record that has this id, if it is not known to be settled; else undefined. */
  find(ids: Buffer, at: number): UnsettledRecord | undefined {
    for (const each of this.#unsettled.values()) if (each.has(ids, at)) return each
    return undefined
  }

  /** Calls `waiter` when the record is settled. If its writer does not settle it within seconds, this process does. */
  whenSettled(unsettled: UnsettledRecord, waiter: () => void): void {
    if (!this.#unsettled.has(unsettled.record.number)) {
      if (unsettled.voids.size === 0) waiter()
      else this.#parts.voided()
      return
    }
    unsettled.waiters.push(waiter)
    this.#settleLater(unsettled)
  }

  /**
   * Settles a record that this process has just appended. Retries until it is settled.
   *
   * @param bodies the bytes of its inline objects, in the order of its batches; undefined for a staged one
   * @returns whether all of its batches are objects; false if one is void
   * @throws StoreUnavailable when stopping
   */
  async settleOwn(record: LogRecord, bodies: readonly (Buffer | undefined)[]): Promise<boolean> {
    const unsettled = this.#unsettled.get(record.number)
    if (unsettled === undefined) return true
    const settled = this.#retry(() => this.#settleAll(unsettled, bodies))
    unsettled.settling = settled.catch(() => {
      unsettled.settling = undefined
    })
    await settled
    return unsettled.voids.size === 0
  }

  /** Settles all records up to this number. @throws StoreUnavailable when stopping */
  async settleThrough(number: number): Promise<void> {
    for (const each of [...this.#unsettled.values()]) {
      if (each.record.number > number) continue
      await sleep(each.appliedAt + OTHERS_AFTER_MS - performance.now(), this.#parts.stopping)
      if (this.#unsettled.has(each.record.number)) await this.#retry(() => this.#settleAll(each, []))
    }
  }

  /** Settles the records that their writers have left unsettled. To be called periodically. */
  sweep(): void {
    for (const each of this.#unsettled.values()) {
      const isLeft = performance.now() - each.appliedAt > SWEEP_MS_MIN * (1 + Math.random())
      if (isLeft) this.#settleLater(each)
    }
  }

  #settleLater(unsettled: UnsettledRecord): void {
    if (unsettled.settling !== undefined) return
    const { stopping, log } = this.#parts
    const settle = async (): Promise<void> => {
      await sleep(unsettled.appliedAt + OTHERS_AFTER_MS - performance.now(), stopping)
      if (this.#unsettled.has(unsettled.record.number))
        await this.#retry(() => this.#settleAll(unsettled, []))
    }
    unsettled.settling = settle().catch(error => {
      unsettled.settling = undefined
      log.warn(
        { err: error, record: unsettled.record.number },
        'The record of another archiver was not settled.',
      )
    })
  }

  async #retry(settle: () => Promise<void>): Promise<void> {
    const backOff = new BackOff(RETRY_LIMITS)
    for (;;) {
      try {
        await settle()
        if (this.#failing.delete(backOff) && this.#failing.size === 0) this.#parts.retrying(undefined)
        return
      } catch (error) {
        if (!(error instanceof StoreUnavailable) || this.#parts.stopping.aborted) {
          this.#failing.delete(backOff)
          throw error
        }
        this.#failing.add(backOff)
        this.#parts.retrying(error)
      }
      await backOff.pause(this.#parts.stopping)
    }
  }

  async #settleAll(unsettled: UnsettledRecord, bodies: readonly (Buffer | undefined)[]): Promise<void> {
    const { record } = unsettled
    const moved = this.#moveStaged(unsettled)
    // Each staged batch awaits it. No unhandled rejection if all of them have become void.
    moved.catch(() => {})
    const results = await Promise.allSettled(
      record.batches.map((batch, n) => this.#settleBatch(unsettled, batch, n, bodies[n], moved)),
    )
    for (const result of results) if (result.status === 'rejected') throw result.reason
    this.#markSettled(unsettled)
  }

  async #settleBatch(
    { record, voids }: UnsettledRecord,
    batch: LogBatch,
    n: number,
    own: Buffer | undefined,
    moved: Promise<ReadonlySet<LogBatch>>,
  ): Promise<void> {
    if (batch.isStored || voids.has(n)) return
    const isThere = isInline(batch)
      ? await this.#storeInline(record, batch, own)
      : (await moved).has(batch) || (await this.#isWhole(batch))
    if (isThere) return
    const isFolded = await this.#isFolded(record.number)
    // It was settled while this process was paused, and its object was rewritten or removed since.
    if (isFolded && (await this.#isInManifest(record.number, batch))) return
    const { log, watermark } = this.#parts
    if (!isFolded)
      log.error(
        { record: record.number, key: batch.key },
        'The bytes of a batch and its object are lost. Events that are still in the queue are archived again.',
      )
    await this.#parts.voidBatch(record.number, n, () => voids.has(n) || record.number <= watermark.number)
    // Also if the record is folded by now: the deliveries that wait must come again and be looked up.
    voids.add(n)
  }

  /** @returns false if its object is not whole, and never will be */
  async #storeInline(record: LogRecord, batch: LogBatch, own: Buffer | undefined): Promise<boolean> {
    const { store } = this.#parts
    const body = own ?? (await this.#bodyIn(record, batch))
    if (body === undefined && (await this.#isFolded(record.number))) return this.#isWhole(batch)
    const { outcome } = await store.create(batch.key, body ?? emptyObject(batch.key))
    if (outcome === 'created') return body !== undefined
    if (await this.#isWhole(batch)) return true
    if (body === undefined || (await this.#isFolded(record.number))) return false
    if (await this.#isEmpty(batch.key)) return false
    // The object is cut short. It is replaced only if others can write the same bytes, so that none makes the batch void.
    if (own !== undefined && (await this.#bodyIn(record, batch)) === undefined) return false
    await store.replace(batch.key, body)
    return true
  }

  /** Whether the record is folded. A folded record was settled: an object that is missing was removed later. */
  async #isFolded(number: number): Promise<boolean> {
    const { watermark } = this.#parts
    await watermark.refresh()
    return number <= watermark.number
  }

  /** Whether the manifest of a folded record has the batch. It has no void batch. */
  async #isInManifest(number: number, { key }: LogBatch): Promise<boolean> {
    const { watermark, reader } = this.#parts
    const records = await reader.objects(await watermark.manifestWith(number))
    return records.some(each => each.number === number && each.batches.some(batch => batch.key === key))
  }

  /** The bytes of an inline object in its record; undefined if they are gone or damaged. */
  async #bodyIn(record: LogRecord, batch: LogBatch): Promise<Buffer | undefined> {
    const bytes = await this.#parts.reader.wholeRecord(record.number)
    const body = bytes && inlineBody(record, batch, bytes)
    return body !== undefined && hash('sha256', body, 'hex') === batch.sha256 ? body : undefined
  }

  /** Moves the staged objects to their keys. @returns the moved batches; the others were moved before, or are gone */
  async #moveStaged({ record, voids }: UnsettledRecord): Promise<ReadonlySet<LogBatch>> {
    const staged = record.batches.filter(
      (batch, n) => !batch.isStored && !voids.has(n) && batch.staged !== undefined,
    )
    if (staged.length === 0) return new Set()
    const moves = staged.map(batch => ({ from: batch.staged as string, to: batch.key }))
    const outcomes = await this.#parts.store.moveAll(moves)
    return new Set(staged.filter((_, n) => outcomes[n] === 'moved'))
  }

  async #isEmpty(key: string): Promise<boolean> {
    const empty = emptyObject(key)
    const { object } = await this.#parts.store.read(key, { start: 0, length: empty.length + 1 })
    if (object === undefined) throw new StoreUnavailable(`${key} existed a moment ago, but is gone now.`)
    return object.body.equals(empty)
  }

  /** Whether the object has the right digest. Reads it to its last byte: a listing does not show that it is whole. */
  async #isWhole({ key, sha256 }: LogBatch): Promise<boolean> {
    const digest = createHash('sha256')
    try {
      for await (const chunk of await this.#parts.store.get(key)) digest.update(chunk as Buffer)
    } catch (error) {
      if (error instanceof ObjectNotFound) return false
      throw error instanceof StoreUnavailable
        ? error
        : new StoreUnavailable(`${key} was not read to its end: ${(error as Error).message}`, {
            cause: error,
          })
    }
    return digest.digest('hex') === sha256
  }

  #markSettled(unsettled: UnsettledRecord): void {
    this.#unsettled.delete(unsettled.record.number)
    const waiters = unsettled.waiters.splice(0)
    if (unsettled.voids.size === 0) for (const waiter of waiters) waiter()
    else this.#parts.voided()
  }
}
