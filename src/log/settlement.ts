/**
 * Makes an object of each batch that a record names, and knows of which records that has been done.
 *
 *   appended ──(its writer, at once)──► settled
 *      └──(another: a duplicate waits, or a minute has passed)──► settled | void
 *
 * A record is settled when all its objects are where it says, whole. Settling twice stores the same bytes under
 * the same key. Where both the bytes and the object are gone, a record is appended that says so: the batch is void,
 * its ids are not known any more, and its events are archived again.
 *
 * The writer may have the bytes of such a batch still, and be about to store them. So before the record an object
 * without events is created at the key: which of the two is there first decides.
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
/** A writer settles its own records within this, unless it is gone or stuck. */
const OTHERS_AFTER_MS = 5_000
/** What nobody waits for is settled by somebody after this, and by whom is chance. */
const LEFT_MS_MIN = 60_000

export interface SettlementParts {
  readonly store: ObjectStore
  readonly reader: LogReader
  readonly watermark: Pick<Watermark, 'look' | 'number'>
  readonly log: Logger
  readonly writer: string
  /** Once aborted, nothing is tried again. */
  readonly stopping: AbortSignal
  /** Appends a record that makes a batch void, unless one did. @param isVoid asked at the end of the log */
  voidBatch(number: number, batch: number, isVoid: () => boolean): Promise<void>
  /** @param error why an object cannot be stored now: it is tried again; undefined once there is none such left */
  retrying(error: Error | undefined): void
  /** Deliveries waited for a batch that is void: their events have to be archived again. */
  voided(): void
}

/** A record some of whose objects may not be there yet. */
export class UnsettledRecord {
  readonly record: LogRecord
  readonly appliedAt = performance.now()
  /** Called once it is settled. */
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
  /** Attempts that have failed, and go on. */
  readonly #failing = new Set<BackOff>()
  #lastOwn = 0

  constructor(parts: SettlementParts) {
    this.#parts = parts
  }

  /** Of the records that were applied and are not known to be settled, ascending. */
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

  /** Records, and batches in them, that are not known to be objects. */
  get unsettled(): { readonly records: number; readonly batches: number } {
    let batches = 0
    for (const { record } of this.#unsettled.values()) batches += record.batches.length
    return { records: this.#unsettled.size, batches }
  }

  /** Void batches of records that are not folded, and of some that are. */
  get voids(): Voids {
    return this.#voids
  }

  applied(record: LogRecord): void {
    const { number, hash, writer, done, batches, voids } = record
    if (writer === this.#parts.writer) this.#lastOwn = number
    for (const each of [...this.#unsettled.values()])
      if (each.record.writer === writer && each.record.number <= done) this.#settled(each)
    this.appliedVoids(voids)
    // One that is applied again, since the index was made anew, has deliveries that wait for it.
    const isKnown = this.#unsettled.get(number)?.record.hash === hash
    if (!wasStored(batches) && !isKnown) this.#unsettled.set(number, new UnsettledRecord(record))
  }

  appliedVoids(voids: readonly VoidBatch[]): void {
    for (const { number, batch } of voids) {
      this.#voids.set(number, (this.#voids.get(number) ?? new Set()).add(batch))
      this.#unsettled.get(number)?.voids.add(batch)
    }
  }

  /** Undefined where it is known to be settled. */
  recordOf(number: number): UnsettledRecord | undefined {
    return this.#unsettled.get(number)
  }

  /** The record that has this id and is not known to be settled. */
  find(ids: Buffer, at: number): UnsettledRecord | undefined {
    for (const each of this.#unsettled.values()) if (each.has(ids, at)) return each
    return undefined
  }

  /** Has `waiter` called when the record is settled; where its writer does not do so in time, that is done here. */
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
   * Settles a record that this process has just appended, and tries until it is.
   *
   * @param bodies of its inline objects, in the order of its batches
   * @returns whether all of its batches are objects now, and none is void
   * @throws StoreUnavailable once stopping
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

  /** Settles all records up to this number. @throws StoreUnavailable once stopping */
  async settleThrough(number: number): Promise<void> {
    for (const each of [...this.#unsettled.values()]) {
      if (each.record.number > number) continue
      await sleep(each.appliedAt + OTHERS_AFTER_MS - performance.now(), this.#parts.stopping)
      if (this.#unsettled.has(each.record.number)) await this.#retry(() => this.#settleAll(each, []))
    }
  }

  /** To be called now and then: settles what others have left. */
  sweep(): void {
    for (const each of this.#unsettled.values()) {
      const isLeft = performance.now() - each.appliedAt > LEFT_MS_MIN * (1 + Math.random())
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
      log.warn({ err: error, record: unsettled.record.number }, "Another archiver's record was not settled.")
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
    // Each of its batches hears of it, unless all have become void meanwhile.
    moved.catch(() => {})
    const results = await Promise.allSettled(
      record.batches.map((batch, n) => this.#settleBatch(unsettled, batch, n, bodies[n], moved)),
    )
    for (const result of results) if (result.status === 'rejected') throw result.reason
    this.#settled(unsettled)
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
    const { log, watermark } = this.#parts
    log.error(
      { record: record.number, key: batch.key },
      'The bytes of a batch are gone, and so is its object: its events are archived again where they are queued.',
    )
    await this.#parts.voidBatch(record.number, n, () => voids.has(n) || record.number <= watermark.number)
    // Also where the record is folded by now: whoever waits has to look anew whether its events are known.
    voids.add(n)
  }

  /** @returns false where its bytes are gone, or are not what was written, and there is no object, nor will be */
  async #storeInline(record: LogRecord, batch: LogBatch, own: Buffer | undefined): Promise<boolean> {
    const { store } = this.#parts
    const body = own ?? (await this.#bodyIn(record, batch))
    if (body === undefined && (await this.#isFolded(record.number))) return this.#isWhole(batch)
    const { outcome } = await store.create(batch.key, body ?? emptyObject(batch.key))
    if (outcome === 'created') return body !== undefined
    if (await this.#isWhole(batch)) return true
    if (body === undefined || (await this.#isEmpty(batch.key))) return false
    // Others can write the same bytes, and do not make the batch void.
    if (own !== undefined && (await this.#bodyIn(record, batch)) === undefined) return false
    await store.replace(batch.key, body)
    return true
  }

  /** Its objects were there: where one is not, somebody has removed it since. */
  async #isFolded(number: number): Promise<boolean> {
    const { watermark } = this.#parts
    await watermark.look()
    return number <= watermark.number
  }

  /** Undefined also where it is not as it was written. */
  async #bodyIn(record: LogRecord, batch: LogBatch): Promise<Buffer | undefined> {
    const bytes = await this.#parts.reader.wholeRecord(record.number)
    const body = bytes && inlineBody(record, batch, bytes)
    return body !== undefined && hash('sha256', body, 'hex') === batch.sha256 ? body : undefined
  }

  /** @returns those of its batches that are moved now; others were before, or are gone */
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
    if (object === undefined) throw new StoreUnavailable(`${key} was there, and is gone.`)
    return object.body.equals(empty)
  }

  /** Reads the object to its last byte: that it is listed, or has a head, says nothing. */
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

  #settled(unsettled: UnsettledRecord): void {
    this.#unsettled.delete(unsettled.record.number)
    const waiters = unsettled.waiters.splice(0)
    if (unsettled.voids.size === 0) for (const waiter of waiters) waiter()
    else this.#parts.voided()
  }
}
