/**
 * A durable queue on local disk, for one process: LMDB, where an event is a key that counts up and a
 * record of its id and bytes.
 *
 * A publish resolves when its transaction is on disk (fdatasync); publishes of the same moment share
 * one. A consumer reads on from a cursor. Acknowledging writes one number, the key up to which all is
 * settled, and removes what lies below it; so a batch is acknowledged whole or not at all, whatever is
 * killed meanwhile. What was not acknowledged is handed out again, in the same order.
 */

import { mkdir } from 'node:fs/promises'
import { type Database, open, type RootDatabase } from 'lmdb'
import type { Config } from '../config.ts'
import { type DirectoryLock, lockDirectory } from '../directory-lock.ts'
import { ConfigInvalid, QueueUnavailable } from '../errors.ts'
import type { Event } from '../event.ts'
import { assertIntact } from '../lmdb-file.ts'
import type { Logger } from '../logger.ts'
import { DiskRoom } from './disk-usage.ts'
import { EmbeddedConsumer } from './embedded-consumer.ts'
import { encodeRecord } from './event-record.ts'
import type { Consumer, DeliveryHandler, Durability, Queue } from './queue.ts'

export type EmbeddedConfig = Pick<Config, 'amqpPrefetch' | 'spoolBytesMax'>

const USAGE_MS_MAX = 200

/** The databases of one queue. */
export interface EmbeddedTables {
  readonly events: Database<Buffer, number>
  readonly dead: Database<Buffer, number>
  /** Holds one number, under `SETTLED_KEY`. */
  readonly settled: Database<number, string>
}

export const SETTLED_KEY = 'through'

export class EmbeddedQueue implements Queue {
  readonly description: string
  readonly #root: RootDatabase
  readonly #tables: EmbeddedTables
  readonly #config: EmbeddedConfig
  readonly #log: Logger
  readonly #lock: DirectoryLock
  readonly #disk: DiskRoom
  #nextKey: number
  /** Keys up to it may have been handed out before. */
  #handedOutKey: number
  #consumer: EmbeddedConsumer | undefined
  #usage = { bytes: 0, at: Number.NEGATIVE_INFINITY }
  #failure: string | undefined
  #isClosed = false

  constructor(path: string, lock: DirectoryLock, disk: DiskRoom, config: EmbeddedConfig, log: Logger) {
    this.description = `embedded, in ${path}`
    this.#config = config
    this.#log = log
    this.#lock = lock
    this.#disk = disk
    this.#root = open({ path, encoding: 'binary', maxDbs: 4 })
    this.#tables = {
      events: this.#root.openDB({ name: 'events', encoding: 'binary' }),
      dead: this.#root.openDB({ name: 'dead', encoding: 'binary' }),
      settled: this.#root.openDB({ name: 'settled', encoding: 'ordered-binary' }),
    }
    this.#handedOutKey = Math.max(lastKey(this.#tables.events), lastKey(this.#tables.dead), this.#settledKey)
    this.#nextKey = this.#handedOutKey + 1
  }

  get trouble(): string | undefined {
    return this.#failure
  }

  /** Events that are not settled. */
  get size(): number {
    return this.#stats().entryCount
  }

  async publish(event: Event): Promise<Durability> {
    if (this.#isClosed) throw new QueueUnavailable('The queue on disk is closed: send this again later.')
    const record = encodeRecord(event)
    if (this.#bytesUsed() + record.length > this.#config.spoolBytesMax || this.#disk.bytes < record.length) {
      throw new QueueUnavailable(
        'The queue on disk is full (SPOOL_BYTES_MAX, or the disk itself): send this again later.',
      )
    }
    try {
      await this.#tables.events.put(this.#nextKey++, record)
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
    this.#consumer = new EmbeddedConsumer(this.#tables, {
      handler,
      log: this.#log,
      prefetch: this.#config.amqpPrefetch,
      settledKey: this.#settledKey,
      handedOutKey: this.#handedOutKey,
      stopped: cursor => {
        this.#handedOutKey = Math.max(this.#handedOutKey, cursor)
        this.#consumer = undefined
      },
    })
    return this.#consumer
  }

  async depth(): Promise<number> {
    return this.size - (this.#consumer?.inFlight ?? 0)
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    await this.#consumer?.stop()
    await this.#root.close()
    await this.#lock.release()
  }

  get #settledKey(): number {
    return this.#tables.settled.get(SETTLED_KEY) ?? 0
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
    return this.#tables.events.getStats() as LmdbStats
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

function lastKey(database: Database<Buffer, number>): number {
  const [key = 0] = database.getKeys({ reverse: true, limit: 1 })
  return key
}

/**
 * @param path a directory for the queue alone, made where it is missing
 * @throws ConfigInvalid where it cannot be written or read, or where another process has it open.
 */
export async function openEmbeddedQueue(
  path: string,
  config: EmbeddedConfig,
  log: Logger,
): Promise<EmbeddedQueue> {
  let lock: DirectoryLock | undefined
  try {
    await mkdir(path, { recursive: true })
    lock = await lockDirectory(path)
    await assertIntact(path)
    const disk = new DiskRoom(path)
    await disk.refresh()
    return new EmbeddedQueue(path, lock, disk, config, log)
  } catch (cause) {
    await lock?.release()
    throw new ConfigInvalid(`DATA_DIR: the queue cannot be opened in ${path}: ${(cause as Error).message}`, {
      cause,
    })
  }
}
