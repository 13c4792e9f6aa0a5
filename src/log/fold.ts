import type { LogBatch, LogRecord } from './log-record.ts'
import type { FoldedRecord, Manifest } from './manifest.ts'
import { joinSpans, type Spans } from './spans.ts'

/** The places of void batches in their records, by record number. */
export type Voids = ReadonlyMap<number, ReadonlySet<number>>

export interface NumberedRecord {
  readonly record: LogRecord
  /** Milliseconds since 1970, by the store's clock. */
  readonly storedAt: number
}

/** The result of folding a range of records. */
export interface Fold {
  readonly manifest: Omit<Manifest, 'version' | 'ids' | 'objects'>
  /** 16 bytes an event, of all batches that are not void, in the order of the batches. */
  readonly ids: Buffer
  readonly records: FoldedRecord[]
  /** Keys of staged objects that are no longer needed, because their batches are settled. */
  readonly staged: string[]
}

/**
 * Folds a range of records. Pure.
 *
 * @param records at least one; the first follows the last record of `before`, and there is no gap
 * @param before the newest manifest; undefined if nothing is folded
 * @param later batches that later records make void; the voids of `records` are known without it
 */
export function foldRecords(
  records: readonly NumberedRecord[],
  before: Manifest | undefined,
  later: Voids,
): Fold {
  const last = records.at(-1) as NumberedRecord
  const from = (before?.through ?? 0) + 1
  // Folded records are settled, so only batches of this range can be void.
  const voids = records.flatMap(({ record }) => record.voids)
  const isVoid = (number: number, batch: number) =>
    later.get(number)?.has(batch) === true ||
    voids.some(each => each.number === number && each.batch === batch)
  const kept = records.map(({ record }) => ({
    record,
    // The objects of a repaired record are stored, even if the record before the repair had void batches.
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

function foldedOf(
  { number, hash, rewrites, expiredBefore }: LogRecord,
  batches: readonly LogBatch[],
): FoldedRecord {
  return {
    number,
    hash,
    ...(rewrites !== undefined && { rewrites }),
    ...(expiredBefore !== undefined && { expiredBefore }),
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
