/** Describes a log and its latest records for a person. */

import { LogDamaged, LogRefused } from '../errors.ts'
import type { StoreReader } from '../store/store.ts'
import type { Changes } from './later-changes.ts'
import { logKeys } from './log-keys.ts'
import { LogReader } from './log-reader.ts'
import { Watermark } from './watermark.ts'

export interface ViewedRecord {
  readonly number: number
  readonly batches: number
  readonly events: number
  /** Before compression. */
  readonly bytes: number
  /** ISO 8601, by the store's clock; absent if the record is folded. */
  readonly storedAt?: string
  readonly writer?: string
  /** How many batches of earlier records it makes void. */
  readonly voids?: number
  /** How many objects of earlier records it replaces: events in them were erased. */
  readonly rewrites?: number
  /** Objects of earlier records whose last event was received before this have expired. ISO 8601. */
  readonly expiredBefore?: string
  readonly isFolded?: true
  readonly isRepaired?: true
  /** Why the record cannot be used. */
  readonly damaged?: string
}

export interface LogView {
  readonly id: string
  /** The number of the last record. */
  readonly position: number
  /** The number of the last folded record; 0 if none is folded. */
  readonly watermark: number
  readonly manifests: number
  /** What the log names up to the watermark. */
  readonly folded: { readonly events: number; readonly objects: number }
  /** The number in the head hint; above `position` if records are missing at the end. */
  readonly hint: number
  /** The writers of the listed records, the latest first. */
  readonly writers: readonly { readonly writer: string; readonly records: number; readonly events: number }[]
  readonly records: readonly ViewedRecord[]
}

export interface ViewOptions {
  readonly prefix: string
  /** The number of the first record to list. @default so that the last `count` records are listed */
  readonly from?: number | undefined
  readonly count: number
}

export class LogViewer {
  readonly #store: StoreReader
  readonly #options: ViewOptions
  readonly #reader: LogReader
  readonly #watermark: Watermark

  constructor(store: StoreReader, options: ViewOptions) {
    this.#store = store
    this.#options = options
    this.#reader = new LogReader(store, logKeys(options.prefix))
    this.#watermark = new Watermark(this.#reader)
  }

  /** @throws LogRefused if there is no log; LogDamaged if record 0 is damaged; StoreUnavailable */
  async view(): Promise<LogView> {
    const { record: root } = await this.#reader.record(0)
    if (root === undefined)
      throw new LogRefused('The archive has no log. If it has objects, make one with: frequency log build')
    await this.#watermark.refresh()
    const hint = await this.#reader.hintedHead()
    const position = await this.#findEnd(hint)
    const { count, from = Math.max(0, position - count + 1) } = this.#options
    const records: ViewedRecord[] = []
    for await (const record of this.#records(from, Math.min(position, from + count - 1))) records.push(record)
    const { manifest } = this.#watermark
    return {
      id: root.log,
      position,
      watermark: this.#watermark.number,
      manifests: manifest?.generation ?? 0,
      folded: manifest?.total ?? { events: 0, objects: 0 },
      hint,
      writers: writersOf(records),
      records,
    }
  }

  /** The number of the last record. Searches in doubling steps from the last known record, then by bisection. */
  async #findEnd(hint: number): Promise<number> {
    let low = this.#watermark.number
    if (hint > low && (await this.#exists(hint))) low = hint
    let step = 1
    for (; await this.#exists(low + step); step *= 2) low += step
    let high = low + step
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2)
      if (await this.#exists(middle)) low = middle
      else high = middle
    }
    return low
  }

  async #exists(number: number): Promise<boolean> {
    const key = logKeys(this.#options.prefix).record(number)
    return (await this.#store.read(key, { start: 0, length: 1 })).object !== undefined
  }

  async *#records(from: number, through: number): AsyncIterable<ViewedRecord> {
    if (from <= 0 && through >= 0) yield await this.#record(0)
    for (let number = Math.max(1, from); number <= through; ) {
      if (number > this.#watermark.number) {
        yield await this.#record(number++)
        continue
      }
      const manifest = await this.#watermark.manifestWith(number)
      for (const { number: each, batches, ...changes } of await this.#reader.objects(manifest)) {
        if (each < number || each > through) continue
        yield {
          number: each,
          batches: batches.length,
          ...sumsOf(batches),
          ...changesOf(changes),
          isFolded: true,
        }
      }
      number = manifest.through + 1
    }
  }

  async #record(number: number): Promise<ViewedRecord> {
    try {
      const { record, storedAt } = await this.#reader.record(number)
      if (record === undefined) throw new LogDamaged(number, 'it is gone')
      const { writer, batches, voids, standsFor, ...changes } = record
      return {
        number,
        batches: batches.length,
        ...sumsOf(batches),
        storedAt: new Date(storedAt).toISOString(),
        writer,
        ...(voids.length > 0 && { voids: voids.length }),
        ...changesOf(changes),
        ...(standsFor !== undefined && { isRepaired: true as const }),
      }
    } catch (error) {
      if (!(error instanceof LogDamaged)) throw error
      return { number, batches: 0, events: 0, bytes: 0, damaged: error.message }
    }
  }
}

function sumsOf(batches: readonly { readonly events: number; readonly bytes: number }[]) {
  return {
    events: batches.reduce((sum, { events }) => sum + events, 0),
    bytes: batches.reduce((sum, { bytes }) => sum + bytes, 0),
  }
}

function changesOf({ rewrites, expiredBefore }: Changes): Pick<ViewedRecord, 'rewrites' | 'expiredBefore'> {
  return {
    ...(rewrites !== undefined && { rewrites: rewrites.length }),
    ...(expiredBefore !== undefined && { expiredBefore: new Date(expiredBefore).toISOString() }),
  }
}

function writersOf(records: readonly ViewedRecord[]): LogView['writers'] {
  const writers = new Map<string, { writer: string; records: number; events: number }>()
  for (const { writer, events } of records.toReversed()) {
    if (writer === undefined) continue
    const known = writers.get(writer) ?? { writer, records: 0, events: 0 }
    known.records++
    known.events += events
    writers.set(writer, known)
  }
  return [...writers.values()]
}
