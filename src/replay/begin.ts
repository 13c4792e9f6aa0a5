/** Where a replay begins: at the start of its range, or where its checkpoint says. */

import { ReplayStopped } from '../errors.ts'
import type { TimeRange } from '../query/archive-batches.ts'
import type { ArchiveSources } from '../query/event-sources.ts'
import type { ReplayState } from './checkpoint.ts'
import { type Slice, type SliceUnit, slicesOf, UNTIMED, unitsOf } from './slices.ts'
import type { Snapshot } from './snapshot.ts'

export interface Beginning {
  readonly state: ReplayState
  /** Those that are left, that of the state first. */
  readonly slices: readonly Slice[]
  /** What the archive had when the replay began. */
  readonly sources: ArchiveSources
}

/** @param range what the options mean now */
export function beginning(
  id: string,
  sources: ArchiveSources,
  snapshot: Snapshot,
  range: TimeRange,
): Beginning {
  const slices = slicesOf(unitsOf(sources), range)
  const [first = { ...range, isUntimed: false }] = slices
  const state: ReplayState = {
    id,
    range,
    snapshot,
    position: { since: first.since, until: first.until, isUntimed: false, lines: 0 },
    counted: 0,
    sent: 0,
    skipped: 0,
    outputBytes: 0,
    skippedBytes: 0,
    isDone: false,
  }
  return { state, slices, sources }
}

/**
 * Goes on from a checkpoint, without the batches that were archived since. Events that came late and are in the table by
 * now cannot be told from the others: if they are before the position, the events up to there are not the same.
 *
 * @param snapshot of the archive now, up to the record of the state's snapshot
 * @throws ReplayStopped if the archive is not the one with which the replay began
 */
export function resumption(state: ReplayState, all: ArchiveSources, snapshot: Snapshot): Beginning {
  const { range, position } = state
  if (snapshot.sha256 !== state.snapshot.sha256)
    throw new ReplayStopped(
      'The archive has not the same objects any more as when this replay began. --restart begins again.',
    )
  const sources = { ...all, batches: all.batches.filter(({ record }) => record <= state.snapshot.record) }
  return { state, slices: slicesLeft(position, range, unitsOf(sources)), sources }
}

function slicesLeft(
  { since, until, isUntimed }: ReplayState['position'],
  range: TimeRange,
  units: readonly SliceUnit[],
): Slice[] {
  if (isUntimed) return [UNTIMED]
  const span = { since, until }
  const events = slicesOf(units, span).reduce((sum, slice) => sum + slice.events, 0)
  const current = { ...span, isUntimed: false, events }
  if (until === range.until) return [current]
  return [current, ...slicesOf(units, { since: until, until: range.until })]
}
