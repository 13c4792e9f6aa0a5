/**
 * Looks events up whose ids the index may have forgotten: those that were received in the span of an object from
 * before it remembers. They are set aside meanwhile, and looked up a day at a time, all that wait of that day at
 * once. So a spool that comes back after weeks is archived once, and holds nobody else up.
 */

import type { IdIndex } from '../dedupe/id-index.ts'
import { IdSet } from '../dedupe/id-set.ts'
import { ObjectNotFound } from '../errors.ts'
import { identityOf } from '../event/message-id.ts'
import type { Forgotten } from '../log/forgotten.ts'
import type { FoldedBatch } from '../log/manifest.ts'
import { isDamage, readEvents } from '../object/object-reader.ts'
import type { Logger } from '../process/logger.ts'
import type { StoreReader } from '../store/store.ts'
import type { DeliveredEvents } from './delivered-events.ts'

/** Of deliveries that are set aside; one more may come on top. */
const BYTES_MAX = 32 * 1024 * 1024
const READS_AT_ONCE = 8
const DAY_MS = 24 * 60 * 60 * 1000

export interface OldEventsParts {
  readonly forgotten: Forgotten
  readonly index: Pick<IdIndex, 'has'>
  readonly store: Pick<StoreReader, 'get'>
  readonly log: Logger
  /** There is room again. */
  freed(): void
}

/** `gone`: an object that may hold one of its events, which is in no other, is not there any more, or cannot be read. */
export type LookUp = 'told' | 'gone'

interface Waiting {
  readonly delivered: DeliveredEvents
  /** When those of its events were received that may be archived, in order. */
  readonly times: readonly number[]
  /** Up to which record ids are forgotten. */
  readonly through: number
  resolve(outcome: LookUp): void
  reject(error: unknown): void
}

export class OldEvents {
  readonly #parts: OldEventsParts
  /** By the day of their oldest event. */
  readonly #waiting = new Map<number, Waiting[]>()
  #bytes = 0
  #isRunning = false

  constructor(parts: OldEventsParts) {
    this.#parts = parts
  }

  /** So much is set aside that more has to wait. */
  get isFull(): boolean {
    return this.#bytes > BYTES_MAX
  }

  /** Whether the delivery has to be looked up first. */
  mayHold(delivered: DeliveredEvents): boolean {
    const { forgotten } = this.#parts
    if (forgotten.through < 1 || delivered.lookedUpThrough === forgotten.through) return false
    if (forgotten.isStale) return true
    for (let ahead = 0; ahead < delivered.left; ahead++)
      if (forgotten.has(delivered.receivedAt(ahead))) return true
    return false
  }

  /** Has the delivery told which of its events are archived. @throws StoreUnavailable, LogRefused */
  async lookUp(delivered: DeliveredEvents): Promise<LookUp> {
    const { forgotten, freed } = this.#parts
    const { length } = delivered.delivery.body
    this.#bytes += length
    try {
      const through = await forgotten.refresh()
      const times = Array.from({ length: delivered.left }, (_, ahead) => delivered.receivedAt(ahead))
        .filter(at => forgotten.has(at))
        .sort((a, b) => a - b)
      if (times.length === 0) {
        delivered.lookedUp(new IdSet(), through)
        return 'told'
      }
      return await new Promise<LookUp>((resolve, reject) => {
        const day = Math.floor((times[0] as number) / DAY_MS)
        const waiting = this.#waiting.get(day) ?? []
        this.#waiting.set(day, waiting)
        waiting.push({ delivered, times, through, resolve, reject })
        if (!this.#isRunning) void this.#run()
      })
    } finally {
      this.#bytes -= length
      freed()
    }
  }

  async #run(): Promise<void> {
    this.#isRunning = true
    // What comes in the same turn goes together.
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
    const { forgotten, log } = this.#parts
    const times = waiting.flatMap(each => each.times).sort((a, b) => a - b)
    const through = waiting.reduce((most, each) => Math.max(most, each.through), 0)
    const wanted = idsOf(waiting)
    const known = new IdSet()
    const gone: FoldedBatch[] = []
    const batches = forgotten.batchesAt((first, last) => hasTimeIn(times, first, last), through)
    let objects = 0
    const read = async (): Promise<void> => {
      for (;;) {
        const { done, value } = await batches.next()
        if (done) return
        objects++
        if (!(await this.#find(value.key, wanted, known))) gone.push(value)
      }
    }
    await Promise.all(Array.from({ length: READS_AT_ONCE }, read))
    log.info(
      { deliveries: waiting.length, objects, archived: known.size, gone: gone.length },
      'Looked up events whose ids are forgotten.',
    )
    for (const each of waiting) {
      each.delivered.lookedUp(known, each.through)
      const times = gone.length === 0 ? [] : this.#untoldTimes(each.delivered)
      const isGone = gone.some(batch => hasTimeIn(times, batch.firstReceivedAt, batch.lastReceivedAt))
      each.resolve(isGone ? 'gone' : 'told')
    }
  }

  /** When those of its events were received that are in no object that could be read, in order. */
  #untoldTimes(delivered: DeliveredEvents): number[] {
    const times: number[] = []
    for (let ahead = 0; ahead < delivered.left; ahead++) {
      const at = delivered.idAt(ahead)
      if (!delivered.isKnown(at) && !this.#parts.index.has(delivered.ids, at))
        times.push(delivered.receivedAt(ahead))
    }
    return times.sort((a, b) => a - b)
  }

  /** Adds those of the wanted ids to `known` that are in the object. @returns whether it could be read */
  async #find(key: string, wanted: IdSet, known: IdSet): Promise<boolean> {
    try {
      for await (const line of readEvents(this.#parts.store, key)) {
        const id = identityOf(JSON.parse(line))
        if (id !== undefined && wanted.has(id)) known.add(id)
      }
      return true
    } catch (error) {
      if (!(error instanceof ObjectNotFound) && !isDamage(error)) throw error
      this.#parts.log.warn({ err: error, key }, 'An object cannot be read in which events are looked up.')
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

/** Whether one of the times, which are in order, is from `first` to `last`. */
function hasTimeIn(times: readonly number[], first: number, last: number): boolean {
  let low = 0
  let high = times.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((times[middle] as number) < first) low = middle + 1
    else high = middle
  }
  return low < times.length && (times[low] as number) <= last
}
