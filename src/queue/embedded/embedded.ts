/**
 * A durable queue on local disk, for one process: a log in segments (disk-log.ts). Each record is a group of
 * events.
 *
 * A publish resolves when its group is on disk (fdatasync). A consumer reads from a cursor on. An acknowledgement
 * writes one number: the key up to which all records are settled. After a crash, later records are delivered
 * again.
 */

import { mkdir } from 'node:fs/promises'
import type { Config } from '../../config/config.ts'
import { ConfigInvalid, DirectoryInUse, QueueUnavailable } from '../../errors.ts'
import { decodeGroup, type EventGroup, encodeGroup } from '../../event/event-group.ts'
import { receivedAtOf } from '../../event/received-at.ts'
import {
  type DirectoryLock,
  holderOf,
  lockDirectory,
  requireLockablePath,
} from '../../process/directory-lock.ts'
import type { Logger } from '../../process/logger.ts'
import type { Consumer, DeliveryHandler, Durability, Part, Transport } from '../queue.ts'
import { type DiskState, DiskStats, type TransportState } from '../queue-stats.ts'
import { type Damage, DiskLog } from './disk-log.ts'
import { DiskRoom } from './disk-room.ts'
import { EmbeddedConsumer } from './embedded-consumer.ts'

export type EmbeddedConfig = Pick<Config, 'amqpPrefetch' | 'prefetchEvents' | 'spoolBytesMax'>

/** Up to two segments may be in memory: the one that is written, and the one that is read. */
const SEGMENT_BYTES_MAX = 8 * 1024 * 1024
const SEGMENT_BYTES_MIN = 256 * 1024
/** Disk space is freed one segment at a time. So a small queue has small segments. */
const SEGMENTS_PER_QUEUE_MIN = 8
/** With less free space than this, the queue counts as full. */
const ROOM_BYTES_MIN = 16 * 1024
/** How long a failed write counts. While nothing is published, no success can end it. */
const FAILURE_MS = 10_000

export class EmbeddedQueue implements Transport, DiskState {
  readonly description: string
  readonly stats = new DiskStats()
  readonly #path: string
  readonly #events: DiskLog
  readonly #config: EmbeddedConfig
  readonly #log: Logger
  readonly #lock: DirectoryLock
  readonly #disk: DiskRoom
  /** Records up to this key may have been delivered before. */
  #deliveredKey: number
  #consumer: EmbeddedConsumer | undefined
  #failure: string | undefined
  #failedAt = Number.NEGATIVE_INFINITY
  /** Size of the last record if there was no room for it; else 0. */
  #refusedBytes = 0
  #isClosed = false

  constructor(
    path: string,
    parts: { events: DiskLog; lock: DirectoryLock; disk: DiskRoom },
    config: EmbeddedConfig,
    log: Logger,
  ) {
    this.description = `embedded, in ${path}`
    this.#path = path
    this.#events = parts.events
    this.#lock = parts.lock
    this.#disk = parts.disk
    this.#config = config
    this.#log = log
    this.#deliveredKey = this.#events.lastKey
    this.stats.foundEvents = this.#events.events
    for (const damage of this.#events.damages) this.#report(damage)
    this.#events.damaged = damage => this.#report(damage)
    this.#events.readable = () => this.#consumer?.wake()
    this.#events.unreadable = error => {
      this.#failure = `${this.description}: ${error.message}`
      this.#log.error({ err: error }, 'The queue on disk cannot be read. Trying again.')
    }
  }

  get trouble(): string | undefined {
    return this.#failure
  }

  /** Number of events that are not settled. */
  get size(): number {
    return this.#events.events - (this.#consumer?.acknowledgedEvents ?? 0)
  }

  get handedOutEvents(): number {
    return this.#consumer?.openEvents ?? 0
  }

  get bytes(): number {
    return this.#events.bytes
  }

  get bytesMax(): number {
    return this.#config.spoolBytesMax
  }

  get oldestReceivedAt(): number | undefined {
    const oldest = this.#isClosed ? undefined : this.#events.oldest
    if (oldest === undefined) return undefined
    const { lines } = decodeGroup(oldest.count, oldest.value)
    return receivedAtOf(lines)
  }

  /** Why the queue cannot accept events now, as a text for people; undefined if it can. */
  get intakeTrouble(): string | undefined {
    if (performance.now() - this.#failedAt <= FAILURE_MS) return this.#failure
    const wanted = Math.max(this.#refusedBytes, ROOM_BYTES_MIN)
    if (this.#events.bytes + wanted > this.bytesMax)
      return `${this.description}: full (${this.#events.bytes} bytes of ${this.bytesMax}, SPOOL_BYTES_MAX)`
    return this.#disk.bytes < wanted ? `${this.description}: the disk is full` : undefined
  }

  get intake(): readonly Part[] {
    return [{ name: 'queue', trouble: this.intakeTrouble }]
  }

  get outlet(): readonly Part[] {
    return []
  }

  get state(): TransportState {
    return { broker: undefined, disks: [this] }
  }

  async publish(group: EventGroup): Promise<Durability> {
    if (this.#isClosed) throw new QueueUnavailable('The queue on disk is closed. Send this again later.')
    const record = encodeGroup(group)
    if (this.#events.bytes + record.length > this.#config.spoolBytesMax || this.#disk.bytes < record.length) {
      this.stats.refusedGroups++
      this.#refusedBytes = record.length
      throw new QueueUnavailable(
        'The queue on disk is full (SPOOL_BYTES_MAX, or the disk itself). Send this again later.',
      )
    }
    const since = performance.now()
    try {
      await this.#events.append(record, group.count)
      this.stats.appendedEvents += group.count
      this.stats.appendSeconds.observe((performance.now() - since) / 1000)
      this.#failure = undefined
      this.#failedAt = Number.NEGATIVE_INFINITY
      this.#refusedBytes = 0
    } catch (cause) {
      this.#failure = `${this.description}: ${(cause as Error).message}`
      this.#failedAt = performance.now()
      throw new QueueUnavailable('The queue on disk cannot be written. Send this again later.', { cause })
    }
    return 'disk'
  }

  consume(handler: DeliveryHandler): Consumer {
    if (this.#consumer !== undefined) throw new Error('The embedded queue has one consumer at a time.')
    this.#consumer = new EmbeddedConsumer(this.#events, {
      handler,
      log: this.#log,
      prefetch: this.#config.amqpPrefetch,
      prefetchEvents: this.#config.prefetchEvents,
      deliveredKey: this.#deliveredKey,
      stopped: cursor => {
        this.#deliveredKey = Math.max(this.#deliveredKey, cursor)
        this.#consumer = undefined
      },
    })
    return this.#consumer
  }

  async depth(): Promise<number> {
    return this.size - this.handedOutEvents
  }

  async waiting(): Promise<undefined> {}

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    await this.#consumer?.stop()
    await this.#events.close()
    await this.#lock.release()
  }

  #report({ file, from, to, events }: Damage): void {
    this.#log.error(
      { path: this.#path, file, offset: from, bytes: to - from, events },
      'A file of the queue on disk is damaged. Its intact events are delivered. The file is kept as <file>.damaged.',
    )
  }
}

/**
 * Opens the queue in a directory, and recovers the events of earlier runs.
 *
 * @param path a directory that only the queue uses; it is made if it is missing
 * @throws ConfigInvalid if the directory cannot be read or written, or another process has the queue open.
 */
export async function openEmbeddedQueue(
  path: string,
  config: EmbeddedConfig,
  log: Logger,
): Promise<EmbeddedQueue> {
  let lock: DirectoryLock | undefined
  requireLockablePath(path)
  try {
    await mkdir(path, { recursive: true })
    lock = await lockDirectory(path)
    const disk = new DiskRoom(path)
    await disk.refresh()
    const events = await DiskLog.open({ path, segmentBytes: segmentBytesOf(config) })
    return new EmbeddedQueue(path, { events, lock, disk }, config, log)
  } catch (cause) {
    await lock?.release()
    if (cause instanceof DirectoryInUse) throw await inUse(path, cause)
    throw new ConfigInvalid(`DATA_DIR: the queue cannot be opened in ${path}: ${(cause as Error).message}`, {
      cause,
    })
  }
}

async function inUse(path: string, cause: Error): Promise<Error> {
  const who = await holderOf(path)
  return new ConfigInvalid(
    `DATA_DIR: ${who} is using ${path}. Stop that process, or give this one another DATA_DIR.`,
    { cause },
  )
}

function segmentBytesOf({ spoolBytesMax }: EmbeddedConfig): number {
  const share = spoolBytesMax / SEGMENTS_PER_QUEUE_MIN
  return Math.min(SEGMENT_BYTES_MAX, Math.max(SEGMENT_BYTES_MIN, share))
}
