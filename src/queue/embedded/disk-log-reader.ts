import { basename } from 'node:path'
import { HEADER_BYTES, type LogRecord, readRecord } from './disk-log-format.ts'
import { type Damage, eventsIn, findRecords } from './disk-log-recovery.ts'
import type { LogSegment } from './disk-log-segment.ts'
import type { LogSegments } from './disk-log-segments.ts'
import type { LogEntry, WrittenGroup } from './disk-log-writer.ts'

const NOTHING = Buffer.alloc(0)
const BLOCK_BYTES = 256 * 1024
/** Limit of entries in memory that are read and not returned yet. One block and one record may exceed it. */
const READY_BYTES_MAX = 512 * 1024
/** Approximate memory of an entry beside its value. */
const ENTRY_BYTES = 200
/** Returned entries leave the array this many at a time. */
const RETURNED_MAX = 1024
/** Distance between remembered places. */
const PLACE_BYTES = 64 * 1024

export interface LogReaderHooks {
  /** Called when there may be more to read. */
  loaded(): void
  /** Called when the file cannot be read now. */
  failed(error: Error): void
  damaged(damage: Damage): void
}

/** Where a record is. All records before it have smaller keys. */
interface Place {
  readonly segment: LogSegment
  readonly offset: number
  readonly key: number
}

/**
 * Reads a log in the order of its keys. It reads ahead in blocks. When it has read the whole log, it takes new
 * entries from the writer's memory instead.
 */
export class LogReader {
  readonly #segments: LogSegments
  readonly #hooks: LogReaderHooks
  /** Places after the dropped part, at which reading can begin. */
  readonly #places: Place[] = []
  #ready: LogEntry[] = []
  #readyAt = 0
  #readyBytes = 0
  /** Key of the last returned entry. */
  #returnedKey = Number.NaN
  /** Key of the last entry that was read. */
  #readKey = Number.NaN
  /** Where the next block begins, with `#offset`; undefined before the first read. */
  #segment: LogSegment | undefined
  #offset = 0
  #blockBytes = BLOCK_BYTES
  /** Identifies the pending read of a block. After a seek it is another one, and the result is ignored. */
  #loading: symbol | undefined
  #oldest: LogEntry | undefined

  constructor(segments: LogSegments, hooks: LogReaderHooks) {
    this.#segments = segments
    this.#hooks = hooks
  }

  /**
   * The entries after a key that are in memory. `loaded` is called when there are more. To read on, pass the key
   * of the last entry.
   */
  *read(after: number, isWanted: (key: number) => boolean): Generator<LogEntry> {
    if (after !== this.#returnedKey) this.#seek(after)
    for (let entry = this.#ready[this.#readyAt]; entry !== undefined; entry = this.#ready[this.#readyAt]) {
      this.#readyAt++
      this.#readyBytes -= bytesOf(entry)
      if (this.#readyBytes < READY_BYTES_MAX / 2) this.#load()
      if (!isWanted(entry.key)) continue
      this.#returnedKey = entry.key
      yield entry
    }
    this.#ready = []
    this.#readyAt = 0
    this.#load()
  }

  /** The first wanted entry after a key; undefined if there is none. @throws the system's error if reading fails */
  first(after: number, isWanted: (key: number) => boolean): LogEntry | undefined {
    const { key = 0 } = this.#oldest ?? {}
    if (key > after && isWanted(key)) return this.#oldest
    this.#oldest = undefined
    for (const entry of this.#walk(after)) {
      if (!isWanted(entry.key)) continue
      this.#oldest = { ...entry, value: Buffer.from(entry.value) }
      break
    }
    return this.#oldest
  }

  /** Takes a group that was just written, if it is the next one to read. */
  take({ segment, start, entries }: WrittenGroup): void {
    this.#moveOn()
    const isNext = this.#segment === segment && this.#offset === start && this.#loading === undefined
    if (!isNext || this.#readyBytes > READY_BYTES_MAX) return
    this.remember(segment, start, (entries[0] as LogEntry).key)
    for (const entry of entries) this.#push(entry)
    this.#offset = segment.end
  }

  /** Remembers where a record is, so that reading can begin there. */
  remember(segment: LogSegment, offset: number, key: number): void {
    const last = this.#places.at(-1)
    const isNear = last?.segment === segment && offset - last.offset < PLACE_BYTES
    if (!isNear && key > (last?.key ?? 0)) this.#places.push({ segment, offset, key })
  }

  /** Forgets places up to a key: that part is dropped. */
  dropThrough(key: number): void {
    while ((this.#places[1]?.key ?? Number.POSITIVE_INFINITY) <= key + 1) this.#places.shift()
  }

  #seek(after: number): void {
    this.#ready = []
    this.#readyAt = 0
    this.#readyBytes = 0
    this.#loading = undefined
    this.#returnedKey = after
    this.#readKey = after
    this.#goTo(undefined)
    this.#moveOn()
  }

  /** Moves to the segment and offset of the next block. */
  #moveOn(): void {
    if (this.#segment === undefined || this.#segment.isDeleted) {
      if (Number.isNaN(this.#readKey)) return
      const place = this.#placeOf(this.#readKey)
      this.#goTo(place?.segment, place?.offset)
    }
    while (this.#segment !== undefined && !this.#segment.isWritten && this.#offset >= this.#segment.end) {
      const next = this.#segments.after(this.#segment)
      if (next === undefined) return
      this.#goTo(next)
    }
  }

  #goTo(segment: LogSegment | undefined, offset = HEADER_BYTES): void {
    this.#offset = offset
    if (segment === this.#segment) return
    if (this.#segment !== undefined) {
      this.#segment.isRead = false
      if (!this.#segment.isWritten) this.#segment.close()
    }
    this.#segment = segment
    if (segment !== undefined) segment.isRead = true
  }

  #placeOf(after: number): Pick<Place, 'segment' | 'offset'> | undefined {
    const segment = this.#segments.of(after + 1)
    if (segment === undefined) return undefined
    const place = this.#places.findLast(each => each.key <= after + 1 && !each.segment.isDeleted)
    return place !== undefined && place.key >= segment.firstKey ? place : { segment, offset: HEADER_BYTES }
  }

  #load(): void {
    if (this.#loading !== undefined || this.#readyBytes > READY_BYTES_MAX) return
    this.#moveOn()
    const segment = this.#segment
    if (segment === undefined || this.#offset >= segment.end) return
    const loading = Symbol()
    this.#loading = loading
    const offset = this.#offset
    const bytes = Math.min(this.#blockBytes, segment.end - offset)
    segment.read(offset, bytes).then(
      block => {
        if (this.#loading !== loading) return
        this.#loading = undefined
        this.#parse(segment, block, offset, bytes)
        this.#hooks.loaded()
      },
      error => {
        if (this.#loading !== loading) return
        this.#loading = undefined
        this.#hooks.failed(error)
      },
    )
  }

  #parse(segment: LogSegment, block: Buffer, start: number, bytes: number): void {
    let offset = start
    const isCut = block.length < bytes
    this.#blockBytes = BLOCK_BYTES
    while (offset < start + (isCut ? bytes : block.length)) {
      const record = recordIn(segment, block, start, offset)
      if (typeof record === 'number' && !isCut) {
        this.#blockBytes = Math.max(BLOCK_BYTES, record)
        break
      }
      if (record === undefined || typeof record === 'number') {
        offset = segment.gaps.get(offset) ?? this.#skipDamage(segment, offset)
        continue
      }
      if (record.key > this.#readKey) {
        if (offset === start) this.remember(segment, offset, record.key)
        this.#push(entryOf(record))
      }
      offset = record.end
    }
    this.#offset = offset
  }

  /** Reports damage that was not there when the log was opened. @returns the offset at which to read on */
  #skipDamage(segment: LogSegment, from: number): number {
    let eventsBefore = 0
    let next: { offset: number; record: LogRecord } | undefined
    findRecords(segment, segment.readSync(0, segment.end), HEADER_BYTES, (_, record, offset) => {
      if (offset < from) eventsBefore = record.eventsBefore + eventsIn(record.key)
      else next ??= { offset, record }
    })
    const to = next?.offset ?? segment.end
    segment.gaps.set(from, to)
    if (next !== undefined && next.record.key <= this.#readKey) return to
    const events = Math.max(0, (next?.record.eventsBefore ?? segment.events) - eventsBefore)
    segment.isDamaged = true
    this.#hooks.damaged({ file: basename(segment.path), from, to, events })
    return to
  }

  #push(entry: LogEntry): void {
    if (this.#readyAt >= RETURNED_MAX) {
      this.#ready.splice(0, this.#readyAt)
      this.#readyAt = 0
    }
    this.#ready.push(entry)
    this.#readKey = entry.key
    this.#readyBytes += bytesOf(entry)
  }

  /** Reads the entries after a key from disk, without the state of `read`. */
  *#walk(after: number): Generator<LogEntry> {
    const place = this.#placeOf(after)
    let offset = place?.offset ?? 0
    for (let segment = place?.segment; segment !== undefined; segment = this.#segments.after(segment)) {
      let block: Buffer = NOTHING
      let start = offset
      while (offset < segment.end) {
        const record = recordIn(segment, block, start, offset)
        if (typeof record === 'number') {
          start = offset
          block = segment.readSync(start, Math.min(Math.max(PLACE_BYTES, record), segment.end - start))
          if (block.length < record) return
          continue
        }
        const next = record?.end ?? segment.gaps.get(offset)
        // `read` reports the damage when it gets there.
        if (next === undefined) return
        if (record !== undefined && record.key > after) yield entryOf(record)
        offset = next
      }
      if (!segment.isWritten && !segment.isRead) segment.close()
      offset = HEADER_BYTES
    }
  }
}

function entryOf({ key, body }: LogRecord): LogEntry {
  return { key, count: eventsIn(key), value: body }
}

function recordIn(segment: LogSegment, block: Buffer, start: number, offset: number) {
  return readRecord(block, offset - start, segment.seal, start, segment.end)
}

function bytesOf({ value }: LogEntry): number {
  return value.length + ENTRY_BYTES
}
