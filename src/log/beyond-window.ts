import type { IdIndex } from '../dedupe/id-index.ts'
import { StoreUnavailable } from '../errors.ts'
import type { LogReader } from './log-reader.ts'
import type { LogRecord } from './log-record.ts'
import type { FoldedBatch, Manifest } from './manifest.ts'
import type { Settlement } from './settlement.ts'
import { inSpans, joinSpans, type Spans } from './spans.ts'
import type { Watermark } from './watermark.ts'

export interface BeyondWindowParts {
  readonly index: Pick<IdIndex, 'remembersFrom'>
  readonly reader: LogReader
  readonly watermark: Pick<Watermark, 'manifest' | 'number'>
  readonly settlement: Pick<Settlement, 'settleThrough' | 'isVoid'>
}

/**
 * Knows the `receivedAt` spans of the archived events whose ids the index has forgotten, and the objects that have them.
 *
 * An event outside all spans is not in a forgotten record. Spans may be wider than the events in them: an event inside
 * a span has to be looked up in the objects.
 */
export class BeyondWindow {
  readonly #parts: BeyondWindowParts
  /** Spans of the records above the watermark, by number. */
  readonly #recent = new Map<number, Spans>()
  #spans: Spans = []
  #spansThrough = -1
  #refreshing: Promise<void> | undefined

  constructor(parts: BeyondWindowParts) {
    this.#parts = parts
  }

  applied({ number, batches }: LogRecord): void {
    this.#recent.set(number, spansOf(batches))
    for (const each of this.#recent.keys()) {
      if (each > this.#parts.watermark.number) break
      this.#recent.delete(each)
    }
  }

  /** The index may have forgotten the ids of all records up to this one. */
  get through(): number {
    return this.#parts.index.remembersFrom - 1
  }

  /** Whether the index has forgotten more records since `refresh`. */
  get isStale(): boolean {
    return this.through !== this.#spansThrough
  }

  /**
   * Reads the spans of the records that the index has forgotten by now. Concurrent calls share the work.
   *
   * @returns the last record whose span is included
   * @throws StoreUnavailable, LogRefused
   */
  async refresh(): Promise<number> {
    if (this.isStale) {
      this.#refreshing ??= this.#readSpans().finally(() => {
        this.#refreshing = undefined
      })
      await this.#refreshing
    }
    return this.#spansThrough
  }

  async #readSpans(): Promise<void> {
    const { through } = this
    const newest = this.#parts.watermark.manifest
    const manifest = await this.#manifestOver(through, newest)
    let spans = (manifest?.spans ?? []) as Spans
    for (let number = (newest?.through ?? 0) + 1; number <= through; number++)
      spans = joinSpans(spans, this.#recent.get(number) ?? spansOf(await this.#batchesOf(number)))
    this.#spans = spans
    this.#spansThrough = through
  }

  /** Whether an event may be archived with a forgotten id. @param receivedAt milliseconds since 1970 */
  covers(receivedAt: number): boolean {
    return inSpans(this.#spans, receivedAt)
  }

  /**
   * Yields the batches whose span has one of the wanted times. They are settled first, so their objects are stored unless
   * somebody has removed them.
   *
   * @param hasTime whether one of the wanted times is in a span, both ends included
   * @param through the last record to search
   * @throws StoreUnavailable, LogRefused
   */
  async *batchesAt(
    hasTime: (first: number, last: number) => boolean,
    through: number,
  ): AsyncGenerator<FoldedBatch, undefined> {
    const { settlement, watermark } = this.#parts
    const newest = watermark.manifest
    for (let number = (newest?.through ?? 0) + 1; number <= through; number++) {
      const batches = await this.#batchesOf(number)
      if (!batches.some(batch => isAt(batch, hasTime))) continue
      await settlement.settleThrough(number)
      for (const [n, batch] of batches.entries())
        if (isAt(batch, hasTime) && !settlement.isVoid({ number, batch: n })) yield batch
    }
    for (let generation = newest?.generation ?? 0; generation > 0; generation--) {
      const manifest = await this.#parts.reader.requiredManifest(generation)
      // The spans of a manifest include those of all manifests before it.
      if (!manifest.spans.some(([first, last]) => hasTime(first, last))) return
      if (manifest.from > through) continue
      for (const { batches } of await this.#parts.reader.objects(manifest))
        for (const batch of batches) if (isAt(batch, hasTime)) yield batch
    }
  }

  /** The batches of a record that is not folded. @throws StoreUnavailable, also if it has been folded in the meantime */
  async #batchesOf(number: number): Promise<readonly FoldedBatch[]> {
    const { record } = await this.#parts.reader.record(number)
    if (record === undefined)
      throw new StoreUnavailable(`The log record ${number} was folded while it was looked up.`)
    return record.batches
  }

  /** The oldest manifest whose range ends at this record or later; the newest manifest if none does. */
  async #manifestOver(number: number, newest: Manifest | undefined): Promise<Manifest | undefined> {
    const { reader } = this.#parts
    let found = newest
    if (found === undefined || number < 1) return undefined
    let low = 1
    let high = found.generation
    while (low <= high) {
      const middle = Math.floor((low + high) / 2)
      const { manifest } = await reader.manifest(middle)
      if (manifest === undefined) break
      if (manifest.through >= number) {
        found = manifest
        high = middle - 1
      } else low = middle + 1
    }
    return found
  }
}

function spansOf(batches: readonly FoldedBatch[]): Spans {
  return joinSpans(
    batches.map(({ firstReceivedAt, lastReceivedAt }) => [firstReceivedAt, lastReceivedAt] as const),
    [],
  )
}

function isAt(
  { firstReceivedAt, lastReceivedAt }: FoldedBatch,
  hasTime: (first: number, last: number) => boolean,
): boolean {
  return hasTime(firstReceivedAt, lastReceivedAt)
}
