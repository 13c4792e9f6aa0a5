/** The segments of one log in a directory, in the order of their keys. */

import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { LogFiles } from './disk-log-files.ts'
import { createSegmentName, type Predecessor, parseSegmentName } from './disk-log-format.ts'
import {
  type Damage,
  type RecordVisitor,
  type Scan,
  type Scratch,
  scanSegment,
  takeOver,
} from './disk-log-recovery.ts'
import { LogSegment } from './disk-log-segment.ts'

export interface SegmentsOptions {
  readonly path: string
  /** Tells logs in one directory apart. */
  readonly prefix: string
  /** What a segment is named after: the first key in it, or, where keys do not count up, an ordinal. */
  readonly naming: 'key' | 'ordinal'
  /** Size at which a segment is full. */
  readonly segmentBytes: number
  readonly files: LogFiles
}

/** How far the last segment was synced, as is noted elsewhere. */
export type SyncedNote = Pick<Predecessor, 'firstKey' | 'synced'>

export class LogSegments {
  readonly options: SegmentsOptions
  readonly damages: Damage[] = []
  readonly #list: LogSegment[] = []
  /** The last segment, while it is written. */
  #tail: LogSegment | undefined
  #bytes = 0
  #deleting: Promise<unknown> = Promise.resolve()

  constructor(options: SegmentsOptions) {
    this.options = options
  }

  get list(): readonly LogSegment[] {
    return this.#list
  }

  get tail(): LogSegment | undefined {
    return this.#tail
  }

  get last(): LogSegment | undefined {
    return this.#list.at(-1)
  }

  /** Of all files. */
  get bytes(): number {
    return this.#bytes
  }

  get lastKey(): number {
    return this.#list.reduce((key, segment) => Math.max(key, segment.lastKey), 0)
  }

  after(segment: LogSegment): LogSegment | undefined {
    return this.#list[this.#list.indexOf(segment) + 1]
  }

  /** Where a key is, or would be. */
  of(key: number): LogSegment | undefined {
    return this.#list.findLast(({ firstKey }) => firstKey <= key) ?? this.#list[0]
  }

  /**
   * Finds what was written in earlier lives. Files of which all is dropped are deleted.
   *
   * @param dropped all up to this key
   * @throws Error where another version wrote them, or they cannot be read
   */
  async recover(dropped: number, note: SyncedNote | undefined, visit: RecordVisitor): Promise<void> {
    const { path, prefix } = this.options
    const scanned: Scanned[] = []
    const scratch: Scratch = { buffer: Buffer.alloc(0) }
    for (const name of readdirSync(path).sort()) {
      const parsed = parseSegmentName(prefix, name)
      if (parsed === undefined) continue
      const segment = new LogSegment(join(path, name), parsed)
      try {
        scanned.push({ segment, scan: await scanSegment(segment, visit, scratch) })
      } finally {
        segment.close()
      }
    }
    const judged = witnesses(scanned, note)
    for (const { segment, scan, others } of judged) {
      const { damages, intactTo } = takeOver(segment, scan, others, dropped)
      this.damages.push(...damages)
      this.#list.push(segment)
      this.account(segment, segment.bytes, 0)
      if (scan.records === 0 || segment.lastKey <= dropped) void this.delete(segment)
      else if (segment === judged.at(-1)?.segment) await this.#sync(segment, intactTo)
    }
    await this.#deleting
  }

  /** @param key that is going to be written. @throws what the system says, where no file can be made */
  toWrite(key: number): LogSegment {
    const { path, prefix, naming, segmentBytes } = this.options
    if (this.#tail !== undefined && this.#tail.bytes < segmentBytes) return this.#tail
    const number = naming === 'key' ? key : (this.last?.firstKey ?? 0) + 1
    const { name, ...own } = createSegmentName(prefix, number)
    const segment = new LogSegment(join(path, name), own)
    segment.create()
    this.retire()
    this.#list.push(segment)
    this.#tail = segment
    return segment
  }

  /** Lets what comes go to a new segment. */
  retire(): void {
    const tail = this.#tail
    if (tail === undefined) return
    this.#tail = undefined
    tail.isWritten = false
    if (!tail.isRead) tail.close()
  }

  account(segment: LogSegment, bytes: number, before = segment.bytes): void {
    this.#bytes += bytes - before
    segment.bytes = bytes
  }

  /** It is in the log no more at once. Resolves when its file is gone; one that cannot be deleted is left to the next life. */
  delete(segment: LogSegment): Promise<void> {
    if (segment === this.#tail) this.retire()
    this.#list.splice(this.#list.indexOf(segment), 1)
    this.account(segment, 0)
    segment.isDeleted = true
    const deleting = segment.delete().catch(() => {})
    this.#deleting = Promise.all([this.#deleting, deleting])
    return deleting
  }

  async close(): Promise<void> {
    await this.#deleting
    for (const segment of this.#list) segment.close()
  }

  /** What a killed process has written may not be on disk yet. Where it cannot be synced, nobody says that it is. */
  async #sync(segment: LogSegment, intactTo: number): Promise<void> {
    if (segment.synced >= intactTo) return
    try {
      await segment.use(fd => this.options.files.sync(fd))
      segment.synced = intactTo
    } catch {
    } finally {
      segment.close()
    }
  }
}

interface Scanned {
  readonly segment: LogSegment
  readonly scan: Scan
}

interface Witnessed extends Scanned {
  /** How far the segment was synced, and how many events were in it, as its successor and the note say. */
  readonly others: { synced: number; events: number | undefined }
}

function witnesses(scanned: readonly Scanned[], note: SyncedNote | undefined): Witnessed[] {
  const result: Witnessed[] = []
  let next: Witnessed | undefined
  for (const { segment, scan } of scanned.toReversed()) {
    const noted = note?.firstKey === segment.firstKey ? note.synced : 0
    const { synced, events } = saidBy(next, segment)
    const witnessed = { segment, scan, others: { synced: Math.max(noted, synced), events } }
    result.unshift(witnessed)
    // A file of which nothing has reached the disk was none yet: it is not the next one.
    if (scan.records > 0 || wasSynced(witnessed)) next = witnessed
  }
  return result
}

/** What a segment says of the one before it. */
function saidBy(next: Witnessed | undefined, { firstKey }: LogSegment): Witnessed['others'] {
  if (next === undefined) return { synced: 0, events: undefined }
  const { before } = next.scan
  if (before?.firstKey === firstKey) return before
  // Its header is lost. That there is a next one says that all of this was synced, unless it may be torn itself.
  // Where it names another, that one and this were deleted, and this has come back with a loss of power.
  const isFollowed = before === undefined && wasSynced(next)
  return { synced: isFollowed ? Number.POSITIVE_INFINITY : 0, events: undefined }
}

function wasSynced({ scan, others }: Witnessed): boolean {
  return Math.max(scan.synced, others.synced) > 0
}
