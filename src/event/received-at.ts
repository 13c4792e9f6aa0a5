/** A stamped event ends in `2026-11-24T13:05:07.123Z`, then `"}` (event.ts). */
const STAMP_BYTES = 24
const AFTER_STAMP_BYTES = 2
const DAY_BYTES = 10
const ZERO = 0x30

let day = Buffer.alloc(DAY_BYTES)
let dayMs = Number.NaN

/**
 * The time of receipt of a stamped event, from the last bytes of its JSON. Of several lines: of the last one.
 *
 * @param end index after the event's JSON in `bytes`. Default: the end of `bytes`
 * @returns milliseconds since 1970; NaN if the JSON does not end in a stamp
 */
export function receivedAtOf(bytes: Buffer, end = bytes.length): number {
  const at = end - AFTER_STAMP_BYTES - STAMP_BYTES
  if (at < 0) return Number.NaN
  for (let n = 0; n < DAY_BYTES; n++) {
    if (bytes[at + n] === day[n]) continue
    day = Buffer.from(bytes.subarray(at, at + DAY_BYTES))
    dayMs = Date.parse(`${day.toString('latin1')}T00:00:00.000Z`)
    break
  }
  const ms =
    digits(bytes, at + 11, 2) * 3_600_000 +
    digits(bytes, at + 14, 2) * 60_000 +
    digits(bytes, at + 17, 2) * 1_000 +
    digits(bytes, at + 20, 3)
  const isStamp = bytes[at + DAY_BYTES] === 0x54 && bytes[at + STAMP_BYTES - 1] === 0x5a && ms < 86_400_000
  return isStamp ? dayMs + ms : Number.NaN
}

/** The number that `count` digits make; NaN if one of the bytes is not a digit. */
function digits(bytes: Buffer, at: number, count: number): number {
  let value = 0
  for (let n = 0; n < count; n++) {
    const digit = (bytes[at + n] as number) - ZERO
    if (digit < 0 || digit > 9) return Number.NaN
    value = value * 10 + digit
  }
  return value
}
