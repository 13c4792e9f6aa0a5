import { resolve } from 'node:path'
import { ConfigInvalid, DirectoryInUse, QueueUnavailable } from '../../errors.ts'
import { decodeGroup } from '../../event/event-group.ts'
import { type DirectoryLock, holderOf, lockDirectory } from '../../process/directory-lock.ts'
import type { DeadLetter, DeadLetters } from '../dead-letters.ts'
import { DiskLog, holdsLog, type LogEntry } from './disk-log.ts'

/** For retried letters. The next `frequency serve` makes its own segments. */
const SEGMENT_BYTES = 8 * 1024 * 1024

class EmbeddedDeadLetters implements DeadLetters {
  readonly description: string
  readonly count: number
  readonly #log: DiskLog
  readonly #lock: DirectoryLock
  #lastKey = 0
  #current: LogEntry | undefined

  constructor(path: string, log: DiskLog, lock: DirectoryLock) {
    this.description = `embedded, in ${path}`
    this.#log = log
    this.#lock = lock
    let count = 0
    for (const { key } of log.readDead()) {
      count++
      this.#lastKey = key
    }
    this.count = count
  }

  async next(): Promise<DeadLetter | undefined> {
    const [entry] = this.#log.readDead(this.#current?.key)
    if (entry === undefined || entry.key > this.#lastKey) return undefined
    this.#current = entry
    const { key, count, value } = entry
    const group = decodeGroup(count, value)
    return { id: key.toString(36), body: group.lines, group, cause: undefined, properties: {} }
  }

  async retry(): Promise<void> {
    const { count, value } = this.#currentLetter()
    try {
      await this.#log.append(value, count)
    } catch (cause) {
      throw new QueueUnavailable(`The queue on disk cannot be written: ${(cause as Error).message}`, {
        cause,
      })
    }
    await this.drop()
  }

  async drop(): Promise<void> {
    await this.#log.dropDead(this.#currentLetter().key)
  }

  async close(): Promise<void> {
    await this.#log.close()
    await this.#lock.release()
  }

  #currentLetter(): LogEntry {
    if (this.#current === undefined) throw new Error('Call next() first: there is no current dead letter.')
    return this.#current
  }
}

/**
 * Opens the dead letters of an embedded queue.
 *
 * @param path the queue's directory
 * @throws ConfigInvalid if there is no queue, another process has it open, or it cannot be read.
 */
export async function openEmbeddedDeadLetters(path: string): Promise<DeadLetters> {
  if (!(await holdsLog(path)))
    throw new ConfigInvalid(
      `DATA_DIR: there is no queue in ${resolve(path)}. Give the DATA_DIR of the server, or its AMQP_URL if it has a broker.`,
    )
  let lock: DirectoryLock | undefined
  try {
    lock = await lockDirectory(path)
    return new EmbeddedDeadLetters(path, await DiskLog.open({ path, segmentBytes: SEGMENT_BYTES }), lock)
  } catch (cause) {
    await lock?.release()
    if (!(cause instanceof DirectoryInUse))
      throw new ConfigInvalid(`DATA_DIR: ${path} cannot be opened: ${(cause as Error).message}`, { cause })
    throw new ConfigInvalid(
      `DATA_DIR: ${await holderOf(path)} is using ${path}. Stop that process, run this again, then start it again. ` +
        'No event is lost meanwhile.',
      { cause },
    )
  }
}
