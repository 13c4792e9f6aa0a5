/**
 * Takes deliveries from one consumer, and their events into batches.
 *
 *   taking ──(stop)──► finishing ──► ended
 *      └──(a batch that cannot be completed)──► failed ──► ended
 *
 * An event is in one of our batches already, or in the log, or it is new; only new ones go into the open batch. One
 * that may have been archived so long ago that its id is forgotten is looked up first (old-events.ts), and others
 * go on meanwhile. A delivery is acknowledged when all that holds its events is archived, in whatever order.
 *
 * A batch that is full, or old, is sealed, and goes to the committer once its content is complete. While so many are
 * on their way, or while the store is slower than the queue, the consumer is paused.
 *
 * When the queue loses the connection its deliveries are void, and come again: their events are found in the
 * batches that they are in. When a session fails, its batches that are not complete are given up, and all that is
 * not acknowledged comes again.
 */

import type { Config } from '../config/config.ts'
import type { IdIndex } from '../dedupe/id-index.ts'
import type { LiveIds } from '../dedupe/live-ids.ts'
import type { RecentLengths } from '../dedupe/recent-lengths.ts'
import type { Settlement } from '../log/settlement.ts'
import { framingOf } from '../object/format.ts'
import type { ObjectParts } from '../object/object-writer.ts'
import { aborted } from '../process/deferred.ts'
import type { Logger } from '../process/logger.ts'
import type { Consumer, Delivery, Queue } from '../queue/queue.ts'
import type { Amount, ArchiveStats } from './archive-stats.ts'
import { Batch } from './batch.ts'
import { type CloseReason, fullBy, hasRoom, isApart, overflows } from './batch-limits.ts'
import type { Committer } from './committer.ts'
import { DeliveredEvents } from './delivered-events.ts'
import type { OldEvents } from './old-events.ts'
import { PendingDelivery } from './pending-delivery.ts'

export type SessionConfig = Pick<
  Config,
  'archive' | 'archiveFormat' | 'archiveCompression' | 'batchEventsMax' | 'batchBytesMax' | 'batchAgeMsMax'
>

/** Bytes of deliveries that wait for a batch before the queue is asked to pause. */
const INBOX_BYTES_MAX = 4 * 1024 * 1024
const NOTHING: Amount = { deliveries: 0, events: 0 }

export interface SessionParts {
  readonly queue: Pick<Queue, 'consume'>
  readonly objects: ObjectParts
  readonly committer: Committer
  readonly settlement: Pick<Settlement, 'find' | 'whenSettled'>
  readonly live: LiveIds<Batch>
  readonly index: Pick<IdIndex, 'has' | 'remembersFrom'>
  readonly oldEvents: OldEvents
  readonly config: SessionConfig
  readonly lengths: RecentLengths
  readonly stats: ArchiveStats
  readonly log: Logger
}

export class ArchiveSession {
  readonly #parts: SessionParts
  readonly #config: SessionConfig
  #state: 'taking' | 'finishing' | 'ended' = 'taking'
  #consumer: Consumer | undefined
  #reject: (error: unknown) => void = () => {}
  /** Counts the connections that deliveries came on. */
  #epoch = 0

  #inbox: DeliveredEvents[] = []
  #inboxBytes = 0
  #open: Batch | undefined
  #age: NodeJS.Timeout | undefined
  /** Sealed, and not complete. */
  readonly #completing = new Set<Batch>()
  /** Deliveries that were found to be archived in this turn of the event loop. */
  #ready: PendingDelivery[] = []

  constructor(parts: SessionParts) {
    this.#parts = parts
    this.#config = parts.config
  }

  /**
   * Consumes until `stopping`, and then resolves when what was begun is archived and acknowledged.
   *
   * @throws what the session failed for.
   */
  async run(stopping: AbortSignal): Promise<void> {
    const failed = new Promise<never>((_, reject) => {
      this.#reject = reject
    })
    this.#consumer = this.#parts.queue.consume({
      delivery: delivery => this.#deliver(delivery),
      lost: () => this.#begin(),
    })
    try {
      await Promise.race([aborted(stopping), failed])
      await Promise.race([this.#finish(), failed])
    } finally {
      this.#state = 'ended'
      this.#giveUp()
      await this.#consumer.stop()
    }
  }

  /** Ends the session: what it has not acknowledged comes again. */
  fail(error: unknown): void {
    // In the same turn nothing more goes into a batch, and no batch to the committer.
    this.#state = 'ended'
    this.#epoch++
    this.#ready = []
    this.#reject(error)
  }

  /** To be called when there is room for another batch. */
  goOn(): void {
    this.#drainInbox()
  }

  /** When the oldest event was received that waits for a batch, or is in the open one; in milliseconds since 1970. */
  get oldestReceivedAt(): number | undefined {
    const [completing] = this.#completing
    const [delivered] = this.#inbox
    const batch = completing ?? this.#open
    if (batch !== undefined) return batch.firstReceivedAt
    return delivered === undefined || delivered.left === 0 ? undefined : delivered.receivedAt(0)
  }

  /** What came on the connection that is gone comes again; what is in batches stays there. */
  #begin(): void {
    this.#epoch++
    this.#inbox = []
    this.#inboxBytes = 0
    this.#ready = []
    this.#parts.stats.dropHeld()
    this.#resume()
  }

  /** What is in batches is archived, and the rest comes again. */
  async #finish(): Promise<void> {
    this.#state = 'finishing'
    this.#inbox = []
    this.#seal('shutdown')
    while (this.#completing.size > 0) await Promise.all([...this.#completing].map(batch => batch.completed))
    await this.#parts.committer.idle()
    this.#acknowledge()
  }

  #deliver(delivery: Delivery): void {
    if (this.#state !== 'taking') return
    const delivered = new DeliveredEvents(delivery)
    this.#parts.stats.delivered(delivery, delivered.events)
    this.#inbox.push(delivered)
    this.#inboxBytes += delivery.body.length
    if (this.#inboxBytes > INBOX_BYTES_MAX) this.#pause()
    this.#drainInbox()
  }

  #drainInbox(): void {
    let taken = 0
    for (const delivered of this.#inbox) {
      if (!this.#take(delivered)) break
      this.#inboxBytes -= delivered.delivery.body.length
      taken++
    }
    this.#inbox.splice(0, taken)
    if (this.#inbox.length === 0) this.#resume()
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
    return hasRoom({ batches: this.#completing.size + committer.size, bytes, streaming })
  }

  /** False where not all of its events can be taken now. */
  #take(delivered: DeliveredEvents): boolean {
    if (this.#state !== 'taking') return false
    if (delivered.isUnreadable) {
      this.#bury(delivered.delivery, 'A message is no JSON object: it goes to the dead letters.')
      return true
    }
    if (this.#parts.oldEvents.mayHold(delivered)) {
      if (this.#parts.oldEvents.isFull) return false
      this.#setAside(delivered)
      return true
    }
    delivered.pending ??= this.#pendingOf(delivered)
    const { pending } = delivered
    const { remembersFrom } = this.#parts.index
    while (delivered.left > 0 && this.#canTake())
      if (!this.#leaveOut(delivered, pending)) this.#takeRun(delivered, pending)
    if (this.#parts.index.remembersFrom !== remembersFrom) this.fail(new IndexShrunk())
    if (delivered.left > 0) return false
    pending.arrived()
    return true
  }

  /** It has events that may be archived, and forgotten: they are looked up, and it comes back. */
  #setAside(delivered: DeliveredEvents): void {
    const epoch = this.#epoch
    this.#parts.oldEvents.lookUp(delivered).then(
      outcome => {
        if (epoch !== this.#epoch || this.#state !== 'taking') return
        if (outcome === 'gone') {
          this.#bury(
            delivered.delivery,
            'A message is too old to tell whether it is archived: it goes to the dead letters.',
          )
          return
        }
        this.#inboxBytes += delivered.delivery.body.length
        this.#inbox.push(delivered)
        this.#drainInbox()
      },
      error => this.fail(error),
    )
  }

  #pendingOf({ delivery, events }: DeliveredEvents): PendingDelivery {
    return new PendingDelivery(delivery, events, this.#epoch, pending => this.#settleLater(pending))
  }

  /** Whether the next event is archived, or in a batch; its delivery then waits for what holds it. */
  #leaveOut(delivered: DeliveredEvents, pending: PendingDelivery): boolean {
    const { live, index, settlement, lengths, stats } = this.#parts
    const { ids } = delivered
    const at = delivered.idAt(0)
    const place = live.find(ids, at)
    if (place !== undefined) place.owner.addWaiter(pending)
    else if (index.has(ids, at)) {
      const unsettled = settlement.find(ids, at)
      if (unsettled !== undefined) {
        pending.waitForOneMore()
        settlement.whenSettled(unsettled, () => pending.arrived())
      }
    } else if (!delivered.isKnown(at)) return false
    stats.duplicates++
    if (lengths.differs(ids, at, delivered.lengthOf(0))) stats.differingDuplicates++
    delivered.skip(1)
    return true
  }

  #bury(delivery: Delivery, reason: string): void {
    const { log, stats } = this.#parts
    log.warn({ bytes: delivery.body.length }, reason)
    this.#consumer?.dead(delivery)
    stats.buried()
  }

  /** Takes the next event, and those behind it that go into the same batch; or closes the batch that it does not go into. */
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
    if (delivered.isTraced) batch.follow(delivered.traces(count))
    delivered.skip(count)
    const reason = fullBy(batch, this.#config)
    if (reason !== undefined) this.#seal(reason)
  }

  /** Notes the next event in the batch, and those behind it that go there too; gives how many. */
  #noteRun(batch: Batch, delivered: DeliveredEvents): number {
    const { live, lengths } = this.#parts
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
        if (isFull || isApart(batch, receivedAt) || this.#isKnown(delivered, at)) return n
      }
      live.add(ids, at, batch, batch.note(ids, at, receivedAt))
      lengths.note(ids, at, length)
    }
    return most
  }

  #isKnown(delivered: DeliveredEvents, at: number): boolean {
    const { live, index } = this.#parts
    return live.has(delivered.ids, at) || index.has(delivered.ids, at) || delivered.isKnown(at)
  }

  /** Why the event belongs in the next batch, or undefined where it does not. */
  #closedBy(open: Batch, delivered: DeliveredEvents): CloseReason | undefined {
    const { between, after } = framingOf(this.#config.archiveFormat)
    if (overflows(open, between.length + delivered.lengthOf(0) + after.length, this.#config)) return 'bytes'
    return isApart(open, delivered.receivedAt(0)) ? 'time' : undefined
  }

  #openBatch(delivered: DeliveredEvents): Batch {
    const { objects, stats } = this.#parts
    const batch = new Batch(delivered.receivedAt(0), objects, () => this.#drainInbox())
    // An upload that breaks off is noticed at once, and not when the batch is full.
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
        if (this.#state === 'ended' || !this.#completing.delete(batch)) return
        this.#parts.committer.add(batch)
        this.#drainInbox()
      },
      error => this.#failIfCurrent(batch, error),
    )
  }

  /** All of its events are archived: it is acknowledged at the end of this turn, with others. */
  #settleLater(pending: PendingDelivery): void {
    if (pending.epoch !== this.#epoch) return
    if (this.#ready.push(pending) === 1) queueMicrotask(() => this.#acknowledge())
  }

  #acknowledge(): void {
    if (this.#ready.length === 0) return
    const { stats } = this.#parts
    const ready = this.#ready
    this.#ready = []
    this.#consumer?.ack(ready.map(({ delivery }) => delivery))
    for (const { delivery, events } of ready) {
      const one = { deliveries: 1, events }
      if (delivery.group === undefined) stats.settle(NOTHING, one)
      else stats.settle(one, NOTHING)
    }
  }

  /** Drops what is not complete: the queue delivers it again. */
  #giveUp(): void {
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
    this.#epoch++
    this.#inbox = []
    this.#inboxBytes = 0
    stats.dropHeld()
  }
}

/** A look-up met a part of the index that cannot be read: what it said of these events may be wrong. */
class IndexShrunk extends Error {
  constructor() {
    super('A part of the index of ids cannot be read, and is forgotten: archiving begins again.')
  }
}
