/**
 * When a call happened. A client's clock may be wrong. The Segment specification corrects the time of the call with the
 * time of sending, which is by the same clock: `timestamp = receivedAt − (sentAt − originalTimestamp)`
 * (https://segment.com/docs/connections/spec/common/#timestamps).
 */

import { isWritable, timeOf } from './time-forms.ts'

const DAY_MS = 24 * 60 * 60 * 1000
/** An earlier time cannot be right: the protocol is younger, and a clock that was never set begins in 1970 or 1980. */
const PAST_MIN_MS = Date.UTC(2000)
/** A time in this form is archived unchanged. Other forms are rewritten to it. */
const RFC_3339 = /^\d{4}-\d{2}-\d{2}[Tt](?:[01]\d|2[0-3]):\d{2}:\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2})$/

/** The members of a call with its time. */
export interface TimeFields {
  readonly timestamp?: unknown
  readonly originalTimestamp?: unknown
}

export interface CallTime {
  /** RFC 3339. */
  readonly timestamp: string
  /** The member that has the client's own time; undefined if the client gave none. */
  readonly original: keyof TimeFields | undefined
  /** True if the clock was wrong by more than a day, or if the time cannot be right or cannot be read. */
  readonly isSuspect: boolean
}

/**
 * When the call happened: the client's time, corrected if `sentMs` is known. Without a client's time: the time of
 * receipt. A call with both times, if they differ, was corrected before, and its `timestamp` is kept.
 *
 * @param sentMs when the client sent the call, in milliseconds since 1970 by its clock; undefined if unknown
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
    const fallback = givenMs === undefined ? receivedAt.toISOString() : written(timestamp, givenMs)
    return { timestamp: fallback, original, isSuspect: true }
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
