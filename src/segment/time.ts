/**
 * When a call happened. A client's clock may be wrong, so the Segment specification corrects what it says
 * by what the same clock said when the call was sent: `timestamp = receivedAt − (sentAt − originalTimestamp)`
 * (https://segment.com/docs/connections/spec/common/#timestamps).
 */

const ISO_8601 =
  /^(\d{4}|[+-]\d{6})-(\d{2})-(\d{2})(?:[Tt ](\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?(?:[Zz]|([+-])(\d{2})(?::?(\d{2}))?)?)?$/

const MINUTE_MS = 60_000
const DAY_MS = 24 * 60 * MINUTE_MS
/** No client of this protocol is older; clocks that were never set begin in 1970 or 1980. */
const PAST_MIN_MS = Date.UTC(2000)
/** What `toISOString` writes with four digits for the year. */
const WRITABLE_MIN_MS = Date.parse('0000-01-01T00:00:00.000Z')
const WRITABLE_MAX_MS = Date.parse('9999-12-31T23:59:59.999Z')

/** Milliseconds since 1970 of an ISO 8601 date and time, in UTC where it names no offset; undefined where it is none. */
export function timeOf(text: unknown): number | undefined {
  const match = typeof text === 'string' ? ISO_8601.exec(text) : null
  if (match === null) return undefined
  const [
    ,
    year,
    month,
    day,
    hour = 0,
    minute = 0,
    second = 0,
    fraction = '',
    sign,
    offsetH = 0,
    offsetM = 0,
  ] = match
  const date = new Date(0)
  date.setUTCFullYear(Number(year), Number(month) - 1, Number(day))
  if (date.getUTCMonth() !== Number(month) - 1) return undefined
  if (Number(hour) > 23 || Number(minute) > 59 || Number(second) > 60) return undefined
  if (Number(offsetH) > 23 || Number(offsetM) > 59) return undefined
  date.setUTCHours(Number(hour), Number(minute), Number(second), Number(fraction.padEnd(3, '0').slice(0, 3)))
  const offsetMs = (Number(offsetH) * 60 + Number(offsetM)) * MINUTE_MS
  return date.getTime() - (sign === '-' ? -offsetMs : offsetMs)
}

/** What a call says of its time. */
export interface TimeFields {
  readonly timestamp?: unknown
  readonly originalTimestamp?: unknown
}

export interface CallTime {
  /** ISO 8601. */
  readonly timestamp: string
  /** What the client said, unchanged; undefined where it said nothing. */
  readonly original: string | undefined
  /** True where the clock was more than a day off, or the time cannot be right. */
  readonly isSuspect: boolean
}

/**
 * When the call happened: by its own clock, corrected, where it says when it was sent; else by its own
 * clock; else when it was received. A call that has both times, and not the same, was corrected before.
 */
export function callTime(fields: TimeFields, sentAt: unknown, receivedAt: Date): CallTime {
  const own = fields.originalTimestamp ?? fields.timestamp
  const ownMs = timeOf(own)
  const receivedMs = receivedAt.getTime()
  if (ownMs === undefined) {
    return { timestamp: receivedAt.toISOString(), original: undefined, isSuspect: false }
  }
  const original = String(own)
  const givenMs = timeOf(fields.timestamp)
  if (givenMs !== undefined && givenMs !== ownMs) {
    return { timestamp: String(fields.timestamp), original, isSuspect: !isPlausible(givenMs, receivedMs) }
  }

  const sentMs = timeOf(sentAt)
  if (sentMs === undefined) {
    return { timestamp: original, original, isSuspect: !isPlausible(ownMs, receivedMs) }
  }
  const correctedMs = receivedMs - (sentMs - ownMs)
  const isFarOff = Math.abs(sentMs - receivedMs) > DAY_MS
  return {
    timestamp: isWritable(correctedMs) ? new Date(correctedMs).toISOString() : original,
    original,
    isSuspect: isFarOff || !isPlausible(correctedMs, receivedMs),
  }
}

function isPlausible(timeMs: number, receivedMs: number): boolean {
  return timeMs >= PAST_MIN_MS && timeMs <= receivedMs + DAY_MS
}

function isWritable(timeMs: number): boolean {
  return timeMs >= WRITABLE_MIN_MS && timeMs <= WRITABLE_MAX_MS
}
