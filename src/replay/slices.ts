/** Cuts what is replayed into spans of time, so that memory and disk stay bounded. */

import { hash } from 'node:crypto'
import { MIB } from '../config/setting-types.ts'
import { type ArchivedBatch, isInRange, type TimeRange } from '../query/archive-batches.ts'

/**
 * Bytes of the batches that begin in a slice, before compression. The last batch may exceed it. A slice is prepared
 * while the one before is sent, so the first one is small, and the next ones grow.
 */
export const SLICE_BYTES: SliceBytes = { first: 16 * MIB, growth: 8, max: 128 * MIB }

export interface SliceBytes {
  readonly first: number
  readonly growth: number
  readonly max: number
}

/** Events that are prepared together. */
export interface Slice extends TimeRange {
  /** Its events have no time of receipt. It is the last slice, and has no span. */
  readonly isUntimed: boolean
  /** Events of the batches that begin in it. */
  readonly events: number
}

export const UNTIMED: Slice = { isUntimed: true, events: 0 }

/**
 * Slices of a range, in order: each event with a `receivedAt` in the range is in exactly one of them.
 *
 * @param batches all batches of the archive
 */
export function slicesOf(
  batches: readonly ArchivedBatch[],
  range: TimeRange,
  { first, growth, max }: SliceBytes = SLICE_BYTES,
): Slice[] {
  const wanted = batches
    .filter(batch => isInRange(batch, range))
    .toSorted((a, b) => a.firstReceivedAt - b.firstReceivedAt)
  const slices: Slice[] = []
  let since = range.since
  let bytesMax = first
  let bytes = 0
  let events = 0
  for (const batch of wanted) {
    const { firstReceivedAt } = batch
    if (bytes > 0 && bytes + batch.bytes > bytesMax && (since === undefined || firstReceivedAt > since)) {
      slices.push({ since, until: firstReceivedAt, isUntimed: false, events })
      since = firstReceivedAt
      bytesMax = Math.min(max, growth * bytesMax)
      bytes = 0
      events = 0
    }
    bytes += batch.bytes
    events += batch.events
  }
  if (events > 0) slices.push({ since, until: range.until, isUntimed: false, events })
  return slices
}

/** What a replay sends: the archive as it was when the replay began. */
export interface Snapshot {
  /** The last record of the log. */
  readonly record: number
  /** Of all batches in the range. */
  readonly sha256: string
}

export function snapshotOf(batches: readonly ArchivedBatch[], range: TimeRange): Snapshot {
  const names = batches
    .filter(batch => isInRange(batch, range))
    .map(({ key, sha256 }) => `${key} ${sha256}\n`)
    .sort()
  const record = batches.reduce((last, batch) => Math.max(last, batch.record), 0)
  return { record, sha256: hash('sha256', names.join('')) }
}
