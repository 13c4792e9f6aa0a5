/**
 * Looks events up in archived objects, if the index may have forgotten their ids: if their `receivedAt` is in the span of
 * an object beyond the dedupe window. The deliveries wait here meanwhile. All waiting deliveries of one day are looked
 * up together. So a spool that comes back after weeks is archived once, and does not block other deliveries.
 */

import type { IdIndex } from '../dedupe/id-index.ts'
import { IdSet } from '../dedupe/id-set.ts'
import { ObjectNotFound } from '../errors.ts'
import { identityOf } from '../event/message-id.ts'
import type { BeyondWindow } from '../log/beyond-window.ts'
import type { FoldedBatch } from '../log/manifest.ts'
import { hasTimeIn } from '../log/spans.ts'
import { isDamage, readEvents } from '../object/object-reader.ts'
import type { Logger } from '../process/logger.ts'
import type { StoreReader } from '../store/store.ts'
import type { DeliveredEvents } from './delivered-events.ts'

/** Bytes of the deliveries that are being looked up. The last one may exceed it. */
const BYTES_MAX = 32 * 1024 * 1024
const READS_AT_ONCE = 8
const DAY_MS = 24 * 60 * 60 * 1000

export interface BeyondWindowLookupParts {
  readonly beyondWindow: BeyondWindow
  readonly index: Pick<IdIndex, 'has'>
  readonly store: Pick<StoreReader, 'get'>
  readonly log: Logger
  /** Called when a delivery was looked up, so that there is room for another. */
  roomFreed(): void
}

/**
 * `decided`: it is known whether each event is archived. `undecidable`: an event was found in no object, but an unreadable
 * or missing object may have it.
 */
export type LookupOutcome = 'decided' | 'undecidable'

interface Waiting {
  readonly delivered: DeliveredEvents
  /** `receivedAt` of its events that may be archived, ascending; milliseconds since 1970. */
  readonly times: readonly number[]
  /** The last record whose ids may be forgotten. */
  readonly through: number
  resolve(outcome: LookupOutcome): void
  reject(error: unknown): void
}

export class BeyondWindowLookup {
  readonly #parts: BeyondWindowLookupParts
  /** By the day of the oldest event of a delivery. */
  readonly #waiting = new Map<number, Waiting[]>()
  #bytes = 0
  #isRunning = false

  constructor(parts: BeyondWindowLookupParts) {
    this.#parts = parts
  }

  /** Whether another delivery has to wait before it can be looked up. */
  get isFull(): boolean {
    return this.#bytes > BYTES_MAX
  }

  /** Whether the delivery has to be looked up before its events go into a batch. */
  isNeededFor(delivered: DeliveredEvents): boolean {
    const { beyondWindow } = this.#parts
    if (beyondWindow.through < 1 || delivered.lookedUpThrough === beyondWindow.through) return false
    if (beyondWindow.isStale) return true
    for (let ahead = 0; ahead < delivered.left; ahead++)
      if (beyondWindow.covers(delivered.receivedAt(ahead))) return true
    return false
  }

  /** Looks the delivery's events up, and notes in it which of them are archived. @throws StoreUnavailable, LogRefused */
  async lookUp(delivered: DeliveredEvents): Promise<LookupOutcome> {
    const { beyondWindow, roomFreed } = this.#parts
    const { length } = delivered.delivery.body
    this.#bytes += length
    try {
      const through = await beyondWindow.refresh()
      const times = Array.from({ length: delivered.left }, (_, ahead) => delivered.receivedAt(ahead))
        .filter(at => beyondWindow.covers(at))
        .sort((a, b) => a - b)
      if (times.length === 0) {
        delivered.noteLookup(new IdSet(), through)
        return 'decided'
      }
      return await new Promise<LookupOutcome>((resolve, reject) => {
        const day = Math.floor((times[0] as number) / DAY_MS)
        const waiting = this.#waiting.get(day) ?? []
        this.#waiting.set(day, waiting)
        waiting.push({ delivered, times, through, resolve, reject })
        if (!this.#isRunning) void this.#run()
      })
    } finally {
      this.#bytes -= length
      roomFreed()
    }
  }

  async #run(): Promise<void> {
    this.#isRunning = true
    // Deliveries that come in the same turn of the event loop are looked up together.
    await new Promise(setImmediate)
    for (const [day, waiting] of this.#waiting) {
      this.#waiting.delete(day)
      try {
        await this.#lookUpAll(waiting)
      } catch (error) {
        for (const each of waiting) each.reject(error)
      }
    }
    this.#isRunning = false
  }

  async #lookUpAll(waiting: readonly Waiting[]): Promise<void> {
    const { beyondWindow, log } = this.#parts
    const times = waiting.flatMap(each => each.times).sort((a, b) => a - b)
    const through = waiting.reduce((most, each) => Math.max(most, each.through), 0)
    const wanted = idsOf(waiting)
    const archived = new IdSet()
    const unreadable: FoldedBatch[] = []
    const batches = beyondWindow.batchesAt((first, last) => hasTimeIn(times, first, last), through)
    let objects = 0
    const read = async (): Promise<void> => {
      for (;;) {
        const { done, value } = await batches.next()
        if (done) return
        objects++
        if (!(await this.#find(value.key, wanted, archived))) unreadable.push(value)
      }
    }
    await Promise.all(Array.from({ length: READS_AT_ONCE }, read))
    log.info(
      { deliveries: waiting.length, objects, archived: archived.size, unreadable: unreadable.length },
      'Looked up events beyond the dedupe window.',
    )
    for (const each of waiting) {
      each.delivered.noteLookup(archived, each.through)
      const times = unreadable.length === 0 ? [] : this.#timesNotFound(each.delivered)
      const isUndecidable = unreadable.some(({ firstReceivedAt, lastReceivedAt }) =>
        hasTimeIn(times, firstReceivedAt, lastReceivedAt),
      )
      each.resolve(isUndecidable ? 'undecidable' : 'decided')
    }
  }

  /** `receivedAt` of the events that are neither in the index nor in an object that was read, ascending. */
  #timesNotFound(delivered: DeliveredEvents): number[] {
    const times: number[] = []
    for (let ahead = 0; ahead < delivered.left; ahead++) {
      const at = delivered.idAt(ahead)
      if (!delivered.isArchived(at) && !this.#parts.index.has(delivered.ids, at))
        times.push(delivered.receivedAt(ahead))
    }
    return times.sort((a, b) => a - b)
  }

  /** Adds the wanted ids that are in the object to `found`. @returns false if the object is gone or damaged */
  async #find(key: string, wanted: IdSet, found: IdSet): Promise<boolean> {
    try {
      for await (const line of readEvents(this.#parts.store, key)) {
        const id = identityOf(JSON.parse(line))
        if (id !== undefined && wanted.has(id)) found.add(id)
      }
      return true
    } catch (error) {
      if (!(error instanceof ObjectNotFound) && !isDamage(error)) throw error
      this.#parts.log.warn(
        { err: error, key },
        'An archived object cannot be read, so events cannot be looked up in it.',
      )
      return false
    }
  }
}

function idsOf(waiting: readonly Waiting[]): IdSet {
  const ids = new IdSet()
  for (const { delivered } of waiting)
    for (let ahead = 0; ahead < delivered.left; ahead++) ids.add(delivered.ids, delivered.idAt(ahead))
  return ids
}
