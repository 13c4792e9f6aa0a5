import { basename } from 'node:path'
import { HEADER_BYTES, type LogRecord, readRecord } from './disk-log-format.ts'
import { type Damage, eventsIn, findRecords } from './disk-log-recovery.ts'
import type { LogSegment } from './disk-log-segment.ts'
import type { LogSegments } from './disk-log-segments.ts'
import type { LogEntry, WrittenGroup } from './disk-log-writer.ts'

const NOTHING = Buffer.alloc(0)
const BLOCK_BYTES = 256 * 1024
/** What is read, or was just written, and waits to be handed out: at most this, a block and a record. */
const READY_BYTES_MAX = 512 * 1024
/** What an entry takes in memory beside its bytes, about. */
const ENTRY_BYTES = 200
/** Entries that were handed out are let go so many at a time. */
const HANDED_OUT_MAX = 1024
/** How far apart the places are that are remembered. */
const PLACE_BYTES = 64 * 1024

export interface LogReaderHooks {
  /** There may be something to read that was not there before. */
  loaded(): void
  /** The file cannot be read now. */
  failed(error: Error): void
  damaged(damage: Damage): void
}

/** A record's place; all records before it have smaller keys. */
interface Place {
  readonly segment: LogSegment
  readonly offset: number
  readonly key: number
}

/**
 * Reads a log in the order of its keys. It reads ahead in blocks; while nothing waits to be read, it takes
 * what is appended from memory.
 */
export class LogReader {
  readonly #segments: LogSegments
  readonly #hooks: LogReaderHooks
  /** Places behind what is dropped, so that a reader can begin there. */
  readonly #places: Place[] = []
  #ready: LogEntry[] = []
  #readyAt = 0
  #readyBytes = 0
  /** All up to this key was handed out. */
  #key = Number.NaN
  /** All up to this key was read. */
  #through = Number.NaN
  /** Where the next block begins; undefined where nobody has read yet. */
  #segment: LogSegment | undefined
  #offset = 0
  #blockBytes = BLOCK_BYTES
  /** The block that is being read, if it is still wanted. */
  #loading: symbol | undefined
  #oldest: LogEntry | undefined

  constructor(segments: LogSegments, hooks: LogReaderHooks) {
    this.#segments = segments
    this.#hooks = hooks
  }

  /** What is in memory; `loaded` is called when there is more. A reader reads on behind the last one it got. */
  *read(after: number, isWanted: (key: number) => boolean): Generator<LogEntry> {
    if (after !== this.#key) this.#seek(after)
    for (let entry = this.#ready[this.#readyAt]; entry !== undefined; entry = this.#ready[this.#readyAt]) {
      this.#readyAt++
      this.#readyBytes -= bytesOf(entry)
      if (this.#readyBytes < READY_BYTES_MAX / 2) this.#load()
      if (!isWanted(entry.key)) continue
      this.#key = entry.key
      yield entry
    }
    this.#ready = []
    this.#readyAt = 0
    this.#load()
  }

  /** The first entry behind a key that `isWanted`; undefined where there is none. @throws what the system says */
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

  /** Takes what was just written, if it is what comes next. */
  take({ segment, start, entries }: WrittenGroup): void {
    this.#moveOn()
    const isNext = this.#segment === segment && this.#offset === start && this.#loading === undefined
    if (!isNext || this.#readyBytes > READY_BYTES_MAX) return
    this.remember(segment, start, (entries[0] as LogEntry).key)
    for (const entry of entries) this.#push(entry)
    this.#offset = segment.end
  }

  /** That a record is there, so that a reader can begin with it. */
  remember(segment: LogSegment, offset: number, key: number): void {
    const last = this.#places.at(-1)
    const isNear = last?.segment === segment && offset - last.offset < PLACE_BYTES
    if (!isNear && key > (last?.key ?? 0)) this.#places.push({ segment, offset, key })
  }

  /** Nobody reads up to this key any more. */
  dropThrough(key: number): void {
    while ((this.#places[1]?.key ?? Number.POSITIVE_INFINITY) <= key + 1) this.#places.shift()
  }

  #seek(after: number): void {
    this.#ready = []
    this.#readyAt = 0
    this.#readyBytes = 0
    this.#loading = undefined
    this.#key = after
    this.#through = after
    this.#goTo(undefined)
    this.#moveOn()
  }

  /** To where the next block begins. */
  #moveOn(): void {
    if (this.#segment === undefined || this.#segment.isDeleted) {
      if (Number.isNaN(this.#through)) return
      const place = this.#placeOf(this.#through)
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
        offset = segment.gaps.get(offset) ?? this.#passOver(segment, offset)
        continue
      }
      if (record.key > this.#through) {
        if (offset === start) this.remember(segment, offset, record.key)
        this.#push(entryOf(record))
      }
      offset = record.end
    }
    this.#offset = offset
  }

  /** Damage that was not there when the log was opened. @returns where to read on */
  #passOver(segment: LogSegment, from: number): number {
    let eventsBefore = 0
    let next: { offset: number; record: LogRecord } | undefined
    findRecords(segment, segment.readSync(0, segment.end), HEADER_BYTES, (_, record, offset) => {
      if (offset < from) eventsBefore = record.eventsBefore + eventsIn(record.key)
      else next ??= { offset, record }
    })
    const to = next?.offset ?? segment.end
    segment.gaps.set(from, to)
    if (next !== undefined && next.record.key <= this.#through) return to
    const events = Math.max(0, (next?.record.eventsBefore ?? segment.events) - eventsBefore)
    segment.isDamaged = true
    this.#hooks.damaged({ file: basename(segment.path), from, to, events })
    return to
  }

  #push(entry: LogEntry): void {
    if (this.#readyAt >= HANDED_OUT_MAX) {
      this.#ready.splice(0, this.#readyAt)
      this.#readyAt = 0
    }
    this.#ready.push(entry)
    this.#through = entry.key
    this.#readyBytes += bytesOf(entry)
  }

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
        // The reader tells of damage when it comes to it.
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
