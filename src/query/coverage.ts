/** Which events of a batch are in the table, and which have to be read from its object. */

import type { FoldedBatch } from '../log/manifest.ts'
import { hourOf } from '../table/table-keys.ts'
import { isCompacted, type TableState } from '../table/table-state.ts'

/** A batch of one wrong time, such as 1970, would span half a million hours, and each would be looked at. */
const SPAN_HOURS_MAX = 48

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

/** The first and the last hour of a batch's span. Of a span of more than 48 hours the last 48: other events are outside. */
export function hoursOf({ firstReceivedAt, lastReceivedAt }: Span): [number, number] {
  const lastHour = hourOf(lastReceivedAt)
  return [Math.max(hourOf(firstReceivedAt), lastHour - SPAN_HOURS_MAX + 1), lastHour]
}
