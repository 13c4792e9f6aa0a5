/** Counts the events and objects that a log names, and the records that this process appended. */

import type { LogReader } from './log-reader.ts'
import type { LogRecord } from './log-record.ts'
import type { Watermark } from './watermark.ts'

export interface LogTotal {
  readonly events: number
  readonly objects: number
}

/** The state of the log, as an archiver reports it. */
export interface LogStatus {
  readonly id: string
  /** The number of the last applied record. */
  readonly position: number
  /** The number of the last folded record; 0 if none is folded. */
  readonly watermark: number
  /** All events and objects in records up to `position`; undefined while they are being counted. */
  readonly total: LogTotal | undefined
  /** Records, and the batches in them, that are not known to be settled. */
  readonly unsettled: { readonly records: number; readonly batches: number }
  /** Records that this process has appended. */
  readonly commits: number
  /** Creates of this process that failed, because a record of another writer had the number. */
  readonly conflicts: number
  /** When this process last appended a record, in milliseconds since 1970. */
  readonly lastCommitAt: number | undefined
}

export interface LogTotalsParts {
  readonly reader: Pick<LogReader, 'record'>
  readonly watermark: Pick<Watermark, 'manifest' | 'number'>
}

const READS_AT_ONCE = 8

interface CountedBatch {
  readonly events: number
  /** Its object was stored before the record was made. */
  readonly isStored: boolean
}

/** Counts the records above the watermark. The newest manifest has the totals of all records below. */
export class LogTotals {
  readonly #parts: LogTotalsParts
  /** The batches of the records above the watermark, by record number. */
  readonly #records = new Map<number, readonly CountedBatch[]>()
  /** The void batches of records above the watermark, by `number:batch`. */
  readonly #voids = new Map<string, { number: number; batch: number }>()
  #commits = 0
  #conflicts = 0
  #lastCommitAt: number | undefined

  constructor(parts: LogTotalsParts) {
    this.#parts = parts
  }

  /** To be called for each record that is applied, or that was applied before this process started. */
  applied({ number, batches, voids }: LogRecord, isOwn = false): void {
    this.#records.set(
      number,
      batches.map(({ events, isStored }) => ({ events, isStored: isStored === true })),
    )
    for (const each of voids) this.#voids.set(`${each.number}:${each.batch}`, each)
    if (!isOwn) return
    this.#commits++
    this.#lastCommitAt = Date.now()
  }

  /** To be called when a record of another writer has the number that this process tried. */
  conflicted(): void {
    this.#conflicts++
  }

  get commits(): number {
    return this.#commits
  }

  get conflicts(): number {
    return this.#conflicts
  }

  /** In milliseconds since 1970. */
  get lastCommitAt(): number | undefined {
    return this.#lastCommitAt
  }

  /** All events and objects in records up to `position`; undefined until `countUpTo` has read all of them. */
  total(position: number): LogTotal | undefined {
    const { manifest, number: watermark } = this.#parts.watermark
    let { events, objects } = manifest?.total ?? { events: 0, objects: 0 }
    for (let number = watermark + 1; number <= position; number++) {
      const batches = this.#records.get(number)
      if (batches === undefined) return undefined
      objects += batches.length
      for (const each of batches) events += each.events
    }
    for (const { number, batch } of this.#voids.values()) {
      if (number <= watermark || number > position) continue
      const counted = this.#records.get(number)?.[batch]
      // The record was repaired. It names other batches, whose objects are stored.
      if (counted === undefined || counted.isStored) continue
      objects--
      events -= counted.events
    }
    return { events, objects }
  }

  /**
   * Reads the records up to `position` that are not counted yet, and forgets those that are folded. To be called
   * periodically.
   *
   * @throws StoreUnavailable, LogDamaged
   */
  async countUpTo(position: number): Promise<void> {
    this.#forgetFolded()
    const numbers: number[] = []
    for (let number = this.#parts.watermark.number + 1; number <= position; number++)
      if (!this.#records.has(number)) numbers.push(number)
    for (let at = 0; at < numbers.length; at += READS_AT_ONCE) {
      const some = numbers.slice(at, at + READS_AT_ONCE)
      const answers = await Promise.all(some.map(number => this.#parts.reader.record(number)))
      for (const { record } of answers) if (record !== undefined) this.applied(record)
    }
  }

  #forgetFolded(): void {
    const watermark = this.#parts.watermark.number
    for (const number of this.#records.keys()) if (number <= watermark) this.#records.delete(number)
    for (const [key, { number }] of this.#voids) if (number <= watermark) this.#voids.delete(key)
  }
}
