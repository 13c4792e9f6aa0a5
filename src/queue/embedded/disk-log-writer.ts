import { setImmediate as nextTurn } from 'node:timers/promises'
import { createDeferred, type Deferred } from '../../process/deferred.ts'
import { HEADER_BYTES, RECORD_BYTES, writeHeader, writeRecord } from './disk-log-format.ts'
import { eventsIn } from './disk-log-recovery.ts'
import type { LogSegment } from './disk-log-segment.ts'
import type { LogSegments } from './disk-log-segments.ts'

/** Limit of what one write and sync covers. A single record may be larger. */
const GROUP_BYTES_MAX = 1024 * 1024

export interface LogEntry {
  readonly key: number
  /** Number of events. */
  readonly count: number
  readonly value: Buffer
}

export interface WrittenGroup {
  readonly segment: LogSegment
  readonly start: number
  readonly entries: readonly LogEntry[]
}

interface Pending extends LogEntry {
  readonly durable: Deferred<void>
}

/**
 * Appends to the segments of a log (group commit): appends that come during a write and its sync form the next
 * group, with one write and one sync.
 */
export class LogWriter {
  readonly #segments: LogSegments
  /** Called with each durable group, before its appends resolve. */
  readonly #written: (group: WrittenGroup) => void
  readonly #buffer = Buffer.allocUnsafeSlow(GROUP_BYTES_MAX)
  #queue: Pending[] = []
  #pendingBytes = 0
  #running: Promise<void> | undefined

  constructor(segments: LogSegments, written: (group: WrittenGroup) => void) {
    this.#segments = segments
    this.#written = written
  }

  /** Bytes that pending appends will take on disk. */
  get pendingBytes(): number {
    return this.#pendingBytes
  }

  get isIdle(): boolean {
    return this.#running === undefined
  }

  /**
   * Resolves when the record is on disk (fdatasync).
   *
   * @throws the system's error. The record is then never read.
   */
  append(key: number, value: Buffer): Promise<void> {
    const durable = createDeferred()
    this.#queue.push({ key, count: eventsIn(key), value, durable })
    this.#pendingBytes += RECORD_BYTES + value.length
    this.#running ??= this.#run()
    return durable.promise
  }

  /** Resolves when no append is pending. */
  async drained(): Promise<void> {
    while (this.#running !== undefined) await this.#running
  }

  async #run(): Promise<void> {
    // The turn lets more appends join the group: those of the same turn, and of callers whose append just resolved.
    for (await nextTurn(); this.#queue.length > 0; await nextTurn()) {
      const group = this.#takeGroup()
      try {
        await this.#write(group)
      } catch (error) {
        this.#settle(group, error)
      }
    }
    this.#running = undefined
  }

  #takeGroup(): Pending[] {
    let bytes = HEADER_BYTES
    let count = 0
    for (const { value } of this.#queue) {
      bytes += RECORD_BYTES + value.length
      if (count > 0 && bytes > GROUP_BYTES_MAX) break
      count++
    }
    return this.#queue.splice(0, count)
  }

  async #write(group: Pending[]): Promise<void> {
    const { files } = this.#segments.options
    const before = this.#segments.last
    const segment = this.#segments.toWrite((group[0] as Pending).key)
    const isNew = segment.synced === 0
    const start = isNew ? 0 : segment.end
    const { data, events } = this.#encode(group, segment, before)
    try {
      await segment.use(async fd => {
        await files.write(fd, data, start)
        const syncs = [files.sync(fd), isNew ? files.syncDirectory(this.#segments.options.path) : undefined]
        const failed = (await Promise.allSettled(syncs)).find(({ status }) => status === 'rejected')
        if (failed !== undefined) throw (failed as PromiseRejectedResult).reason
      })
    } catch (error) {
      await this.#abandon(segment, start + data.length)
      throw error
    }
    segment.events = events
    segment.lastKey = (group.at(-1) as Pending).key
    segment.end = start + data.length
    segment.synced = segment.end
    this.#segments.account(segment, segment.end)
    this.#written({ segment, start: isNew ? HEADER_BYTES : start, entries: group })
    this.#settle(group)
  }

  #encode(
    group: readonly Pending[],
    segment: LogSegment,
    before: LogSegment | undefined,
  ): { data: Buffer; events: number } {
    const isNew = segment.synced === 0
    const headerBytes = isNew ? HEADER_BYTES : 0
    const bytes = group.reduce((sum, { value }) => sum + RECORD_BYTES + value.length, headerBytes)
    const target = bytes > this.#buffer.length ? Buffer.allocUnsafeSlow(bytes) : this.#buffer
    if (isNew) writeHeader(target, segment, before)
    const { synced } = segment
    const base = isNew ? 0 : segment.end
    let { events: eventsBefore } = segment
    let at = headerBytes
    for (const { key, count, value: body } of group) {
      at = writeRecord(target, at, segment.seal, base + at, { key, body, synced, eventsBefore })
      eventsBefore += count
    }
    return { data: target.subarray(0, bytes), events: eventsBefore }
  }

  /**
   * Gives a segment up after a failed write or sync. Its content is in doubt: after a failed sync the kernel may mark
   * unwritten pages as clean.
   */
  async #abandon(segment: LogSegment, bytesAtMost: number): Promise<void> {
    if (segment.synced === 0) {
      await this.#segments.delete(segment)
      return
    }
    const truncated = segment.use(fd => this.#segments.options.files.truncate(fd, segment.end))
    const bytes = await truncated.then(
      () => segment.end,
      () => bytesAtMost,
    )
    this.#segments.account(segment, bytes)
    this.#segments.retire()
  }

  #settle(group: readonly Pending[], error?: unknown): void {
    for (const { value, durable } of group) {
      this.#pendingBytes -= RECORD_BYTES + value.length
      if (error === undefined) durable.resolve()
      else durable.reject(error)
    }
  }
}
