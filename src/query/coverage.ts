/** Which events of a batch are in the table, and which have to be read from its object. */

import type { FoldedBatch } from '../log/manifest.ts'
import { hourOf } from '../table/table-keys.ts'
import { isCompacted, type TableState } from '../table/table-state.ts'

/**
 * Of a span. An archiver's batch has up to three, but an object of other origin may have events of 1960 and of now, and
 * each hour between them would be looked at.
 */
const HOURS_MAX = 24

/**
 * Rows of one batch, or of several with the same hours.
 *
 * An event is in the table with its own hour, if that is within the span of its batch. One without a time, or with a
 * time outside the span, is in the table with the first hour of its batch.
 */
export interface RowsOfHours {
  /** The span of the batch, in hours since 1970, both ends included. */
  readonly firstHour: number
  readonly lastHour: number
  /** Of the span. */
  readonly hours: readonly number[]
  /** Also the events outside the span. */
  readonly hasStrays: boolean
}

/** `all`: the table has all events of the batch. `none`: it has none. Else: the rows that it does not have. */
export type Coverage = 'all' | 'none' | RowsOfHours

type Span = Pick<FoldedBatch, 'firstReceivedAt' | 'lastReceivedAt'>

/** @param record that names the batch */
export function coverageOf(table: TableState, batch: Span, record: number): Coverage {
  if (record <= table.coveredThrough) return 'all'
  const [firstHour, lastHour] = hoursOf(batch)
  const missing = missingHours(table, batch, record)
  if (missing.length === 0) return 'all'
  if (missing.length === lastHour - firstHour + 1) return 'none'
  return { firstHour, lastHour, hours: missing, hasStrays: missing[0] === firstHour }
}

/** The hours of the batch whose events are not in the table. */
export function missingHours(table: TableState, batch: Span, record: number): number[] {
  const [firstHour, lastHour] = hoursOf(batch)
  const missing: number[] = []
  for (let hour = firstHour; hour <= lastHour; hour++)
    if (!isCompacted(table, hour, record)) missing.push(hour)
  return missing
}

/** The first and the last hour of a batch's span. Events further than a day behind the first hour are outside of it. */
export function hoursOf({ firstReceivedAt, lastReceivedAt }: Span): [number, number] {
  const firstHour = hourOf(firstReceivedAt)
  return [firstHour, Math.min(hourOf(lastReceivedAt), firstHour + HOURS_MAX - 1)]
}
