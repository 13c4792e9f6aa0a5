import { LogRefused } from '../errors.ts'
import type { StoreDate } from '../store/store.ts'
import type { LogReader } from './log-reader.ts'
import type { Manifest } from './manifest.ts'

/** Folded records are deleted this long after their manifest became visible, by the store's clock. */
export const DELETION_DELAY_MS = 60 * 60 * 1000
/**
 * A watermark that was read within this time of an answer is good enough for it. The other half of the delay allows for
 * clocks of the store that differ.
 */
const TRUSTED_MS_MAX = DELETION_DELAY_MS / 2

/**
 * The number of the last folded record. Records at or below it may be deleted, so that their numbers look free. An answer
 * about a record counts only if the record was above the watermark at the time of the answer.
 */
export class Watermark {
  readonly #reader: LogReader
  #manifest: Manifest | undefined
  /** The store's time when the watermark was last read. */
  #refreshedAt: StoreDate

  constructor(reader: LogReader) {
    this.#reader = reader
  }

  /** The newest manifest that was read. */
  get manifest(): Manifest | undefined {
    return this.#manifest
  }

  /** The last folded record; 0 if nothing is folded. */
  get number(): number {
    return this.#manifest?.through ?? 0
  }

  /**
   * Reads the newest manifest. Searches from the last known one in doubling steps, then by bisection: manifests have no
   * gaps, and are never deleted.
   *
   * @throws StoreUnavailable, LogRefused
   */
  async refresh(): Promise<void> {
    const known = this.#manifest?.generation ?? 0
    const first = await this.#reader.manifest(known + 1)
    if (first.manifest !== undefined) this.#manifest = await this.#newestFrom(first.manifest)
    this.#refreshedAt = first.date
  }

  /**
   * Whether an answer about a record (found, not found or created) is valid for the log.
   *
   * @param date the store's time of the answer
   * @throws StoreUnavailable, LogRefused
   */
  async counts(number: number, date: StoreDate): Promise<boolean> {
    const isFresh =
      date !== undefined &&
      this.#refreshedAt !== undefined &&
      Math.abs(date - this.#refreshedAt) < TRUSTED_MS_MAX
    if (number > this.number && !isFresh) await this.refresh()
    return number > this.number
  }

  /** The manifest whose range has this record. @throws LogRefused if there is none; StoreUnavailable */
  async manifestWith(number: number): Promise<Manifest> {
    let low = 1
    let high = this.#manifest?.generation ?? 0
    while (low <= high) {
      const middle = Math.floor((low + high) / 2)
      const manifest = await this.#reader.requiredManifest(middle)
      if (number < manifest.from) high = middle - 1
      else if (number > manifest.through) low = middle + 1
      else return manifest
    }
    throw new LogRefused(
      `No manifest of the log has record ${number}. Restore _frequency/manifests from a backup.`,
    )
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
