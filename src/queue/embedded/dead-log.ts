import type { LogFiles } from './disk-log-files.ts'
import { RECORD_BYTES, readRecord } from './disk-log-format.ts'
import { type Damage, eventsIn } from './disk-log-recovery.ts'
import type { LogSegment } from './disk-log-segment.ts'
import { LogSegments } from './disk-log-segments.ts'
import { type LogEntry, LogWriter } from './disk-log-writer.ts'

const NOTHING = Buffer.alloc(0)

interface Place {
  readonly segment: LogSegment
  readonly offset: number
  /** Of the body. 0: what was here is dropped. */
  readonly bytes: number
}

/**
 * What was set aside of a log (disk-log.ts): segments like its own, with the same keys. A letter that is
 * dropped gets a record without a body.
 */
export class DeadLog {
  readonly #segments: LogSegments
  readonly #writer: LogWriter
  readonly #places = new Map<number, Place>()

  /** @throws Error where another version wrote it, or it cannot be read */
  static async open(options: { path: string; segmentBytes: number; files: LogFiles }): Promise<DeadLog> {
    const log = new DeadLog(new LogSegments({ ...options, prefix: 'dead-', naming: 'ordinal' }))
    await log.#segments.recover(0, undefined, (segment, { key, body }, offset) =>
      log.#places.set(key, { segment, offset, bytes: body.length }),
    )
    return log
  }

  private constructor(segments: LogSegments) {
    this.#segments = segments
    this.#writer = new LogWriter(segments, ({ segment, start, entries }) => {
      let offset = start
      for (const { key, value } of entries) {
        this.#places.set(key, { segment, offset, bytes: value.length })
        offset += RECORD_BYTES + value.length
      }
    })
  }

  get damages(): readonly Damage[] {
    return this.#segments.damages
  }

  /** Of all that was ever set aside, and is not forgotten. */
  get keys(): IterableIterator<number> {
    return this.#places.keys()
  }

  /** Resolves when it is on disk. */
  add(key: number, body: Buffer): Promise<void> {
    return this.#writer.append(key, body)
  }

  /** Resolves when that is on disk. */
  async drop(key: number): Promise<void> {
    if (this.#places.has(key)) await this.#writer.append(key, NOTHING)
  }

  /** Behind a key, oldest first. @throws Error where one cannot be read any more */
  *read(after: number): Generator<LogEntry> {
    const keys = [...this.#places.keys()].filter(key => key > after).sort((a, b) => a - b)
    for (const key of keys) {
      const { segment, offset, bytes } = this.#places.get(key) as Place
      if (bytes === 0) continue
      const block = segment.readSync(offset, RECORD_BYTES + bytes)
      if (!segment.isWritten) segment.close()
      const record = readRecord(block, 0, segment.seal, offset, segment.end)
      if (typeof record !== 'object')
        throw new Error(`${segment.path} is damaged at offset ${offset}: a dead letter cannot be read`)
      yield { key, count: eventsIn(key), value: record.body }
    }
  }

  /** Deletes files of which all is dropped, here and in the log. @param dropped in the log, up to this key */
  tidy(dropped: number): void {
    for (let segment = this.#segments.list[0]; segment !== undefined; segment = this.#segments.list[0]) {
      // What is being appended to it has no place yet.
      if (segment.isWritten && !this.#writer.isIdle) return
      const places = [...this.#places].filter(([, place]) => place.segment === segment)
      if (places.some(([key, { bytes }]) => bytes > 0 || key > dropped)) return
      for (const [key] of places) this.#places.delete(key)
      void this.#segments.delete(segment)
    }
  }

  /** Resolves when all that was begun is on disk. */
  async close(): Promise<void> {
    await this.#writer.drained()
    await this.#segments.close()
  }
}
