import type { IdIndex } from '../dedupe/id-index.ts'
import { LogRefused, StoreUnavailable } from '../errors.ts'
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
 * When the events were received whose ids the index has forgotten, and in which objects they are.
 *
 * Spans are as wide as the manifests' ranges: what is in none of them was never archived before the index
 * remembers.
 */
export class BeyondWindow {
  readonly #parts: BeyondWindowParts
  /** Of records that are not folded as far as is known here, by number. */
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

  /** All records up to this one may be forgotten. */
  get through(): number {
    return this.#parts.index.remembersFrom - 1
  }

  /** The index has forgotten more since `refresh`. */
  get isStale(): boolean {
    return this.through !== this.#spansThrough
  }

  /**
   * Brings the spans to what the index remembers now. Several calls at once share the work.
   *
   * @returns up to which record the spans are told
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

  /** Whether an event that was received then may be archived, and forgotten. */
  covers(receivedAt: number): boolean {
    return inSpans(this.#spans, receivedAt)
  }

  /**
   * Those of the batches up to a record in whose span one of these times is; they are objects by then, unless
   * somebody has removed them.
   *
   * @param hasTime whether there is one from the first to the last of a span
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
      const { manifest } = await this.#parts.reader.manifest(generation)
      if (manifest === undefined)
        throw new LogRefused(
          `The log's manifest ${generation} is gone: restore it from a backup of the bucket.`,
        )
      // Its spans are those of all that came before, too.
      if (!manifest.spans.some(([first, last]) => hasTime(first, last))) return
      if (manifest.from > through) continue
      for (const { batches } of await this.#parts.reader.objects(manifest))
        for (const batch of batches) if (isAt(batch, hasTime)) yield batch
    }
  }

  /** Of a record that is not folded. @throws StoreUnavailable also where it has been meanwhile */
  async #batchesOf(number: number): Promise<readonly FoldedBatch[]> {
    const { record } = await this.#parts.reader.record(number)
    if (record === undefined)
      throw new StoreUnavailable(`The log record ${number} has been folded meanwhile.`)
    return record.batches
  }

  /** The oldest manifest up to whose end nothing more is forgotten than is asked for; the newest where none goes so far. */
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
