import type { StoreDate } from '../store/store.ts'
import type { LogReader } from './log-reader.ts'
import type { Manifest } from './manifest.ts'

/** How long after a manifest became visible the records that it folded are deleted, by the store's clock. */
export const DELETION_DELAY_MS = 60 * 60 * 1000
/** An answer counts without another look when the last one is no further away; the rest is for clocks of the store that differ. */
const TRUSTED_MS_MAX = DELETION_DELAY_MS / 2

/**
 * Up to which record the log is folded. Records at or below it may be deleted, and their numbers may look
 * free: so an answer about a record counts only above the watermark of its time.
 */
export class Watermark {
  readonly #reader: LogReader
  #manifest: Manifest | undefined
  /** The store's time of the last look. */
  #lookedAt: StoreDate

  constructor(reader: LogReader) {
    this.#reader = reader
  }

  /** The newest manifest that was seen. */
  get manifest(): Manifest | undefined {
    return this.#manifest
  }

  /** 0 where nothing is folded. */
  get number(): number {
    return this.#manifest?.through ?? 0
  }

  /**
   * Finds the newest manifest: from the last one that was seen in growing steps, then by halves. There is no
   * gap between manifests, and none is ever deleted.
   *
   * @throws StoreUnavailable, LogRefused
   */
  async look(): Promise<void> {
    const known = this.#manifest?.generation ?? 0
    const first = await this.#reader.manifest(known + 1)
    if (first.manifest !== undefined) this.#manifest = await this.#newestFrom(first.manifest)
    this.#lookedAt = first.date
  }

  /**
   * Whether what the store said of a record, found or not found or created, was true of the log.
   *
   * @param date of the answer
   * @throws StoreUnavailable, LogRefused
   */
  async counts(number: number, date: StoreDate): Promise<boolean> {
    const isFresh =
      date !== undefined && this.#lookedAt !== undefined && Math.abs(date - this.#lookedAt) < TRUSTED_MS_MAX
    if (number > this.number && !isFresh) await this.look()
    return number > this.number
  }

  async #newestFrom(found: Manifest): Promise<Manifest> {
    let low = found
    let high = low.generation + 1
    for (let step = 1; ; step *= 2) {
      const { manifest } = await this.#reader.manifest(high)
      if (manifest === undefined) break
      low = manifest
      high += step
    }
    while (high - low.generation > 1) {
      const middle = Math.floor((low.generation + high) / 2)
      const { manifest } = await this.#reader.manifest(middle)
      if (manifest === undefined) high = middle
      else low = manifest
    }
    return low
  }
}
