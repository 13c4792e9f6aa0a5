/**
 * A log on local disk, for one process. Groups of events are appended, read in that order, and dropped from the
 * front. The key of a record is `position × 4096 + events − 1`. So keys ascend, and each key tells the number of
 * events in its record.
 *
 * In its directory:
 *
 *     <first key>-<nonce>.log       a segment: records, each with a checksum (disk-log-format.ts)
 *     dead-<ordinal>-<nonce>.log    dead letters, in the same format
 *     dropped                       the key up to which the log is dropped (dropped-note.ts)
 *     *.damaged                     a damaged segment, after all its readable records are dropped
 *
 * Each run of the process makes its own segments. When a segment is full, or a write fails, the next segment is
 * made. A segment is deleted when all its records are dropped, which frees its disk space. disk-log-recovery.ts
 * says how a torn tail differs from damage.
 */

import { readdir } from 'node:fs/promises'
import { GROUP_EVENTS_MAX } from '../../event/event-group.ts'
import { DeadLog } from './dead-log.ts'
import { type LogFiles, systemFiles } from './disk-log-files.ts'
import { LogReader } from './disk-log-reader.ts'
import { type Damage, eventsIn } from './disk-log-recovery.ts'
import { LogSegments } from './disk-log-segments.ts'
import { type LogEntry, LogWriter } from './disk-log-writer.ts'
import { DroppedNote, NOTE_NAME } from './dropped-note.ts'
import { formerLogIn, isFormerFile } from './former-log.ts'

export type { Damage, LogEntry }

const READ_RETRY_MS = 1_000

export interface DiskLogOptions {
  readonly path: string
  /** A segment of this size is full. */
  readonly segmentBytes: number
  /** @default the operating system's files */
  readonly files?: LogFiles
}

interface Parts {
  readonly note: DroppedNote
  readonly segments: LogSegments
  readonly dead: DeadLog
}

export class DiskLog {
  /** Called when there may be more to read. */
  readable: () => void = ignore
  /** Called when the log cannot be read now. `readable` is called a second later. */
  unreadable: (error: Error) => void = ignore
  /** Called with damage that was not there when the log was opened. */
  damaged: (damage: Damage) => void = ignore
  /** Damage that was found when the log was opened. */
  damages: readonly Damage[] = []
  readonly #note: DroppedNote
  readonly #segments: LogSegments
  readonly #dead: DeadLog
  readonly #writer: LogWriter
  readonly #reader: LogReader
  /** Keys of dead letters on disk that are not dropped from the log yet. */
  readonly #deadKeys: Set<number>
  /** Dead letters that are not on disk yet; `writing` while they are being written. */
  readonly #pendingDead = new Map<number, { body: Buffer; writing?: Promise<void> | undefined }>()
  #dropped: number
  /** Like `#dropped`, but ends before the first pending dead letter: the next run must deliver that one again. */
  #settled: number
  #lastKey: number
  #events = 0
  #isTidyDue = false
  #isClosed = false

  /** @throws Error if another version of frequency wrote the log; the system's error if it cannot be read or made */
  static async open(options: DiskLogOptions): Promise<DiskLog> {
    const { path, segmentBytes, files = systemFiles } = options
    const former = formerLogIn(path)
    if (former !== undefined) throw new Error(former)
    const note = await DroppedNote.open(path, files)
    try {
      const dead = await DeadLog.open({ path, segmentBytes, files })
      const segments = new LogSegments({ path, segmentBytes, files, prefix: '', naming: 'key' })
      const log = new DiskLog({ note, segments, dead })
      await log.#recover()
      return log
    } catch (error) {
      await note.close()
      throw error
    }
  }

  private constructor({ note, segments, dead }: Parts) {
    this.#note = note
    this.#segments = segments
    this.#dead = dead
    this.#dropped = note.dropped
    this.#settled = note.dropped
    this.#deadKeys = new Set([...dead.keys].filter(key => key > note.dropped))
    this.#lastKey = [...dead.keys].reduce((a, b) => Math.max(a, b), note.dropped)
    this.#reader = new LogReader(segments, {
      loaded: () => this.readable(),
      failed: error => this.#retryLater(error),
      damaged: damage => {
        this.#events -= damage.events ?? 0
        this.damaged(damage)
      },
    })
    this.#writer = new LogWriter(segments, group => {
      for (const { count } of group.entries) this.#events += count
      this.#reader.take(group)
    })
  }

  /** The key of the last append. */
  get lastKey(): number {
    return this.#lastKey
  }

  /** The log is dropped up to this key. */
  get dropped(): number {
    return this.#dropped
  }

  /** Number of events that are neither dropped nor dead letters. */
  get events(): number {
    return this.#events
  }

  /** The first entry that is neither dropped nor a dead letter; undefined if there is none, or it cannot be read now. */
  get oldest(): LogEntry | undefined {
    if (this.#events === 0) return undefined
    try {
      return this.#reader.first(this.#dropped, key => !this.#deadKeys.has(key))
    } catch (error) {
      this.#retryLater(error as Error)
      return undefined
    }
  }

  /** Size of the segments on disk, with pending appends. Without dead letters. */
  get bytes(): number {
    return this.#segments.bytes + this.#writer.pendingBytes
  }

  /**
   * Resolves when the body is on disk (fdatasync). Appends that come during a sync share the next one.
   *
   * @param count number of events in the body, at most 4096
   * @throws the system's error. The body is then never delivered.
   */
  async append(body: Buffer, count: number): Promise<void> {
    this.#lastKey = keyAfter(this.#lastKey, count)
    await this.#writer.append(this.#lastKey, body)
    this.#tidyLater()
    this.readable()
  }

  /**
   * The entries after the key `after` that are in memory. Iterate within one turn of the event loop. When the
   * iteration ends, `readable` is called once there is more.
   */
  read(after: number): Generator<LogEntry> {
    return this.#reader.read(Math.max(after, this.#dropped), key => !this.#deadKeys.has(key))
  }

  /**
   * Drops all entries up to a key. Pending dead letters up to that key are written to disk before the drop is
   * recorded.
   *
   * @param events number of events in these entries, without dropped ones and dead letters
   */
  async dropThrough(key: number, events: number): Promise<void> {
    this.#dropped = key
    this.#events -= events
    this.#reader.dropThrough(key)
    for (const each of this.#deadKeys) if (each <= key) this.#deadKeys.delete(each)
    const before = [...this.#pendingDead.keys()].filter(each => each <= key)
    await Promise.allSettled(before.map(each => this.#writeDead(each)))
    await this.#settle()
  }

  /** Makes an entry a dead letter. Resolves when the dead letter is on disk. The entry is not read any more then. */
  async addDead(key: number, body: Buffer): Promise<void> {
    if (this.#deadKeys.has(key)) return
    this.#pendingDead.set(key, { body })
    await this.#writeDead(key)
  }

  /** The dead letters after the key `after`, oldest first. */
  readDead(after = 0): Generator<LogEntry> {
    return this.#dead.read(after)
  }

  /** Drops a dead letter. Resolves when the drop is on disk. */
  async dropDead(key: number): Promise<void> {
    await this.#dead.drop(key)
    this.#tidyLater()
  }

  /** Resolves when all pending writes are on disk. */
  async close(): Promise<void> {
    this.#isClosed = true
    await this.#writer.drained()
    await this.#dead.close()
    await this.#settle().catch(ignore)
    await this.#segments.close()
    await this.#note.close()
  }

  /** Finds the entries of earlier runs. */
  async #recover(): Promise<void> {
    const { dropped, tail } = this.#note
    let isFirst = true
    await this.#segments.recover(dropped, tail, (segment, { key }, offset) => {
      if (key <= dropped) return
      if (isFirst) this.#reader.remember(segment, offset, key)
      isFirst = false
      if (!this.#deadKeys.has(key)) this.#events += eventsIn(key)
    })
    this.#lastKey = Math.max(this.#lastKey, this.#segments.lastKey)
    // In a log without entries a torn note is not damage: it lost no information.
    const noteDamage = this.#lastKey > 0 && this.#note.damage !== undefined ? [this.#note.damage] : []
    this.damages = [...noteDamage, ...this.#dead.damages, ...this.#segments.damages]
    this.#dead.tidy(dropped)
  }

  #writeDead(key: number): Promise<void> {
    const pending = this.#pendingDead.get(key)
    if (pending === undefined) return Promise.resolve()
    pending.writing ??= this.#addToDead(key, pending.body).finally(() => {
      pending.writing = undefined
    })
    return pending.writing
  }

  async #addToDead(key: number, body: Buffer): Promise<void> {
    await this.#dead.add(key, body)
    this.#pendingDead.delete(key)
    this.#events -= eventsIn(key)
    if (key > this.#dropped) this.#deadKeys.add(key)
  }

  async #settle(): Promise<void> {
    const pending = [...this.#pendingDead.keys()].reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY)
    this.#settled = Math.max(this.#settled, Math.min(this.#dropped, pending - 1))
    this.#tidyLater()
    const { firstKey = 0, synced = 0 } = this.#segments.last ?? {}
    await this.#note.write({ dropped: this.#settled, tail: { firstKey, synced } })
  }

  #retryLater(error: Error): void {
    this.unreadable(error)
    setTimeout(() => this.readable(), READ_RETRY_MS).unref()
  }

  /** Tidies at the end of the turn, once for all drops and appends of the turn. */
  #tidyLater(): void {
    if (this.#isTidyDue) return
    this.#isTidyDue = true
    setImmediate(() => {
      this.#isTidyDue = false
      if (!this.#isClosed) this.#tidy()
    })
  }

  /** Deletes segments whose records are all dropped. */
  #tidy(): void {
    const { tail, options } = this.#segments
    const isLarge = tail !== undefined && tail.bytes > options.segmentBytes / 4
    if (isLarge && tail.lastKey <= this.#settled && this.#writer.isIdle) this.#segments.retire()
    for (let first = this.#segments.list[0]; first !== undefined; first = this.#segments.list[0]) {
      if (first.isWritten || first.lastKey > this.#settled) break
      void this.#segments.delete(first)
    }
    this.#dead.tidy(this.#settled)
  }
}

function ignore(): void {}

function keyAfter(key: number, count: number): number {
  return (Math.floor(key / GROUP_EVENTS_MAX) + 1) * GROUP_EVENTS_MAX + count - 1
}

/** Whether a log has ever been opened in a directory. */
export async function holdsLog(path: string): Promise<boolean> {
  const names = await readdir(path).catch((): string[] => [])
  return names.some(name => name === NOTE_NAME || isFormerFile(name))
}
