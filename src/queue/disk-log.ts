/**
 * A log on local disk, for one process: groups of events are appended, are read in that order, and are
 * dropped from the front. An entry's key is `position × 4096 + events − 1`: so keys count up, and how many
 * events there are can be told without reading them.
 *
 * It is cut into segments, each an LMDB file named after the first key in it. A segment is written in
 * one life of the process, until it is full; then the next one is begun. Only the segment that is written
 * and the one that is read are open: LMDB maps a file into memory, and what was touched of it counts as
 * memory of this process until it is closed. A segment is deleted when all of it is dropped, which gives
 * its disk space back. How far the log is dropped is one number, in `data.mdb`; what was set aside is
 * there too, and is not read any more.
 */

import { readdirSync, statSync } from 'node:fs'
import { open as openFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Database, RootDatabase } from 'lmdb'
import { GROUP_EVENTS_MAX } from '../event-group.ts'
import { assertIntact, causeOf, openLmdb } from '../lmdb-file.ts'
import { LogSegment } from './log-segment.ts'

const PAGE_BYTES = 4096
/** LMDB gives pages of their own to values larger than about half of one. */
const INLINE_BYTES_MAX = 2000
const ENTRY_BYTES = 24
const READ_RETRY_MS = 1_000
const NOTHING = Buffer.alloc(0)
const NAME = /^(\d{16})\.mdb$/
/** Of what is in the files; it is noted in them. */
const LAYOUT = 2

export interface LogEntry {
  readonly key: number
  /** Events. */
  readonly count: number
  readonly value: Buffer
}

export interface DiskLogOptions {
  readonly path: string
  /** Size at which a segment is full. */
  readonly segmentBytes: number
}

export class DiskLog {
  /** Called when there may be something to read that was not there before. */
  readable: () => void = ignore
  /** Called when something cannot be read now; it is tried again. */
  unreadable: (error: Error) => void = ignore
  readonly #options: DiskLogOptions
  readonly #root: RootDatabase
  readonly #state: Database<number, string>
  readonly #aside: Database<Buffer, number>
  /** Keys that were set aside, and that are not dropped yet. */
  readonly #skipped: Set<number>
  /** In the order of their keys. */
  readonly #segments: LogSegment[] = []
  /** The last segment, while it is written. */
  #tail: LogSegment | undefined
  #read: LogSegment | undefined
  #dropped: number
  #lastKey: number
  #events = 0
  #bytes = 0
  #tidying: Promise<unknown> = Promise.resolve()
  #isTidyDue = false
  #isClosed = false
  /** Appends that are not on disk yet, and what is called when there are none. */
  #pending = 0
  #drained = ignore
  readonly #toHear = new Set<RootDatabase>()

  /** @throws what LMDB says of files that it cannot open or create. */
  static async open(options: DiskLogOptions): Promise<DiskLog> {
    await assertIntact(join(options.path, 'data.mdb'))
    const log = new DiskLog(options)
    try {
      await log.#findSegments()
    } catch (error) {
      await log.close()
      throw error
    }
    return log
  }

  private constructor(options: DiskLogOptions) {
    this.#options = options
    this.#root = openLmdb({ path: options.path, encoding: 'binary', maxDbs: 4 })
    this.#state = this.#root.openDB({ name: 'state', encoding: 'json' })
    this.#aside = this.#root.openDB({ name: 'dead', encoding: 'binary' })
    this.#dropped = this.#state.get('dropped') ?? 0
    this.#skipped = new Set(this.#aside.getKeys({ start: this.#dropped + 1 }))
    this.#lastKey = Math.max(this.#dropped, lastKey(this.#aside))
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

  /** The first entry that is neither dropped nor set aside; undefined where there is none, or while its file is being closed or cannot be opened. */
  get oldest(): LogEntry | undefined {
    if (this.#events === 0) return undefined
    for (const segment of this.#segments) {
      if (segment.closing !== undefined) return undefined
      // What is opened for this alone is closed again.
      if (!segment.isOpen) this.#tidyLater()
      if (!this.#canOpen(segment)) return undefined
      for (const { key, value } of segment.env.getRange({ start: this.#dropped + 1 }))
        if (!this.#skipped.has(key)) return { key, count: eventsIn(key), value }
    }
    return undefined
  }

  /** What it takes on disk, about. */
  get bytes(): number {
    return this.#bytes
  }

  /**
   * Resolves when the body is on disk (fdatasync); appends of the same moment share a transaction.
   *
   * @param count the events in it, at most 4096
   * @throws what the disk says
   */
  async append(body: Buffer, count: number): Promise<void> {
    const key = keyAfter(this.#lastKey, count)
    const segment = this.#segmentToWrite(key)
    const { env } = segment
    const bytes = bytesOnDisk(body)
    this.#account(segment, bytes, 1)
    this.#lastKey = key
    try {
      const committed = env.put(key, body)
      this.#hearCommit(env)
      await committed
      this.#events += count
      await env.flushed
      await segment.named
      this.#account(segment, 0, -1)
    } catch (error) {
      this.#account(segment, -bytes, -1)
      throw await causeOf(error)
    }
    this.#tidyLater()
    this.readable()
  }

  /**
   * What stands behind the key `after`. To be read on in the same turn of the event loop; when it ends,
   * `readable` is called once there is more.
   */
  *read(after: number): Generator<LogEntry> {
    let from = Math.max(after, this.#dropped) + 1
    for (let segment = this.#segmentOf(from); segment !== undefined; segment = this.#segmentOf(from)) {
      if (segment.closing !== undefined || !this.#canOpen(segment)) return
      this.#read = segment
      // Asked before it is read: what is still being appended to it must not be passed over.
      const next = segment.pending === 0 ? this.#segments[this.#segments.indexOf(segment) + 1] : undefined
      for (const { key, value } of segment.env.getRange({ start: from })) {
        if (!this.#skipped.has(key)) yield { key, count: eventsIn(key), value }
      }
      if (next === undefined) return
      from = next.firstKey
      this.#tidyLater()
    }
  }

  /** Drops all up to a key: `events` that were neither dropped nor set aside before. */
  async dropThrough(key: number, events: number): Promise<void> {
    this.#dropped = key
    this.#events -= events
    for (const each of this.#skipped) if (each <= key) this.#skipped.delete(each)
    const committed = this.#state.put('dropped', key)
    this.#hearCommit(this.#root)
    this.#tidyLater()
    await committed
  }

  /** Keeps an entry apart, where it is not read any more. */
  async setAside(key: number, body: Buffer): Promise<void> {
    this.#skipped.add(key)
    this.#events -= eventsIn(key)
    const committed = this.#aside.put(key, body)
    this.#hearCommit(this.#root)
    await committed
  }

  /** What was set aside behind the key `after`, oldest first. */
  *readAside(after = 0): Generator<LogEntry> {
    for (const { key, value } of this.#aside.getRange({ start: after + 1 }))
      if (value.length > 0) yield { key, count: eventsIn(key), value }
  }

  /** Drops what was set aside. Its key stays as long as its segment does, where it would be read again. */
  async dropAside(key: number): Promise<void> {
    const committed = key > this.#dropped ? this.#aside.put(key, NOTHING) : this.#aside.remove(key)
    this.#hearCommit(this.#root)
    await committed
  }

  /** Resolves when all that was begun is on disk. */
  async close(): Promise<void> {
    if (this.#pending > 0) await new Promise<void>(resolve => (this.#drained = resolve))
    this.#isClosed = true
    await this.#tidying
    await Promise.all([this.#root.close(), ...this.#segments.map(segment => segment.close())])
  }

  /** What was written in earlier lives. */
  async #findSegments(): Promise<void> {
    await this.#checkLayout()
    const names = readdirSync(this.#options.path).filter(name => NAME.test(name))
    for (const name of names.sort()) {
      const path = join(this.#options.path, name)
      await assertIntact(path)
      const segment = new LogSegment(path, Number(NAME.exec(name)?.[1]), statSync(path).size)
      const events = this.#eventsIn(segment)
      this.#lastKey = Math.max(this.#lastKey, lastKey(segment.env))
      if (events === 0) {
        await segment.delete()
      } else {
        await segment.close()
        this.#events += events
        this.#bytes += segment.bytes
        this.#segments.push(segment)
      }
    }
    for (const key of this.#skipped) this.#events -= eventsIn(key)
  }

  #eventsIn({ env }: LogSegment): number {
    let events = 0
    for (const key of env.getKeys({ start: this.#dropped + 1 })) events += eventsIn(key)
    return events
  }

  async #checkLayout(): Promise<void> {
    const layout = this.#state.get('layout')
    const isNew =
      layout === undefined &&
      this.#dropped === 0 &&
      readdirSync(this.#options.path).every(name => !NAME.test(name))
    if (isNew) await this.#state.put('layout', LAYOUT)
    else if (layout !== LAYOUT)
      throw new Error('another version of frequency wrote it: let that version archive what is in it first')
  }

  /** @param key that is going to be written */
  #segmentToWrite(key: number): LogSegment {
    const isFull = this.#tail !== undefined && this.#tail.bytes >= this.#options.segmentBytes
    if (this.#tail !== undefined && !isFull) return this.#tail
    const path = join(this.#options.path, `${String(key).padStart(16, '0')}.mdb`)
    const segment = new LogSegment(path, key, 0)
    segment.open()
    segment.named = syncDirectory(this.#options.path)
    segment.named.catch(ignore)
    this.#segments.push(segment)
    this.#tail = segment
    this.#tidyLater()
    return segment
  }

  #account(segment: LogSegment, bytes: number, pending: number): void {
    segment.bytes += bytes
    this.#bytes += bytes
    segment.pending += pending
    this.#pending += pending
    if (this.#pending === 0) this.#drained()
  }

  #segmentOf(key: number): LogSegment | undefined {
    return this.#segments.findLast(({ firstKey }) => firstKey <= key) ?? this.#segments[0]
  }

  #canOpen(segment: LogSegment): boolean {
    try {
      segment.open()
      return true
    } catch (error) {
      this.unreadable(error as Error)
      setTimeout(() => this.readable(), READ_RETRY_MS).unref()
      return false
    }
  }

  /** Not at once: the segment in question may be in the middle of being read. */
  #tidyLater(): void {
    if (this.#isTidyDue) return
    this.#isTidyDue = true
    setImmediate(() => {
      this.#isTidyDue = false
      if (!this.#isClosed) this.#tidy()
    })
  }

  /** Deletes segments of which all is dropped, and closes those that are neither written nor read. */
  #tidy(): void {
    const isAllDropped = this.#dropped >= this.#lastKey
    if (isAllDropped && (this.#tail?.bytes ?? 0) > this.#options.segmentBytes / 4) this.#tail = undefined
    let lastKey = this.#lastKey
    for (const segment of this.#segments.toReversed()) {
      if (segment !== this.#tail && segment.pending === 0) {
        if (lastKey <= this.#dropped) this.#delete(segment)
        else if (segment !== this.#read && segment.isOpen) this.#after(segment.close())
      }
      lastKey = segment.firstKey - 1
    }
  }

  #delete(segment: LogSegment): void {
    this.#segments.splice(this.#segments.indexOf(segment), 1)
    this.#bytes -= segment.bytes
    if (segment === this.#read) this.#read = undefined
    this.#after(segment.delete())
  }

  #after(closing: Promise<void>): void {
    // What could not be deleted is empty to the next life, which deletes it then.
    this.#tidying = Promise.all([this.#tidying, closing]).then(() => this.readable(), ignore)
  }

  /**
   * A commit that fails (on a full disk) rejects two promises that lmdb keeps to itself: that of the batch
   * it makes of a turn's writes, and that of the cause. Unheard, they would end the process.
   */
  #hearCommit(env: RootDatabase): void {
    if (this.#toHear.has(env)) return
    this.#toHear.add(env)
    setImmediate(() => {
      this.#toHear.delete(env)
      env.committed.then(ignore, error => error.commitError?.catch(ignore))
    })
  }
}

function ignore(): void {}

/** What LMDB writes for it, about. */
function bytesOnDisk({ length }: Buffer): number {
  return length <= INLINE_BYTES_MAX
    ? length + ENTRY_BYTES
    : Math.ceil((length + ENTRY_BYTES) / PAGE_BYTES) * PAGE_BYTES
}

function eventsIn(key: number): number {
  return (key % GROUP_EVENTS_MAX) + 1
}

function keyAfter(key: number, count: number): number {
  return (Math.floor(key / GROUP_EVENTS_MAX) + 1) * GROUP_EVENTS_MAX + count - 1
}

function lastKey(database: Database<Buffer, number>): number {
  const [key = 0] = database.getKeys({ reverse: true, limit: 1 })
  return key
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await openFile(path)
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}
