/**
 * Moves events from the queue into the store, in batches.
 *
 *   waiting ──► consuming ──► (stop) ──► stopped
 *      ▲            │
 *      └── failed ◄─┘
 *
 * Waiting: the store is asked whether it can be used, with back-off, and nothing is consumed; so the
 * events of an outage stay in the queue, and are not delivered over and over.
 *
 * Consuming: deliveries go through the inbox into the open batch. A batch that is full, or old, is
 * sealed, and the next one opens while it is on its way; at most `BATCHES_MAX` are on their way, and
 * while there are more, or while the store is slower than the queue, the consumer is paused. Batches
 * are acknowledged in the order in which they were opened, each once it is in the store and all before
 * it are, so one acknowledgement speaks for a whole batch.
 *
 * Failed: a batch could not be stored. It and all after it are given up, the consumer stops, and the
 * queue delivers all of it again to the next consumer. When the queue itself loses the connection the
 * same is given up, and the queue begins again by itself.
 */

import { setTimeout as delay } from 'node:timers/promises'
import type { Config } from '../config.ts'
import { foreignEvent } from '../event.ts'
import type { Logger } from '../logger.ts'
import type { Consumer, Delivery, Queue } from '../queue/queue.ts'
import type { ObjectStore } from '../store/store.ts'
import { Batch } from './batch.ts'
import { type CloseReason, fullBy, overflows } from './batch-policy.ts'
import { createCompressor, extensionOf, framingOf } from './format.ts'
import { objectKey } from './object-key.ts'

export type ArchiverConfig = Pick<
  Config,
  'archive' | 'archiveFormat' | 'archiveCompression' | 'batchEventsMax' | 'batchBytesMax' | 'batchAgeMsMax'
>

/** Batches that are sealed and not yet in the store. With the open one they bound memory and connections. */
const BATCHES_MAX = 2
/** Bytes of deliveries that wait for a batch before the queue is asked to pause. */
const INBOX_BYTES_MAX = 4 * 1024 * 1024
const RETRY_MS_MIN = 500
const RETRY_MS_MAX = 30_000

export interface ArchiverParts {
  readonly queue: Queue
  readonly store: ObjectStore
  readonly config: ArchiverConfig
  readonly log: Logger
}

export class Archiver {
  readonly #queue: Queue
  readonly #store: ObjectStore
  readonly #config: ArchiverConfig
  readonly #log: Logger
  readonly #stopping = new AbortController()
  #running: Promise<void> = Promise.resolve()
  #consumer: Consumer | undefined
  #failed: ((error: unknown) => void) | undefined
  #failures = 0
  #trouble: string | undefined = 'not started'

  #inbox: Delivery[] = []
  #inboxBytes = 0
  #open: Batch | undefined
  #openedAge: NodeJS.Timeout | undefined
  readonly #sealed = new Set<Batch>()
  #settled: Promise<void> = Promise.resolve()

  constructor({ queue, store, config, log }: ArchiverParts) {
    this.#queue = queue
    this.#store = store
    this.#config = config
    this.#log = log
  }

  /** What keeps it from archiving now, in words for a person. */
  get trouble(): string | undefined {
    return this.#trouble
  }

  start(): void {
    this.#running = this.#run()
  }

  /** Takes no more deliveries, seals the open batch, and resolves when all batches are stored and acknowledged. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    await this.#running
  }

  async #run(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      try {
        await this.#store.check()
        await this.#consume()
      } catch (error) {
        this.#trouble = (error as Error).message
        this.#log.error({ err: error }, 'Archiving has stopped; it will be tried again.')
        await this.#backOff()
      }
    }
    this.#trouble = 'stopped'
  }

  /** Resolves after `stop`. @throws what a batch could not be stored for. */
  async #consume(): Promise<void> {
    const failure = new Promise<never>((_, reject) => {
      this.#failed = reject
    })
    const stopped = new Promise<void>(resolve => {
      if (this.#stopping.signal.aborted) resolve()
      else this.#stopping.signal.addEventListener('abort', () => resolve(), { once: true })
    })
    this.#trouble = undefined
    this.#consumer = this.#queue.consume({
      delivery: delivery => this.#deliver(delivery),
      lost: () => this.#giveUp(),
    })
    try {
      await Promise.race([stopped, failure])
      await Promise.race([this.#finish(), failure])
    } finally {
      this.#giveUp()
      await this.#consumer.stop()
      this.#consumer = undefined
    }
  }

  async #finish(): Promise<void> {
    this.#inbox = []
    this.#seal('shutdown')
    await this.#settled
  }

  async #backOff(): Promise<void> {
    const ms = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** this.#failures++)
    const jittered = ms / 2 + Math.random() * (ms / 2)
    await delay(jittered, undefined, { signal: this.#stopping.signal }).catch(() => {})
  }

  #deliver(delivery: Delivery): void {
    if (this.#stopping.signal.aborted) return
    this.#inbox.push(delivery)
    this.#inboxBytes += delivery.body.length
    this.#drainInbox()
    if (this.#inboxBytes > INBOX_BYTES_MAX) this.#consumer?.pause()
  }

  #drainInbox(): void {
    let taken = 0
    while (taken < this.#inbox.length && !this.#isBlocked()) {
      const delivery = this.#inbox[taken++] as Delivery
      this.#inboxBytes -= delivery.body.length
      this.#take(delivery)
    }
    this.#inbox.splice(0, taken)
    if (this.#inbox.length === 0) this.#consumer?.resume()
  }

  #isBlocked(): boolean {
    return this.#open === undefined ? this.#sealed.size >= BATCHES_MAX : this.#open.isBlocked
  }

  #take(delivery: Delivery): void {
    const body = delivery.isEvent ? delivery.body : foreignEvent(delivery.body, new Date())?.body
    if (body === undefined) {
      this.#log.warn(
        { bytes: delivery.body.length },
        'A message is no JSON object: it goes to the dead letters.',
      )
      this.#consumer?.dead(delivery)
      return
    }
    if (this.#open !== undefined && overflows(this.#open, body.length, this.#config)) this.#seal('bytes')
    this.#open ??= this.#openBatch()
    this.#open.add(body, delivery)
    const reason = fullBy(this.#open, this.#config)
    if (reason !== undefined) this.#seal(reason)
  }

  #openBatch(): Batch {
    const { archive, archiveFormat, archiveCompression, batchAgeMsMax } = this.#config
    const key = objectKey(archive.prefix, new Date(), extensionOf(archiveFormat, archiveCompression))
    const batch = new Batch(
      key,
      this.#store,
      framingOf(archiveFormat),
      createCompressor(archiveCompression),
      () => this.#drainInbox(),
    )
    // An upload that breaks off is noticed at once, and not when the batch is full.
    batch.stored.catch(error => {
      if (batch === this.#open || this.#sealed.has(batch)) this.#failed?.(error)
    })
    this.#openedAge = setTimeout(() => this.#seal('age'), batchAgeMsMax)
    return batch
  }

  #seal(reason: CloseReason): void {
    clearTimeout(this.#openedAge)
    const batch = this.#open
    if (batch === undefined) return
    this.#open = undefined
    this.#sealed.add(batch)
    const previous = this.#settled
    this.#settled = this.#settle(batch, reason, previous)
    // A failure has been reported by the batch itself.
    this.#settled.catch(() => {})
  }

  async #settle(batch: Batch, reason: CloseReason, previous: Promise<void>): Promise<void> {
    const sealedAt = performance.now()
    await batch.seal()
    await previous
    if (!this.#sealed.delete(batch)) return
    if (batch.last !== undefined) this.#consumer?.ackThrough(batch.last)
    this.#failures = 0
    const { key, events, bytes } = batch
    this.#log.info(
      { key, events, bytes, reason, ms: Math.round(performance.now() - sealedAt) },
      'Batch archived.',
    )
    this.#drainInbox()
  }

  /** Drops what is not acknowledged yet: the queue delivers it again. */
  #giveUp(): void {
    clearTimeout(this.#openedAge)
    this.#open?.discard()
    this.#open = undefined
    for (const batch of this.#sealed) batch.discard()
    this.#sealed.clear()
    this.#settled = Promise.resolve()
    this.#inbox = []
    this.#inboxBytes = 0
  }
}
