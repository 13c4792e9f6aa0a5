/**
 * When a call happened. A client's clock may be wrong, so the Segment specification corrects what it says
 * by what the same clock said when the call was sent: `timestamp = receivedAt − (sentAt − originalTimestamp)`
 * (https://segment.com/docs/connections/spec/common/#timestamps).
 */

import { isWritable, timeOf } from './time-forms.ts'

const DAY_MS = 24 * 60 * 60 * 1000
/** No client of this protocol is older; clocks that were never set begin in 1970 or 1980. */
const PAST_MIN_MS = Date.UTC(2000)
/** Archived as it came: whoever reads archives knows this form. */
const RFC_3339 = /^\d{4}-\d{2}-\d{2}[Tt](?:[01]\d|2[0-3]):\d{2}:\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2})$/

/** What a call says of its time. */
export interface TimeFields {
  readonly timestamp?: unknown
  readonly originalTimestamp?: unknown
}

export interface CallTime {
  /** RFC 3339. */
  readonly timestamp: string
  /** The member with what the client said; undefined where it said nothing. */
  readonly original: keyof TimeFields | undefined
  /** True where the clock was more than a day off, or the time cannot be right, or cannot be read. */
  readonly isSuspect: boolean
}

/**
 * When the call happened: by its own clock, corrected, where it says when it was sent; else by its own
 * clock; else when it was received. A call that has both times, and not the same, was corrected before.
 *
 * @param sentMs when it was sent, as `timeOf` reads it; undefined where it does not say so
 */
export function callTime(fields: TimeFields, sentMs: number | undefined, receivedAt: Date): CallTime {
  const receivedMs = receivedAt.getTime()
  const { timestamp, originalTimestamp } = fields
  const isGiven = timestamp !== undefined && timestamp !== null
  const isOriginalGiven = originalTimestamp !== undefined && originalTimestamp !== null
  if (!isGiven && !isOriginalGiven)
    return { timestamp: receivedAt.toISOString(), original: undefined, isSuspect: false }

  const givenMs = timeOf(timestamp)
  const original = isOriginalGiven ? 'originalTimestamp' : 'timestamp'
  const own = fields[original]
  const ownMs = isOriginalGiven ? timeOf(own) : givenMs
  if (ownMs === undefined) {
    const said = givenMs === undefined ? receivedAt.toISOString() : written(timestamp, givenMs)
    return { timestamp: said, original, isSuspect: true }
  }
  const isUnread = isGiven && givenMs === undefined
  if (givenMs !== undefined && givenMs !== ownMs) {
    const isSuspect = !isPlausible(givenMs, receivedMs)
    return { timestamp: written(timestamp, givenMs), original, isSuspect }
  }

  if (sentMs === undefined) {
    const isSuspect = isUnread || !isPlausible(ownMs, receivedMs)
    return { timestamp: written(own, ownMs), original, isSuspect }
  }
  const correctedMs = receivedMs - (sentMs - ownMs)
  const isFarOff = Math.abs(sentMs - receivedMs) > DAY_MS
  return {
    timestamp: isWritable(correctedMs) ? new Date(correctedMs).toISOString() : written(own, ownMs),
    original,
    isSuspect: isUnread || isFarOff || !isPlausible(correctedMs, receivedMs),
  }
}

function written(value: unknown, ms: number): string {
  return typeof value === 'string' && RFC_3339.test(value) ? value : new Date(ms).toISOString()
}

function isPlausible(timeMs: number, receivedMs: number): boolean {
  return timeMs >= PAST_MIN_MS && timeMs <= receivedMs + DAY_MS
}
