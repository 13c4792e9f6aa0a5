/**
 * Consumes deliveries, and puts their new events into batches.
 *
 * A new event is in no batch of this process and not in the index of archived ids. A duplicate is skipped. The index
 * forgets ids beyond the dedupe window, so an event that may be older is first looked up in the archived objects
 * (beyond-window-lookup.ts); other deliveries go on meanwhile. A delivery is acknowledged when all of its events are archived.
 * Deliveries are acknowledged in any order.
 *
 * A batch is sealed when it is full or old enough. It goes to the committer when its content is complete. The consumer
 * is paused while too many batches are sealed, or while the store is slower than the queue.
 *
 * When the connection to the queue is lost, its deliveries are void and come again. Their events are then found in the
 * batches. When a session fails, it discards the batches that are not complete, and the queue redelivers everything
 * that is not acknowledged.
 */

import type { Config } from '../config/config.ts'
import type { IdIndex } from '../dedupe/id-index.ts'
import type { LiveIds } from '../dedupe/live-ids.ts'
import type { RecentLengths } from '../dedupe/recent-lengths.ts'
import type { Settlement } from '../log/settlement.ts'
import { framingOf } from '../object/format.ts'
import type { ObjectParts } from '../object/object-writer.ts'
import { aborted, createDeferred } from '../process/deferred.ts'
import type { Logger } from '../process/logger.ts'
import type { Consumer, Delivery, Queue } from '../queue/queue.ts'
import type { SuppressedUsers } from '../suppression/suppressed-users.ts'
import type { Amount, ArchiveStats } from './archive-stats.ts'
import { Batch } from './batch.ts'
import { type CloseReason, canOpenBatch, fullBy, isTooFarApart, overflows } from './batch-limits.ts'
import type { BeyondWindowLookup } from './beyond-window-lookup.ts'
import type { Committer } from './committer.ts'
import { DeliveredEvents } from './delivered-events.ts'
import { PendingDelivery } from './pending-delivery.ts'
import { SessionState } from './session-state.ts'
import { WaitingDeliveries } from './waiting-deliveries.ts'

export type SessionConfig = Pick<
  Config,
  'archive' | 'archiveFormat' | 'archiveCompression' | 'batchEventsMax' | 'batchBytesMax' | 'batchAgeMsMax'
>

const NOTHING: Amount = { deliveries: 0, events: 0 }

export interface SessionParts {
  readonly queue: Pick<Queue, 'consume'>
  readonly objects: ObjectParts
  readonly committer: Committer
  readonly settlement: Pick<Settlement, 'find' | 'whenSettled'>
  readonly live: LiveIds<Batch>
  readonly index: Pick<IdIndex, 'has' | 'remembersFrom'>
  readonly beyondWindowLookup: BeyondWindowLookup
  readonly suppressed: Pick<SuppressedUsers, 'has' | 'size'>
  readonly config: SessionConfig
  readonly lengths: RecentLengths
  readonly stats: ArchiveStats
  readonly log: Logger
}

export class ArchiveSession {
  readonly #parts: SessionParts
  readonly #config: SessionConfig
  readonly #state = new SessionState()
  /** Rejects with the first error when the state becomes `failed`. */
  readonly #failure = createDeferred<never>()
  #consumer: Consumer | undefined
  /** The number of the connection to the queue. Deliveries of earlier connections are void. */
  #epoch = 0

  readonly #waiting = new WaitingDeliveries()
  #open: Batch | undefined
  #age: NodeJS.Timeout | undefined
  /** Batches that are sealed and not complete. */
  readonly #completing = new Set<Batch>()
  /** Deliveries to acknowledge at the end of this turn of the event loop. */
  #ready: PendingDelivery[] = []

  constructor(parts: SessionParts) {
    this.#parts = parts
    this.#config = parts.config
    // No unhandled rejection if the session fails after `run`.
    this.#failure.promise.catch(() => {})
  }

  /**
   * Consumes until `stopping` is aborted. Then archives and acknowledges the events that are in batches.
   *
   * @throws the error that made the session fail
   */
  async run(stopping: AbortSignal): Promise<void> {
    const failed = this.#failure.promise
    this.#consumer = this.#parts.queue.consume({
      delivery: delivery => this.#deliver(delivery),
      lost: () => this.#connectionLost(),
    })
    try {
      await Promise.race([aborted(stopping), failed])
      // `failed` comes first: it wins if the session failed in the turn in which it was stopped.
      await Promise.race([failed, this.#finish()])
    } finally {
      this.#state.enter('ended')
      this.#discardBatches()
      await this.#consumer.stop()
    }
  }

  /** Ends the session with an error. The queue redelivers everything that is not acknowledged. */
  fail(error: unknown): void {
    // From this turn on, no event goes into a batch and no batch to the committer.
    if (!this.#state.enter('failed')) return
    this.#ready = []
    this.#failure.reject(error)
  }

  /** Takes the deliveries that wait. To be called when there is room for another batch. */
  roomFreed(): void {
    this.#takeWaiting()
  }

  /**
   * The first `receivedAt` of the oldest batch here, else that of the next event that waits for one; in milliseconds
   * since 1970.
   */
  get oldestReceivedAt(): number | undefined {
    const [completing] = this.#completing
    const delivered = this.#waiting.first
    const batch = completing ?? this.#open
    if (batch !== undefined) return batch.firstReceivedAt
    return delivered === undefined || delivered.left === 0 ? undefined : delivered.receivedAt(0)
  }

  /** The deliveries of the lost connection come again. Batches keep their events. */
  #connectionLost(): void {
    this.#epoch++
    this.#waiting.clear()
    this.#ready = []
    this.#parts.stats.dropHeld()
    this.#resume()
  }

  /** Archives the events that are in batches. The queue redelivers the others. */
  async #finish(): Promise<void> {
    if (!this.#state.enter('finishing')) return
    this.#waiting.clear()
    this.#seal('shutdown')
    while (this.#completing.size > 0) await Promise.all([...this.#completing].map(batch => batch.completed))
    await this.#parts.committer.idle()
    this.#acknowledge()
  }

  #deliver(delivery: Delivery): void {
    if (!this.#state.isTaking) return
    const delivered = new DeliveredEvents(delivery)
    this.#parts.stats.delivered(delivery, delivered.events)
    this.#waiting.push(delivered)
    if (this.#waiting.isOverFull) this.#pause()
    this.#takeWaiting()
  }

  #takeWaiting(): void {
    this.#waiting.drain(delivered => this.#take(delivered))
    if (this.#waiting.first === undefined) this.#resume()
  }

  #pause(): void {
    this.#parts.stats.isPaused = true
    this.#consumer?.pause()
  }

  #resume(): void {
    this.#parts.stats.isPaused = false
    this.#consumer?.resume()
  }

  #canTake(): boolean {
    if (this.#open !== undefined) return !this.#open.isBlocked
    const { committer, objects } = this.#parts
    let { bytes } = committer
    let streaming = 0
    for (const batch of this.#completing) {
      bytes += batch.bytes
      if (batch.bytes > objects.store.inlineBytesMax) streaming++
    }
    return canOpenBatch({ batches: this.#completing.size + committer.size, bytes, streaming })
  }

  /** @returns false if the batches have no room for all of its events now */
  #take(delivered: DeliveredEvents): boolean {
    if (!this.#state.isTaking) return false
    if (delivered.isUnreadable) {
      this.#deadLetter(delivered.delivery, 'A message is not a JSON object. It is moved to the dead letters.')
      return true
    }
    if (this.#parts.beyondWindowLookup.isNeededFor(delivered)) {
      if (this.#parts.beyondWindowLookup.isFull) return false
      this.#lookUpFirst(delivered)
      return true
    }
    delivered.pending ??= this.#pendingOf(delivered)
    const { pending } = delivered
    const { remembersFrom } = this.#parts.index
    while (delivered.left > 0 && this.#canTake())
      if (!this.#skipSuppressed(delivered, pending) && !this.#skipDuplicate(delivered, pending))
        this.#takeRun(delivered, pending)
    if (this.#parts.index.remembersFrom !== remembersFrom) this.fail(new IndexShrunk())
    if (delivered.left > 0) return false
    pending.oneDone()
    return true
  }

  /** Looks the delivery's events up in the archived objects. Then the delivery waits for a batch again. */
  #lookUpFirst(delivered: DeliveredEvents): void {
    const epoch = this.#epoch
    this.#parts.beyondWindowLookup.lookUp(delivered).then(
      outcome => {
        if (epoch !== this.#epoch || !this.#state.isTaking) return
        if (outcome === 'undecidable') {
          this.#deadLetter(
            delivered.delivery,
            'A message has events that may be archived in an unreadable object. It is moved to the dead letters.',
          )
          return
        }
        this.#waiting.push(delivered)
        this.#takeWaiting()
      },
      error => this.fail(error),
    )
  }

  #pendingOf({ delivery, events }: DeliveredEvents): PendingDelivery {
    return new PendingDelivery(delivery, events, this.#epoch, pending => this.#acknowledgeLater(pending))
  }

  /** Skips the next event if it is of a suppressed user: its delivery does not wait for it. */
  #skipSuppressed(delivered: DeliveredEvents, pending: PendingDelivery): boolean {
    if (!delivered.isOf(this.#parts.suppressed, 0)) return false
    pending.suppressed++
    delivered.skip(1)
    return true
  }

  /** Skips the next event if it is a duplicate. Its delivery then waits for the batch or record that has the event. */
  #skipDuplicate(delivered: DeliveredEvents, pending: PendingDelivery): boolean {
    const { live, index, settlement, lengths, stats } = this.#parts
    const { ids } = delivered
    const at = delivered.idAt(0)
    const place = live.find(ids, at)
    if (place !== undefined) place.owner.addWaiter(pending)
    else if (index.has(ids, at)) {
      const unsettled = settlement.find(ids, at)
      if (unsettled !== undefined) {
        pending.waitForOneMore()
        settlement.whenSettled(unsettled, () => pending.oneDone())
      }
    } else if (!delivered.isArchived(at)) return false
    stats.duplicates++
    if (lengths.differs(ids, at, delivered.lengthOf(0))) stats.differingDuplicates++
    delivered.skip(1)
    return true
  }

  #deadLetter(delivery: Delivery, reason: string): void {
    const { log, stats } = this.#parts
    log.warn({ bytes: delivery.body.length }, reason)
    this.#consumer?.dead(delivery)
    stats.deadLettered()
  }

  /** Puts the next event, and all following ones that fit, into the open batch; or seals it if the next does not fit. */
  #takeRun(delivered: DeliveredEvents, pending: PendingDelivery): void {
    const closes = this.#open === undefined ? undefined : this.#closedBy(this.#open, delivered)
    if (closes !== undefined) {
      this.#seal(closes)
      return
    }
    this.#open ??= this.#openBatch(delivered)
    const batch = this.#open
    batch.addWaiter(pending)
    const count = this.#noteRun(batch, delivered)
    if (framingOf(this.#config.archiveFormat).joinsLines) batch.write(delivered.lines(count), count)
    else for (let n = 0; n < count; n++) batch.write(delivered.lines(1, n), 1)
    if (delivered.isTraced) batch.addTraces(delivered.traces(count))
    delivered.skip(count)
    const reason = fullBy(batch, this.#config)
    if (reason !== undefined) this.#seal(reason)
  }

  /** Notes the ids of the next events that go into the batch. @returns how many, at least 1 */
  #noteRun(batch: Batch, delivered: DeliveredEvents): number {
    const { live, lengths, suppressed } = this.#parts
    const { ids } = delivered
    const { batchEventsMax, batchBytesMax } = this.#config
    const { between, after } = framingOf(this.#config.archiveFormat)
    const most = Math.min(delivered.left, batchEventsMax - batch.events)
    let { bytes } = batch
    for (let n = 0; n < most; n++) {
      const at = delivered.idAt(n)
      const receivedAt = delivered.receivedAt(n)
      const length = delivered.lengthOf(n)
      bytes += between.length + length
      if (n > 0) {
        const isFull = bytes + after.length > batchBytesMax
        if (isFull || isTooFarApart(batch, receivedAt) || this.#isDuplicate(delivered, at)) return n
        if (delivered.isOf(suppressed, n)) return n
      }
      live.add(ids, at, batch, batch.note(ids, at, receivedAt))
      lengths.note(ids, at, length)
    }
    return most
  }

  #isDuplicate(delivered: DeliveredEvents, at: number): boolean {
    const { live, index } = this.#parts
    return live.has(delivered.ids, at) || index.has(delivered.ids, at) || delivered.isArchived(at)
  }

  /** Why the next event does not fit into the open batch; undefined if it fits. */
  #closedBy(open: Batch, delivered: DeliveredEvents): CloseReason | undefined {
    const { between, after } = framingOf(this.#config.archiveFormat)
    if (overflows(open, between.length + delivered.lengthOf(0) + after.length, this.#config)) return 'bytes'
    return isTooFarApart(open, delivered.receivedAt(0)) ? 'time' : undefined
  }

  #openBatch(delivered: DeliveredEvents): Batch {
    const { objects, stats } = this.#parts
    const batch = new Batch(delivered.receivedAt(0), objects, () => this.#takeWaiting())
    // A failed upload ends the session at once, and not only when the batch is full.
    batch.completed.catch(error => this.#failIfCurrent(batch, error))
    stats.open = batch
    this.#age = setTimeout(() => this.#seal('age'), this.#config.batchAgeMsMax)
    return batch
  }

  #failIfCurrent(batch: Batch, error: unknown): void {
    if (batch === this.#open || this.#completing.has(batch)) this.fail(error)
  }

  #seal(reason: CloseReason): void {
    clearTimeout(this.#age)
    const batch = this.#open
    if (batch === undefined) return
    this.#open = undefined
    this.#parts.stats.open = undefined
    this.#completing.add(batch)
    batch.seal(reason).then(
      () => {
        if (!this.#state.isActive || !this.#completing.delete(batch)) return
        this.#parts.committer.add(batch)
        this.#takeWaiting()
      },
      error => this.#failIfCurrent(batch, error),
    )
  }

  /** Acknowledges the delivery at the end of this turn of the event loop, with all others of the turn. */
  #acknowledgeLater(pending: PendingDelivery): void {
    if (pending.epoch !== this.#epoch || !this.#state.isActive) return
    if (this.#ready.push(pending) === 1) queueMicrotask(() => this.#acknowledge())
  }

  #acknowledge(): void {
    if (this.#ready.length === 0) return
    const { stats } = this.#parts
    const ready = this.#ready
    this.#ready = []
    this.#consumer?.ack(ready.map(({ delivery }) => delivery))
    for (const { delivery, events, suppressed } of ready) {
      stats.suppressed += suppressed
      const one = { deliveries: 1, events }
      if (delivery.group === undefined) stats.settle(NOTHING, one)
      else stats.settle(one, NOTHING)
    }
  }

  /** Discards the batches that are not complete. The queue redelivers their events. */
  #discardBatches(): void {
    clearTimeout(this.#age)
    const { live, stats } = this.#parts
    const batches = [...this.#completing]
    if (this.#open !== undefined) batches.push(this.#open)
    this.#open = undefined
    stats.open = undefined
    this.#completing.clear()
    for (const batch of batches) {
      live.remove(batch)
      batch.discard()
    }
    this.#waiting.clear()
    stats.dropHeld()
  }
}

/** The index lost a part that could not be read while it answered. Its answers for this delivery may be wrong. */
class IndexShrunk extends Error {
  constructor() {
    super('A part of the index of ids cannot be read, and was removed. Archiving starts again.')
  }
}
