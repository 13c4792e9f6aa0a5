import type { LogFiles } from './disk-log-files.ts'
import { RECORD_BYTES, readRecord } from './disk-log-format.ts'
import { type Damage, eventsIn } from './disk-log-recovery.ts'
import type { LogSegment } from './disk-log-segment.ts'
import { LogSegments } from './disk-log-segments.ts'
import { type LogEntry, LogWriter } from './disk-log-writer.ts'

const NOTHING = Buffer.alloc(0)

/** Where the last record of a key is. */
interface Place {
  readonly segment: LogSegment
  readonly offset: number
  /** Size of the body. 0: the dead letter is dropped. */
  readonly bytes: number
}

/**
 * The dead letters of a log (disk-log.ts): segments of the same form, with the same keys. A dropped letter gets
 * one more record, without a body.
 */
export class DeadLog {
  readonly #segments: LogSegments
  readonly #writer: LogWriter
  readonly #places = new Map<number, Place>()

  /** @throws Error if another version of frequency wrote the files, or they cannot be read */
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

  /** Keys of all dead letters, also of dropped ones whose files still exist. */
  get keys(): IterableIterator<number> {
    return this.#places.keys()
  }

  /** Resolves when the letter is on disk. */
  add(key: number, body: Buffer): Promise<void> {
    return this.#writer.append(key, body)
  }

  /** Resolves when the drop is on disk. Does nothing if there is no letter of that key. */
  async drop(key: number): Promise<void> {
    if (this.#places.has(key)) await this.#writer.append(key, NOTHING)
  }

  /** The letters after a key, oldest first. @throws Error if a letter is damaged */
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

  /**
   * Deletes the oldest files while all their letters are dropped, and their keys are dropped in the log too.
   *
   * @param dropped the log is dropped up to this key
   */
  tidy(dropped: number): void {
    for (let segment = this.#segments.list[0]; segment !== undefined; segment = this.#segments.list[0]) {
      // A record that is being appended has no place yet.
      if (segment.isWritten && !this.#writer.isIdle) return
      const places = [...this.#places].filter(([, place]) => place.segment === segment)
      if (places.some(([key, { bytes }]) => bytes > 0 || key > dropped)) return
      for (const [key] of places) this.#places.delete(key)
      void this.#segments.delete(segment)
    }
  }

  /** Resolves when all pending appends are on disk. */
  async close(): Promise<void> {
    await this.#writer.drained()
    await this.#segments.close()
  }
}
