/** Where a replay begins: at the start of its range, or where its checkpoint says. */

import { ReplayStopped } from '../errors.ts'
import type { ArchivedBatch, TimeRange } from '../query/archive-batches.ts'
import type { ReplayState } from './checkpoint.ts'
import { type Slice, slicesOf, snapshotOf, UNTIMED } from './slices.ts'

export interface Beginning {
  readonly state: ReplayState
  /** Those that are left, that of the state first. */
  readonly slices: readonly Slice[]
  /** The batches as they were when the replay began. */
  readonly batches: readonly ArchivedBatch[]
}

/** @param range what the options mean now */
export function beginning(id: string, all: readonly ArchivedBatch[], range: TimeRange): Beginning {
  const slices = slicesOf(all, range)
  const [first = { ...range, isUntimed: false }] = slices
  const state: ReplayState = {
    id,
    range,
    snapshot: snapshotOf(all, range),
    position: { since: first.since, until: first.until, isUntimed: false, lines: 0 },
    counted: 0,
    sent: 0,
    skipped: 0,
    outputBytes: 0,
    skippedBytes: 0,
    isDone: false,
  }
  return { state, slices, batches: all }
}

/**
 * Goes on from a checkpoint, without the batches that were archived since.
 *
 * @throws ReplayStopped if the archive has not the batches any more with which the replay began
 */
export function resumption(state: ReplayState, all: readonly ArchivedBatch[]): Beginning {
  const { range, snapshot, position } = state
  const batches = all.filter(({ record }) => record <= snapshot.record)
  if (snapshotOf(batches, range).sha256 !== snapshot.sha256)
    throw new ReplayStopped(
      'The archive has not the same objects any more as when this replay began. --restart begins again.',
    )
  return { state, slices: slicesLeft(position, range, batches), batches }
}

function slicesLeft(
  { since, until, isUntimed }: ReplayState['position'],
  range: TimeRange,
  batches: readonly ArchivedBatch[],
): Slice[] {
  if (isUntimed) return [UNTIMED]
  const span = { since, until }
  const events = slicesOf(batches, span).reduce((sum, slice) => sum + slice.events, 0)
  const current = { ...span, isUntimed: false, events }
  if (until === range.until) return [current]
  return [current, ...slicesOf(batches, { since: until, until: range.until })]
}
