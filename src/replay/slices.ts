/** Cuts what is replayed into spans of time, so that memory and disk stay bounded. */

import { MIB } from '../config/setting-types.ts'
import { type ArchivedBatch, isInRange, type TimeRange } from '../query/archive-batches.ts'
import type { ArchiveSources } from '../query/event-sources.ts'
import { HOUR_MS } from '../table/table-keys.ts'

/**
 * Bytes of the units that begin in a slice, before compression. The last one may exceed it. A slice is prepared
 * while the one before is sent, so the first one is small, and the next ones grow.
 */
export const SLICE_BYTES: SliceBytes = { first: 16 * MIB, growth: 8, max: 128 * MIB }

export interface SliceBytes {
  readonly first: number
  readonly growth: number
  readonly max: number
}

/** Events that are read together: a batch, or a part of a file of the table. */
export type SliceUnit = Pick<ArchivedBatch, 'firstReceivedAt' | 'lastReceivedAt' | 'bytes' | 'events'>

/** Bytes of events for each byte of a file of the table, about. */
const UNPACKED_RATIO = 8
const UNIT_BYTES_MAX = 32 * MIB

/** Files of the table are cut into parts of equal time. */
export function unitsOf({ batches, files }: ArchiveSources): SliceUnit[] {
  const parts = files.flatMap(({ hour, bytes, rows }) => {
    if (hour === null) return []
    const count = Math.ceil((bytes * UNPACKED_RATIO) / UNIT_BYTES_MAX)
    const ms = HOUR_MS / count
    return Array.from({ length: count }, (_, n) => ({
      firstReceivedAt: Math.floor(hour * HOUR_MS + n * ms),
      lastReceivedAt: Math.floor(hour * HOUR_MS + (n + 1) * ms) - 1,
      bytes: Math.ceil((bytes * UNPACKED_RATIO) / count),
      events: Math.floor(((n + 1) * rows) / count) - Math.floor((n * rows) / count),
    }))
  })
  return [...batches, ...parts]
}

/** Events that are prepared together. */
export interface Slice extends TimeRange {
  /** Its events have no time of receipt. It is the last slice, and has no span. */
  readonly isUntimed: boolean
  /** Events of the units that begin in it. */
  readonly events: number
}

export const UNTIMED: Slice = { isUntimed: true, events: 0 }

/**
 * Slices of a range, in order: each event with a `receivedAt` in the range is in exactly one of them.
 *
 * @param units of the archive
 */
export function slicesOf(
  units: readonly SliceUnit[],
  range: TimeRange,
  { first, growth, max }: SliceBytes = SLICE_BYTES,
): Slice[] {
  const wanted = units
    .filter(unit => isInRange(unit, range))
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
