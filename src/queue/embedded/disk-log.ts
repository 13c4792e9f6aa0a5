/**
 * A log on local disk, for one process: groups of events are appended, are read in that order, and are
 * dropped from the front. A record's key is `position × 4096 + events − 1`: so keys count up, and how many
 * events there are can be told without reading them.
 *
 * In its directory:
 *
 *     <first key>-<nonce>.log       a segment: records, each with a checksum (disk-log-format.ts)
 *     dead-<ordinal>-<nonce>.log    what was set aside, in the same form
 *     dropped                       up to which key all is dropped
 *     *.damaged                     a segment of which a part cannot be read, when the rest of it is dropped
 *
 * A segment is written in one life of the process, until it is full or a write fails; then the next one is
 * begun. It is deleted when all of it is dropped, which gives its disk space back. How a torn tail is told
 * from damage is in disk-log-recovery.ts.
 */

import { readdirSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { GROUP_EVENTS_MAX } from '../../event/event-group.ts'
import { DeadLog } from './dead-log.ts'
import { type LogFiles, systemFiles } from './disk-log-files.ts'
import { OTHER_VERSION } from './disk-log-format.ts'
import { LogReader } from './disk-log-reader.ts'
import { type Damage, eventsIn } from './disk-log-recovery.ts'
import { LogSegments } from './disk-log-segments.ts'
import { type LogEntry, LogWriter } from './disk-log-writer.ts'
import { DroppedNote, NOTE_NAME } from './dropped-note.ts'

export type { Damage, LogEntry }

const READ_RETRY_MS = 1_000
/** Files of the version that kept the log in LMDB. */
const OF_LMDB = /^(data|\d{16})\.mdb$/

export interface DiskLogOptions {
  readonly path: string
  /** Size at which a segment is full. */
  readonly segmentBytes: number
  /** Default: those of the system. */
  readonly files?: LogFiles
}

interface Parts {
  readonly note: DroppedNote
  readonly segments: LogSegments
  readonly dead: DeadLog
}

export class DiskLog {
  /** Called when there may be something to read that was not there before. */
  readable: () => void = ignore
  /** Called when something cannot be read now; it is tried again. */
  unreadable: (error: Error) => void = ignore
  /** Called when damage is found that was not there when the log was opened. */
  damaged: (damage: Damage) => void = ignore
  /** What was found when the log was opened. */
  damages: readonly Damage[] = []
  readonly #note: DroppedNote
  readonly #segments: LogSegments
  readonly #dead: DeadLog
  readonly #writer: LogWriter
  readonly #reader: LogReader
  /** Keys that were set aside, and that are not dropped yet. */
  readonly #skipped: Set<number>
  /** What is being set aside, or could not be; `trying` while it is tried. */
  readonly #unset = new Map<number, { body: Buffer; trying?: Promise<void> | undefined }>()
  #dropped: number
  /** As `dropped`, up to what could not be set aside: that must come again in the next life. */
  #settled: number
  #lastKey: number
  #events = 0
  #isTidyDue = false
  #isClosed = false

  /** @throws Error where another version wrote it; what the system says where it cannot be read or made */
  static async open(options: DiskLogOptions): Promise<DiskLog> {
    const { path, segmentBytes, files = systemFiles } = options
    if (readdirSync(path).some(name => OF_LMDB.test(name))) throw new Error(OTHER_VERSION)
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
    this.#skipped = new Set([...dead.keys].filter(key => key > note.dropped))
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

  /** All up to this key is dropped. */
  get dropped(): number {
    return this.#dropped
  }

  /** How many events are neither dropped nor set aside. */
  get events(): number {
    return this.#events
  }

  /** The first entry that is neither dropped nor set aside; undefined where there is none, or it cannot be read now. */
  get oldest(): LogEntry | undefined {
    if (this.#events === 0) return undefined
    try {
      return this.#reader.first(this.#dropped, key => !this.#skipped.has(key))
    } catch (error) {
      this.#retryLater(error as Error)
      return undefined
    }
  }

  /** What its segments take on disk, with what is being appended. */
  get bytes(): number {
    return this.#segments.bytes + this.#writer.pendingBytes
  }

  /**
   * Resolves when the body is on disk (fdatasync); appends that come while one is under way share the next.
   *
   * @param count the events in it, at most 4096
   * @throws what the system says; nothing of it is delivered then
   */
  async append(body: Buffer, count: number): Promise<void> {
    this.#lastKey = keyAfter(this.#lastKey, count)
    await this.#writer.append(this.#lastKey, body)
    this.#tidyLater()
    this.readable()
  }

  /**
   * What stands behind the key `after`, as far as it is in memory. To be read on in the same turn of the event
   * loop; when it ends, `readable` is called once there is more.
   */
  read(after: number): Generator<LogEntry> {
    return this.#reader.read(Math.max(after, this.#dropped), key => !this.#skipped.has(key))
  }

  /**
   * Drops all up to a key: `events` that were neither dropped nor set aside before. What is being set aside
   * up to that key is on disk before the drop is noted.
   */
  async dropThrough(key: number, events: number): Promise<void> {
    this.#dropped = key
    this.#events -= events
    this.#reader.dropThrough(key)
    for (const each of this.#skipped) if (each <= key) this.#skipped.delete(each)
    const before = [...this.#unset.keys()].filter(each => each <= key)
    await Promise.allSettled(before.map(each => this.#trySetAside(each)))
    await this.#settle()
  }

  /** Keeps an entry apart. Resolves when it is on disk there: then it is not read any more. */
  async setAside(key: number, body: Buffer): Promise<void> {
    if (this.#skipped.has(key)) return
    this.#unset.set(key, { body })
    await this.#trySetAside(key)
  }

  /** What was set aside behind the key `after`, oldest first. */
  readAside(after = 0): Generator<LogEntry> {
    return this.#dead.read(after)
  }

  /** Drops what was set aside. */
  async dropAside(key: number): Promise<void> {
    await this.#dead.drop(key)
    this.#tidyLater()
  }

  /** Resolves when all that was begun is on disk. */
  async close(): Promise<void> {
    this.#isClosed = true
    await this.#writer.drained()
    await this.#dead.close()
    await this.#settle().catch(ignore)
    await this.#segments.close()
    await this.#note.close()
  }

  /** What was written in earlier lives. */
  async #recover(): Promise<void> {
    const { dropped, tail } = this.#note
    let isFirst = true
    await this.#segments.recover(dropped, tail, (segment, { key }, offset) => {
      if (key <= dropped) return
      if (isFirst) this.#reader.remember(segment, offset, key)
      isFirst = false
      if (!this.#skipped.has(key)) this.#events += eventsIn(key)
    })
    this.#lastKey = Math.max(this.#lastKey, this.#segments.lastKey)
    // Before anything is appended the note may be torn.
    const noteDamage = this.#lastKey > 0 && this.#note.damage !== undefined ? [this.#note.damage] : []
    this.damages = [...noteDamage, ...this.#dead.damages, ...this.#segments.damages]
    this.#dead.tidy(dropped)
  }

  #trySetAside(key: number): Promise<void> {
    const unset = this.#unset.get(key)
    if (unset === undefined) return Promise.resolve()
    unset.trying ??= this.#addToDead(key, unset.body).finally(() => {
      unset.trying = undefined
    })
    return unset.trying
  }

  async #addToDead(key: number, body: Buffer): Promise<void> {
    await this.#dead.add(key, body)
    this.#unset.delete(key)
    this.#events -= eventsIn(key)
    if (key > this.#dropped) this.#skipped.add(key)
  }

  async #settle(): Promise<void> {
    const unset = [...this.#unset.keys()].reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY)
    this.#settled = Math.max(this.#settled, Math.min(this.#dropped, unset - 1))
    this.#tidyLater()
    const { firstKey = 0, synced = 0 } = this.#segments.last ?? {}
    await this.#note.write({ dropped: this.#settled, tail: { firstKey, synced } })
  }

  #retryLater(error: Error): void {
    this.unreadable(error)
    setTimeout(() => this.readable(), READ_RETRY_MS).unref()
  }

  /** Not at once: so it is done once for all that is dropped or appended in a turn. */
  #tidyLater(): void {
    if (this.#isTidyDue) return
    this.#isTidyDue = true
    setImmediate(() => {
      this.#isTidyDue = false
      if (!this.#isClosed) this.#tidy()
    })
  }

  /** Deletes segments of which all is dropped. */
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
  return names.some(name => name === NOTE_NAME || OF_LMDB.test(name))
}
