/**
 * A durable queue on local disk, for one process: LMDB, where an event is a key that counts up and a
 * value that is its bytes.
 *
 * A publish resolves when its transaction is on disk (fdatasync); publishes of the same moment share
 * one. A consumer reads on from a cursor and remembers nothing of what it has handed out but the last
 * key; acknowledging removes all keys up to one. What was handed out and not acknowledged is still
 * there, and is handed out again when the next consumer starts at the first key.
 */

import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type Database, open, type RootDatabase } from 'lmdb'
import type { Config } from '../config.ts'
import { type DirectoryLock, lockDirectory } from '../directory-lock.ts'
import { ConfigInvalid, QueueUnavailable } from '../errors.ts'
import type { Event } from '../event.ts'
import type { Logger } from '../logger.ts'
import type { Consumer, Delivery, DeliveryHandler, Durability, Queue } from './queue.ts'

export type EmbeddedConfig = Pick<Config, 'dataDir' | 'amqpPrefetch' | 'spoolBytesMax'>

const READ_EVENTS_MAX = 256
const USAGE_MS_MAX = 200

class EmbeddedQueue implements Queue {
  readonly description: string
  readonly #root: RootDatabase
  readonly #events: Database<Buffer, number>
  readonly #dead: Database<Buffer, number>
  readonly #config: EmbeddedConfig
  readonly #log: Logger
  readonly #firstOwnKey: number
  readonly #lock: DirectoryLock
  #nextKey: number
  #consumer: EmbeddedConsumer | undefined
  #usage = { bytes: 0, at: Number.NEGATIVE_INFINITY }
  #failure: string | undefined

  constructor(path: string, lock: DirectoryLock, config: EmbeddedConfig, log: Logger) {
    this.description = `embedded, in ${path}`
    this.#config = config
    this.#log = log
    this.#lock = lock
    this.#root = open({ path, encoding: 'binary', maxDbs: 4 })
    this.#events = this.#root.openDB({ name: 'events', encoding: 'binary' })
    this.#dead = this.#root.openDB({ name: 'dead', encoding: 'binary' })
    this.#firstOwnKey = 1 + Math.max(lastKey(this.#events), lastKey(this.#dead))
    this.#nextKey = this.#firstOwnKey
  }

  get trouble(): string | undefined {
    return this.#failure
  }

  async publish({ body }: Event): Promise<Durability> {
    if (this.#bytesUsed() + body.length > this.#config.spoolBytesMax) {
      throw new QueueUnavailable('The queue on disk is full (SPOOL_BYTES_MAX): send this again later.')
    }
    try {
      await this.#events.put(this.#nextKey++, body)
      await this.#root.flushed
      this.#failure = undefined
    } catch (cause) {
      this.#failure = `${this.description}: ${(cause as Error).message}`
      throw new QueueUnavailable('The queue on disk cannot be written: send this again later.', { cause })
    }
    this.#consumer?.wake()
    return 'disk'
  }

  consume(handler: DeliveryHandler): Consumer {
    if (this.#consumer !== undefined) throw new Error('The embedded queue has one consumer at a time.')
    this.#consumer = new EmbeddedConsumer(this.#events, this.#dead, {
      handler,
      log: this.#log,
      prefetch: this.#config.amqpPrefetch,
      firstOwnKey: this.#firstOwnKey,
      stopped: () => {
        this.#consumer = undefined
      },
    })
    return this.#consumer
  }

  async depth(): Promise<number> {
    return this.#stats().entryCount - (this.#consumer?.inFlight ?? 0)
  }

  async close(): Promise<void> {
    await this.#consumer?.stop()
    await this.#root.close()
    await this.#lock.release()
  }

  /** The pages that hold events, asked for at most a few times a second. */
  #bytesUsed(): number {
    const now = performance.now()
    if (now - this.#usage.at > USAGE_MS_MAX) {
      const stats = this.#stats()
      const pages = stats.treeBranchPageCount + stats.treeLeafPageCount + stats.overflowPages
      this.#usage = { bytes: pages * stats.pageSize, at: now }
    }
    return this.#usage.bytes
  }

  #stats(): LmdbStats {
    return this.#events.getStats() as LmdbStats
  }
}

/** What lmdb's `getStats()` gives; its types say `{}`. */
interface LmdbStats {
  entryCount: number
  pageSize: number
  treeBranchPageCount: number
  treeLeafPageCount: number
  overflowPages: number
}

interface EmbeddedDelivery extends Delivery {
  readonly key: number
  /** Counts this consumer's deliveries from 1. */
  readonly ordinal: number
}

interface EmbeddedConsumerOptions {
  readonly handler: DeliveryHandler
  readonly log: Logger
  readonly prefetch: number
  /** Keys before it were there when the queue was opened, and may have been delivered in another life. */
  readonly firstOwnKey: number
  readonly stopped: () => void
}

class EmbeddedConsumer implements Consumer {
  readonly #events: Database<Buffer, number>
  readonly #dead: Database<Buffer, number>
  readonly #options: EmbeddedConsumerOptions
  #cursor = 0
  #ackedKey = 0
  #delivered = 0
  #acked = 0
  /** Ordinals of dead deliveries that no acknowledgement has passed yet. */
  readonly #deadAhead = new Set<number>()
  #isPaused = false
  #isStopping = false
  #isPumpDue = false
  #removal: Promise<unknown> = Promise.resolve()

  constructor(
    events: Database<Buffer, number>,
    dead: Database<Buffer, number>,
    options: EmbeddedConsumerOptions,
  ) {
    this.#events = events
    this.#dead = dead
    this.#options = options
    this.wake()
  }

  get inFlight(): number {
    return this.#delivered - this.#acked - this.#deadAhead.size
  }

  wake(): void {
    if (this.#isPumpDue || this.#isPaused || this.#isStopping) return
    this.#isPumpDue = true
    setImmediate(() => {
      this.#isPumpDue = false
      this.#pump()
    })
  }

  ackThrough(delivery: Delivery): void {
    const { key, ordinal } = delivery as EmbeddedDelivery
    const keys = [...this.#events.getKeys({ start: this.#ackedKey + 1, end: key + 1 })]
    this.#ackedKey = key
    this.#acked = ordinal
    for (const each of this.#deadAhead) if (each <= ordinal) this.#deadAhead.delete(each)
    this.#write(keys.map(each => this.#events.remove(each)))
  }

  dead(delivery: Delivery): void {
    const { key, ordinal, body } = delivery as EmbeddedDelivery
    this.#deadAhead.add(ordinal)
    this.#write([this.#dead.put(key, body), this.#events.remove(key)])
  }

  pause(): void {
    this.#isPaused = true
  }

  resume(): void {
    if (!this.#isPaused) return
    this.#isPaused = false
    this.wake()
  }

  async stop(): Promise<void> {
    this.#isStopping = true
    await this.#removal
    this.#options.stopped()
  }

  /** Writes that were begun in one turn of the event loop are one transaction. */
  #write(writes: Promise<boolean>[]): void {
    this.#removal = Promise.all([this.#removal, ...writes]).catch(error =>
      this.#options.log.error(
        { err: error },
        'Events that were settled could not be removed from the queue.',
      ),
    )
    this.wake()
  }

  #pump(): void {
    const room = Math.min(READ_EVENTS_MAX, this.#options.prefetch - this.inFlight)
    if (this.#isPaused || this.#isStopping || room <= 0) return
    let count = 0
    for (const { key, value } of this.#events.getRange({ start: this.#cursor + 1, limit: room })) {
      count++
      this.#cursor = key
      const delivery: EmbeddedDelivery = {
        key,
        ordinal: ++this.#delivered,
        body: value,
        redelivered: key < this.#options.firstOwnKey,
        isEvent: true,
      }
      this.#options.handler.delivery(delivery)
      if (this.#isPaused || this.#isStopping) return
    }
    if (count === room) this.wake()
  }
}

function lastKey(database: Database<Buffer, number>): number {
  const [key = 0] = database.getKeys({ reverse: true, limit: 1 })
  return key
}

/** @throws ConfigInvalid where DATA_DIR cannot hold it, or where another process has it open. */
export async function openEmbeddedQueue(config: EmbeddedConfig, log: Logger): Promise<Queue> {
  const path = join(config.dataDir, 'queue')
  let lock: DirectoryLock | undefined
  try {
    await mkdir(path, { recursive: true })
    lock = await lockDirectory(path)
    return new EmbeddedQueue(path, lock, config, log)
  } catch (cause) {
    await lock?.release()
    throw new ConfigInvalid(`DATA_DIR: the queue cannot be opened in ${path}: ${(cause as Error).message}`, {
      cause,
    })
  }
}
