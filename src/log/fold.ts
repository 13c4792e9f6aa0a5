import type { LogBatch, LogRecord } from './log-record.ts'
import type { FoldedRecord, Manifest } from './manifest.ts'
import { joinSpans, type Spans } from './spans.ts'

/** Places of void batches, by the number of their record. */
export type Voids = ReadonlyMap<number, ReadonlySet<number>>

export interface NumberedRecord {
  readonly record: LogRecord
  /** Milliseconds since 1970, by the store's clock. */
  readonly storedAt: number
}

/** What a range of records becomes. */
export interface Fold {
  readonly manifest: Omit<Manifest, 'version' | 'ids' | 'objects'>
  /** 16 bytes an event, of all batches that are not void, in their order. */
  readonly ids: Buffer
  readonly records: FoldedRecord[]
  /** Where objects were staged that are settled now. */
  readonly staged: string[]
}

/**
 * @param records at least one, without a gap, behind those of the manifest before
 * @param before undefined where nothing is folded
 * @param later batches that records behind these have made void; what these have is seen here
 */
export function foldRecords(
  records: readonly NumberedRecord[],
  before: Manifest | undefined,
  later: Voids,
): Fold {
  const last = records.at(-1) as NumberedRecord
  const from = (before?.through ?? 0) + 1
  // What is folded was settled before, so only batches of this range can be void.
  const voids = records.flatMap(({ record }) => record.voids)
  const isVoid = (number: number, batch: number) =>
    later.get(number)?.has(batch) === true ||
    voids.some(each => each.number === number && each.batch === batch)
  const kept = records.map(({ record }) => ({
    record,
    // What a repair has named is there, whatever was void of the record before.
    batches: record.batches.filter(({ isStored }, n) => isStored === true || !isVoid(record.number, n)),
  }))
  const batches = kept.flatMap(each => each.batches)
  const spans = joinSpans(
    (before?.spans ?? []) as Spans,
    batches.map(({ firstReceivedAt, lastReceivedAt }) => [firstReceivedAt, lastReceivedAt] as const),
  )
  return {
    manifest: {
      log: last.record.log,
      generation: (before?.generation ?? 0) + 1,
      from,
      through: last.record.number,
      hash: last.record.hash,
      storedAt: records.reduce((latest, { storedAt }) => Math.max(latest, storedAt), 0),
      spans: spans.map(([first, end]): [number, number] => [first, end]),
      voided: [
        ...new Set([
          ...voids.map(({ number }) => number),
          ...[...later.keys()].filter(number => number >= from),
        ]),
      ],
      total: {
        events: (before?.total.events ?? 0) + batches.reduce((sum, { events }) => sum + events, 0),
        objects: (before?.total.objects ?? 0) + batches.length,
      },
    },
    ids: Buffer.concat(batches.map(({ ids }) => ids)),
    records: kept.map(({ record, batches: each }) => foldedOf(record, each)),
    staged: batches.flatMap(({ staged }) => staged ?? []),
  }
}

function foldedOf({ number, hash }: LogRecord, batches: readonly LogBatch[]): FoldedRecord {
  return {
    number,
    hash,
    batches: batches.map(({ key, sha256, storedBytes, events, bytes, firstReceivedAt, lastReceivedAt }) => ({
      key,
      sha256,
      storedBytes,
      events,
      bytes,
      firstReceivedAt,
      lastReceivedAt,
    })),
  }
}
