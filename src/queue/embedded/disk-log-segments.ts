/** The segments of one log in a directory, in the order of their keys. */

import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { LogFiles } from './disk-log-files.ts'
import { createSegmentName, type Predecessor, parseSegmentName } from './disk-log-format.ts'
import {
  applyScan,
  type Damage,
  type RecordVisitor,
  type Scan,
  type Scratch,
  scanSegment,
} from './disk-log-recovery.ts'
import { LogSegment } from './disk-log-segment.ts'

export interface SegmentsOptions {
  readonly path: string
  /** Distinguishes logs in one directory. */
  readonly prefix: string
  /** A segment's name has its first key; or an ordinal, if keys do not ascend in the log. */
  readonly naming: 'key' | 'ordinal'
  /** A segment of this size is full. */
  readonly segmentBytes: number
  readonly files: LogFiles
}

/** Synced size of the last segment, as the file `dropped` states it. */
export type SyncedNote = Pick<Predecessor, 'firstKey' | 'synced'>

export class LogSegments {
  readonly options: SegmentsOptions
  readonly damages: Damage[] = []
  readonly #list: LogSegment[] = []
  /** The segment that appends go to; undefined if the next append makes a new one. */
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

  /** Size of all files on disk. */
  get bytes(): number {
    return this.#bytes
  }

  get lastKey(): number {
    return this.#list.reduce((key, segment) => Math.max(key, segment.lastKey), 0)
  }

  after(segment: LogSegment): LogSegment | undefined {
    return this.#list[this.#list.indexOf(segment) + 1]
  }

  /** The segment that has a key, or would have it. */
  of(key: number): LogSegment | undefined {
    return this.#list.findLast(({ firstKey }) => firstKey <= key) ?? this.#list[0]
  }

  /**
   * Finds the segments of earlier runs. Deletes segments whose records are all dropped.
   *
   * @param dropped the log is dropped up to this key
   * @throws Error if another version of frequency wrote the files, or they cannot be read
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
    const judged = addWitnesses(scanned, note)
    for (const { segment, scan, others } of judged) {
      const { damages, intactTo } = applyScan(segment, scan, others, dropped)
      this.damages.push(...damages)
      this.#list.push(segment)
      this.account(segment, segment.bytes, 0)
      if (scan.records === 0 || segment.lastKey <= dropped) void this.delete(segment)
      else if (segment === judged.at(-1)?.segment) await this.#sync(segment, intactTo)
    }
    await this.#deleting
  }

  /** The segment for the next append. @param key the next key @throws the system's error if no file can be made */
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

  /** Ends the current segment: the next append makes a new one. */
  retire(): void {
    const tail = this.#tail
    if (tail === undefined) return
    this.#tail = undefined
    tail.isWritten = false
    if (!tail.isRead) tail.close()
  }

  /** Records the size of a segment on disk. */
  account(segment: LogSegment, bytes: number, before = segment.bytes): void {
    this.#bytes += bytes - before
    segment.bytes = bytes
  }

  /**
   * Removes a segment from the log at once. Resolves when its file is deleted. If that fails, the next run deletes
   * the file.
   */
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

  /** Syncs records of a killed process, which may not be on disk yet. If that fails, `synced` stays as it is. */
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
  /** Synced size and events of the segment, according to the next segment's header and the file `dropped`. */
  readonly others: { synced: number; events: number | undefined }
}

function addWitnesses(scanned: readonly Scanned[], note: SyncedNote | undefined): Witnessed[] {
  const result: Witnessed[] = []
  let next: Witnessed | undefined
  for (const { segment, scan } of scanned.toReversed()) {
    const noted = note?.firstKey === segment.firstKey ? note.synced : 0
    const { synced, events } = statedByNext(next, segment)
    const witnessed = { segment, scan, others: { synced: Math.max(noted, synced), events } }
    result.unshift(witnessed)
    // A file without records that was never synced does not count as the next segment.
    if (scan.records > 0 || wasSynced(witnessed)) next = witnessed
  }
  return result
}

/** What the next segment states about this one. */
function statedByNext(next: Witnessed | undefined, { firstKey }: LogSegment): Witnessed['others'] {
  if (next === undefined) return { synced: 0, events: undefined }
  const { before } = next.scan
  if (before?.firstKey === firstKey) return before
  // If the header of the next segment is lost: a synced next segment exists, so all of this one was synced before.
  // If the header names another segment: this one was deleted, and a power cut has brought it back.
  const isFollowed = before === undefined && wasSynced(next)
  return { synced: isFollowed ? Number.POSITIVE_INFINITY : 0, events: undefined }
}

function wasSynced({ scan, others }: Witnessed): boolean {
  return Math.max(scan.synced, others.synced) > 0
}
