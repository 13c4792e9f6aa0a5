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
import { StoreUnavailable } from '../errors.ts'
import { foreignEvent, isReceivedWithin, receivedAtOf } from '../event.ts'
import type { Logger } from '../logger.ts'
import type { Consumer, Delivery } from '../queue/queue.ts'
import { CLOCK_SKEW_MS_MAX, syncIndex } from './archive-sync.ts'
import type { ArchiverParts } from './archiver.ts'
import { Batch } from './batch.ts'
import { type CloseReason, fullBy, overflows } from './batch-policy.ts'
import { createCompressor, extensionOf, framingOf } from './format.ts'
import { idDigest } from './id-set.ts'
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

export class ArchiveSession {
  readonly #parts: ArchiverParts
  readonly #config: SessionConfig
  readonly #log: Logger
  readonly #progressed: () => void
  #state: 'idle' | 'syncing' | 'archiving' | 'ended' = 'idle'
  #syncing: Promise<void> = Promise.resolve()
  #isFinishing = false
  #consumer: Consumer | undefined
  #fail: (error: unknown) => void = () => {}

  #inbox: Delivery[] = []
  #inboxBytes = 0
  #open: Batch | undefined
  #age: NodeJS.Timeout | undefined
  /** Oldest first. */
  readonly #sealed = new Set<Batch>()
  #settled: Promise<void> = Promise.resolve()

  /** @param progressed called when a batch has been archived. */
  constructor(parts: ArchiverParts, progressed: () => void) {
    this.#parts = parts
    this.#config = parts.config
    this.#log = parts.log
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

  /** Back to where nothing has been delivered. */
  #begin(): void {
    this.#giveUp()
    this.#state = 'idle'
    // Nothing waits any more that would resume it.
    this.#consumer?.resume()
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
    this.#inbox.push(delivery)
    this.#inboxBytes += delivery.body.length
    if (this.#inboxBytes > INBOX_BYTES_MAX) this.#consumer?.pause()
    if (this.#state === 'idle') {
      this.#state = 'syncing'
      this.#syncing = this.#sync(delivery)
      this.#syncing.catch(error => this.#fail(error))
    }
    this.#drainInbox()
  }

  async #sync(first: Delivery): Promise<void> {
    const oldest = first.event === undefined ? new Date() : receivedAtOf(first.event.body)
    await syncIndex(this.#parts, this.#config.archive.prefix, oldest)
    // The connection may have been lost meanwhile, and have come back with other deliveries.
    if (this.#state !== 'syncing' || this.#inbox[0] !== first) return
    this.#state = 'archiving'
    this.#drainInbox()
  }

  #drainInbox(): void {
    let taken = 0
    while (taken < this.#inbox.length && this.#canTake()) {
      const delivery = this.#inbox[taken++] as Delivery
      this.#inboxBytes -= delivery.body.length
      this.#take(delivery)
    }
    this.#inbox.splice(0, taken)
    if (this.#inbox.length === 0) this.#consumer?.resume()
  }

  #canTake(): boolean {
    if (this.#state !== 'archiving') return false
    return this.#open === undefined ? this.#sealed.size <= SEALED_MAX : !this.#open.isBlocked
  }

  #take(delivery: Delivery): void {
    const event = delivery.event ?? foreignEvent(delivery.body, new Date())
    if (event === undefined) {
      this.#log.warn(
        { bytes: delivery.body.length },
        'A message is no JSON object: it goes to the dead letters.',
      )
      this.#consumer?.dead(delivery)
      return
    }
    const id = idDigest(event.messageId)
    if (this.#isTaken(id)) {
      this.#skip(delivery)
      return
    }
    const closes = this.#open === undefined ? undefined : this.#closedBy(this.#open, event.body)
    if (closes !== undefined) this.#seal(closes)
    this.#open ??= this.#openBatch(event.body)
    this.#open.add(event.body, id, delivery)
    const reason = fullBy(this.#open, this.#config)
    if (reason !== undefined) this.#seal(reason)
  }

  /** Why the event belongs in the next batch, or undefined where it does not. */
  #closedBy(open: Batch, body: Buffer): CloseReason | undefined {
    const { between, after } = framingOf(this.#config.archiveFormat)
    if (overflows(open, between.length + body.length + after.length, this.#config)) return 'bytes'
    return isReceivedWithin(RECEIVED_APART_MS_MAX, open.firstEvent, body) ? undefined : 'time'
  }

  #isTaken(id: Buffer): boolean {
    if (this.#open?.ids.has(id) || this.#parts.index.has(id)) return true
    for (const batch of this.#sealed) if (batch.ids.has(id)) return true
    return false
  }

  /** Its event is archived, or on its way; it is acknowledged after all that was delivered before it. */
  #skip(delivery: Delivery): void {
    const batch = this.#open ?? [...this.#sealed].at(-1)
    if (batch === undefined) this.#consumer?.ackThrough(delivery)
    else batch.settleWith(delivery)
  }

  #openBatch(firstEvent: Buffer): Batch {
    const { archive, archiveFormat, archiveCompression, batchAgeMsMax, amqpAckTimeoutMs } = this.#config
    const extension = extensionOf(archiveFormat, archiveCompression)
    const batch = new Batch(
      firstEvent,
      objectKey(archive.prefix, receivedAtOf(firstEvent), firstEvent, extension),
      this.#parts.store,
      framingOf(archiveFormat),
      createCompressor(archiveCompression),
      () => this.#drainInbox(),
    )
    // An upload that breaks off is noticed at once, and not when the batch is full.
    batch.stored.catch(error => this.#failIfCurrent(batch, error))
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
    this.#sealed.add(batch)
    this.#settled = this.#settle(batch, reason, this.#settled)
    this.#settled.catch(error => this.#failIfCurrent(batch, error))
  }

  async #settle(batch: Batch, reason: CloseReason, previous: Promise<void>): Promise<void> {
    const sealedAt = performance.now()
    await previous
    await batch.seal()
    await this.#parts.index.addObject(batch.key, batch.ids)
    if (!this.#sealed.delete(batch)) return
    if (batch.last !== undefined) this.#consumer?.ackThrough(batch.last)
    this.#progressed()
    const { key, events, bytes } = batch
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
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
