/** What a log names in all, and what this process has done in it. */

import type { LogReader } from './log-reader.ts'
import type { LogRecord } from './log-record.ts'
import type { Watermark } from './watermark.ts'

export interface LogTotal {
  readonly events: number
  readonly objects: number
}

/** An archiver's log, as it reports it. */
export interface LogStatus {
  readonly id: string
  /** The last record that is applied. */
  readonly position: number
  /** Up to which record the log is folded. */
  readonly watermark: number
  /** What the log names up to `position`; undefined while that is being counted. */
  readonly total: LogTotal | undefined
  /** Records, and batches in them, that are not known to be objects yet. */
  readonly unsettled: { readonly records: number; readonly batches: number }
  /** Records that this process has appended. */
  readonly commits: number
  /** Records of others that had the number which this process tried for. */
  readonly conflicts: number
  /** When this process last appended one, in milliseconds since 1970. */
  readonly lastCommitAt: number | undefined
}

export interface LogTotalsParts {
  readonly reader: Pick<LogReader, 'record'>
  readonly watermark: Pick<Watermark, 'manifest' | 'number'>
}

const READS_AT_ONCE = 8

/** Counts the records above the watermark; what is below it is in the newest manifest. */
interface Counted {
  readonly events: number
  /** It was there when the record was made. */
  readonly isStored: boolean
}

export class LogTotals {
  readonly #parts: LogTotalsParts
  /** Of records above the watermark, by number. */
  readonly #records = new Map<number, readonly Counted[]>()
  /** Batches above the watermark that are void: `number:batch`, with their record's number. */
  readonly #voids = new Map<string, { number: number; batch: number }>()
  #commits = 0
  #conflicts = 0
  #lastCommitAt: number | undefined

  constructor(parts: LogTotalsParts) {
    this.#parts = parts
  }

  /** To be called for each record that is applied, now or in an earlier life. */
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

  /** Another writer has the number that this one tried for. */
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

  /** What the log names up to `position`; undefined where records of an earlier life are not counted yet. */
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
      // A repair has named other batches, which are there.
      if (counted === undefined || counted.isStored) continue
      objects--
      events -= counted.events
    }
    return { events, objects }
  }

  /**
   * Reads the records up to `position` that are not counted, and forgets those that are folded. To be called now and
   * then, beside other work.
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
