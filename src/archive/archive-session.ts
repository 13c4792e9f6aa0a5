/**
 * Moves events from one consumer into the store, in batches, each event once.
 *
 *   idle ──(first delivery)──► syncing ──► archiving ──► finished | failed
 *     ▲                           │            │
 *     └───────────(lost)──────────┴────────────┘
 *
 * Idle: nothing has been delivered. Another consumer may be the active one, for days.
 *
 * Syncing: the first delivery means that this consumer is the active one, and that all before it have
 * lost what they had not acknowledged. What they archived, and could not acknowledge, is read from the
 * store into the index; deliveries wait meanwhile.
 *
 * Archiving: deliveries go through the inbox into the open batch, but for those whose event is archived
 * already. A batch that is full, or old, is sealed, and the next one opens while it is on its way; at
 * most `SEALED_MAX` are, and while there are more, or while the store is slower than the queue, the
 * consumer is paused. Batches are stored and acknowledged in the order in which they were opened, so
 * one acknowledgement speaks for a whole batch.
 *
 * Failed: a batch could not be stored, in time or at all, or somebody else stored its beginning. It and
 * all after it are given up, and so is the consumer; the queue delivers all of it again. When the queue
 * loses the connection the same is given up, and deliveries begin again by themselves.
 *
 * Why that archives every event once is in docs/decisions/0002-exactly-once.md.
 */

import type { Config } from '../config.ts'
import { aborted } from '../deferred.ts'
import { StoreUnavailable } from '../errors.ts'
import type { Logger } from '../logger.ts'
import type { Consumer, Delivery } from '../queue/queue.ts'
import type { Amount, ArchiveStats } from './archive-stats.ts'
import { CLOCK_SKEW_MS_MAX, syncIndex } from './archive-sync.ts'
import type { ArchiverParts } from './archiver.ts'
import { Batch } from './batch.ts'
import { type CloseReason, fullBy, overflows } from './batch-policy.ts'
import { createCompressor, extensionOf, framingOf } from './format.ts'
import { Incoming } from './incoming.ts'
import { objectKey } from './object-key.ts'

export type SessionConfig = Pick<
  Config,
  | 'archive'
  | 'archiveFormat'
  | 'archiveCompression'
  | 'batchEventsMax'
  | 'batchBytesMax'
  | 'batchAgeMsMax'
  | 'amqpAckTimeoutMs'
>

/** Batches that are sealed and not yet in the store. With the open one they bound memory and connections. */
const SEALED_MAX = 1
/** Bytes of deliveries that wait for a batch before the queue is asked to pause. */
const INBOX_BYTES_MAX = 4 * 1024 * 1024
/**
 * What is in a batch was received at most so long before or after its first event, by whose time its
 * object is found again. Events that have waited in a spool are in batches of their own.
 */
const RECEIVED_APART_MS_MAX = CLOCK_SKEW_MS_MAX
/** The part of the broker's acknowledgement timeout within which a batch must be stored, from its first event. */
const DEADLINE_SHARE = 0.75
const NOTHING: Amount = { deliveries: 0, events: 0 }

export class ArchiveSession {
  readonly #parts: ArchiverParts
  readonly #config: SessionConfig
  readonly #log: Logger
  readonly #stats: ArchiveStats
  readonly #progressed: () => void
  #state: 'idle' | 'syncing' | 'archiving' | 'ended' = 'idle'
  #syncing: Promise<void> = Promise.resolve()
  #isFinishing = false
  #consumer: Consumer | undefined
  #fail: (error: unknown) => void = () => {}

  #inbox: Incoming[] = []
  #inboxBytes = 0
  #open: Batch | undefined
  #age: NodeJS.Timeout | undefined
  /** Oldest first. */
  readonly #sealed = new Set<Batch>()
  #settled: Promise<void> = Promise.resolve()

  /** @param progressed called when a batch has been archived. */
  constructor(parts: ArchiverParts, stats: ArchiveStats, progressed: () => void) {
    this.#parts = parts
    this.#config = parts.config
    this.#log = parts.log
    this.#stats = stats
    this.#progressed = progressed
  }

  /**
   * Consumes until `stopping`, and then resolves when what was begun is archived and acknowledged.
   *
   * @throws what the session failed for.
   */
  async run(stopping: AbortSignal): Promise<void> {
    const failed = new Promise<never>((_, reject) => {
      this.#fail = reject
    })
    this.#consumer = this.#parts.queue.consume({
      delivery: delivery => this.#deliver(delivery),
      lost: () => this.#begin(),
    })
    try {
      await Promise.race([aborted(stopping), failed])
      await Promise.race([this.#finish(), failed])
    } finally {
      this.#giveUp()
      this.#state = 'ended'
      await this.#consumer.stop()
    }
  }

  /** When the oldest event was received that is not in the store, in milliseconds since 1970. */
  get oldestReceivedAt(): number | undefined {
    const [sealed] = this.#sealed
    const [incoming] = this.#inbox
    const batch = sealed ?? this.#open
    if (batch !== undefined) return batch.firstReceivedAt
    return incoming === undefined || incoming.left === 0 ? undefined : incoming.nextReceivedAt
  }

  /** Back to where nothing has been delivered. */
  #begin(): void {
    this.#giveUp()
    this.#state = 'idle'
    // Nothing waits any more that would resume it.
    this.#resume()
  }

  /** What has been delivered so far is archived, as far as it goes into the batch that is open. */
  async #finish(): Promise<void> {
    this.#isFinishing = true
    await this.#syncing
    this.#state = 'ended'
    this.#inbox = []
    this.#seal('shutdown')
    await this.#settled
  }

  #deliver(delivery: Delivery): void {
    if (this.#isFinishing || this.#state === 'ended') return
    const incoming = new Incoming(delivery)
    this.#stats.delivered(delivery, incoming.events)
    this.#inbox.push(incoming)
    this.#inboxBytes += delivery.body.length
    if (this.#inboxBytes > INBOX_BYTES_MAX) this.#pause()
    if (this.#state === 'idle') {
      this.#state = 'syncing'
      this.#syncing = this.#sync(incoming)
      this.#syncing.catch(error => this.#fail(error))
    }
    this.#drainInbox()
  }

  async #sync(first: Incoming): Promise<void> {
    await syncIndex(this.#parts, this.#config.archive.prefix, first.receivedSpan)
    // The connection may have been lost meanwhile, and have come back with other deliveries.
    if (this.#state !== 'syncing' || this.#inbox[0] !== first) return
    this.#state = 'archiving'
    this.#drainInbox()
  }

  #drainInbox(): void {
    let taken = 0
    for (const incoming of this.#inbox) {
      if (!this.#take(incoming)) break
      this.#inboxBytes -= incoming.delivery.body.length
      taken++
    }
    this.#inbox.splice(0, taken)
    if (this.#inbox.length === 0) this.#resume()
  }

  #pause(): void {
    this.#stats.isPaused = true
    this.#consumer?.pause()
  }

  #resume(): void {
    this.#stats.isPaused = false
    this.#consumer?.resume()
  }

  #canTake(): boolean {
    return this.#open === undefined ? this.#sealed.size <= SEALED_MAX : !this.#open.isBlocked
  }

  /** False where not all of its events can be taken now. */
  #take(incoming: Incoming): boolean {
    if (this.#state !== 'archiving') return false
    if (incoming.isForeign) {
      this.#bury(incoming.delivery)
      return true
    }
    while (incoming.left > 0) {
      if (!this.#canTake()) return false
      if (this.#isTaken(incoming.ids, incoming.idAt(0))) this.#leaveOut(incoming)
      else this.#takeRun(incoming)
    }
    this.#settleLater(incoming)
    return true
  }

  #leaveOut(incoming: Incoming): void {
    this.#stats.duplicates++
    incoming.skip(1)
  }

  #bury(delivery: Delivery): void {
    const { length: bytes } = delivery.body
    this.#log.warn({ bytes }, 'A message is no JSON object: it goes to the dead letters.')
    this.#consumer?.dead(delivery)
    this.#stats.buried()
  }

  /** Takes the next event, and those behind it that go into the same batch; or closes the batch that it does not go into. */
  #takeRun(incoming: Incoming): void {
    const closes = this.#open === undefined ? undefined : this.#closedBy(this.#open, incoming)
    if (closes !== undefined) {
      this.#seal(closes)
      return
    }
    this.#open ??= this.#openBatch(incoming)
    const batch = this.#open
    batch.holdPartOf(incoming.delivery)
    const count = this.#runLength(batch, incoming)
    const framing = framingOf(this.#config.archiveFormat)
    if (framing.joinsLines) batch.add(incoming.lines(count), count)
    else for (let n = 0; n < count; n++) batch.add(incoming.lines(1, n))
    if (incoming.isTraced) batch.follow(incoming.traces(count))
    incoming.skip(count)
    const reason = fullBy(batch, this.#config)
    if (reason !== undefined) this.#seal(reason)
  }

  /** How many of the next events go into the batch, of which one does; and notes their ids there. */
  #runLength(batch: Batch, incoming: Incoming): number {
    const { batchEventsMax, batchBytesMax } = this.#config
    const { between, after } = framingOf(this.#config.archiveFormat)
    const most = Math.min(incoming.left, batchEventsMax - batch.events)
    let bytes = batch.bytes
    for (let n = 0; n < most; n++) {
      const at = incoming.idAt(n)
      bytes += between.length + incoming.lengthOf(n)
      if (n > 0 && (bytes + after.length > batchBytesMax || this.#isTaken(incoming.ids, at))) return n
      batch.ids.add(incoming.ids, at)
    }
    return most
  }

  /** Why the event belongs in the next batch, or undefined where it does not. */
  #closedBy(open: Batch, incoming: Incoming): CloseReason | undefined {
    // Another writer would have another key for it, and so would not lose against this one.
    if (!open.isKeyRepeatable && incoming.isRepeatable) return 'foreign'
    const { between, after } = framingOf(this.#config.archiveFormat)
    if (overflows(open, between.length + incoming.lengthOf(0) + after.length, this.#config)) return 'bytes'
    return Math.abs(open.firstReceivedAt - incoming.nextReceivedAt) > RECEIVED_APART_MS_MAX
      ? 'time'
      : undefined
  }

  #isTaken(ids: Buffer, at: number): boolean {
    if (this.#open?.ids.has(ids, at) || this.#parts.index.has(ids, at)) return true
    for (const batch of this.#sealed) if (batch.ids.has(ids, at)) return true
    return false
  }

  /** Its events are archived, or on their way; it is acknowledged after all that was delivered before it. */
  #settleLater(incoming: Incoming): void {
    const batch = this.#open ?? [...this.#sealed].at(-1)
    if (batch !== undefined) {
      batch.settleWith(incoming)
      return
    }
    const { delivery, events } = incoming
    this.#consumer?.ackThrough(delivery)
    const one = { deliveries: 1, events }
    if (delivery.group === undefined) this.#stats.settle(NOTHING, one)
    else this.#stats.settle(one, NOTHING)
  }

  #openBatch(incoming: Incoming): Batch {
    const { archive, archiveFormat, archiveCompression, batchAgeMsMax, amqpAckTimeoutMs } = this.#config
    const extension = extensionOf(archiveFormat, archiveCompression)
    const receivedAt = new Date(incoming.nextReceivedAt)
    const batch = new Batch(
      incoming,
      objectKey(archive.prefix, receivedAt, incoming.lines(1), extension),
      this.#parts.store,
      framingOf(archiveFormat),
      createCompressor(archiveCompression),
      () => this.#drainInbox(),
    )
    // An upload that breaks off is noticed at once, and not when the batch is full.
    batch.stored.catch(error => this.#failIfCurrent(batch, error))
    this.#stats.open = batch
    this.#age = setTimeout(() => this.#seal('age'), batchAgeMsMax)
    const deadline = setTimeout(() => {
      const error = new StoreUnavailable(
        `${batch.key} was not stored in time for the broker's acknowledgement timeout.`,
      )
      this.#failIfCurrent(batch, error)
    }, amqpAckTimeoutMs * DEADLINE_SHARE)
    batch.stored.catch(() => {}).finally(() => clearTimeout(deadline))
    return batch
  }

  #failIfCurrent(batch: Batch, error: unknown): void {
    if (batch === this.#open || this.#sealed.has(batch)) this.#fail(error)
  }

  #seal(reason: CloseReason): void {
    clearTimeout(this.#age)
    const batch = this.#open
    if (batch === undefined) return
    this.#open = undefined
    this.#stats.open = undefined
    this.#sealed.add(batch)
    this.#settled = this.#settle(batch, reason, this.#settled)
    this.#settled.catch(error => this.#failIfCurrent(batch, error))
  }

  async #settle(batch: Batch, reason: CloseReason, previous: Promise<void>): Promise<void> {
    const sealedAt = performance.now()
    await previous
    const storedBytes = await batch.seal()
    const uploadMs = performance.now() - sealedAt
    await this.#parts.index.addObject(batch.key, batch.ids.digests)
    const { key, events, bytes } = batch
    this.#stats.stored({ key, events, bytes, storedBytes, reason, at: Date.now() }, uploadMs)
    if (!this.#sealed.delete(batch)) return
    if (batch.last !== undefined) this.#consumer?.ackThrough(batch.last)
    this.#stats.settle(batch.settles.own, batch.settles.foreign)
    this.#progressed()
    this.#log.info(
      { key, events, bytes, reason, ms: Math.round(performance.now() - sealedAt) },
      'Batch archived.',
    )
    this.#drainInbox()
  }

  /** Drops what is not acknowledged yet: the queue delivers it again. */
  #giveUp(): void {
    clearTimeout(this.#age)
    const batches = [...this.#sealed]
    if (this.#open !== undefined) batches.push(this.#open)
    this.#open = undefined
    this.#sealed.clear()
    for (const batch of batches) batch.discard()
    this.#settled = Promise.resolve()
    this.#inbox = []
    this.#inboxBytes = 0
    this.#stats.dropHeld()
  }
}
