/** Numbers, times and names as texts for people. */

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })
const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB']

/** @param {number} value */
export function count(value) {
  return whole.format(value)
}

/** Events per second; below 10 with one digit after the point. @param {number} value */
export function rate(value) {
  return value > 0 && value < 10 && !Number.isInteger(value) ? value.toFixed(1) : whole.format(value)
}

/** A short form for an axis: 1500 is `1.5k`. @param {number} value */
export function short(value) {
  if (value >= 1e6) return `${trimmed(value / 1e6)}M`
  if (value >= 1e3) return `${trimmed(value / 1e3)}k`
  return trimmed(value)
}

/** @param {number} value */
function trimmed(value) {
  return String(Math.round(value * 10) / 10)
}

/** @param {number} value */
export function bytes(value) {
  let unit = 0
  let size = value
  while (size >= 1000 && unit < UNITS.length - 1) {
    size /= 1024
    unit++
  }
  const digits = unit === 0 || size >= 99.5 ? 0 : 1
  return `${size.toFixed(digits).replace(/\.0$/, '')} ${UNITS[unit]}`
}

/** @param {number} share from 0 to 1 */
export function percent(share) {
  if (share > 0 && share < 0.001) return '< 0.1 %'
  return `${share > 0 && share < 0.1 ? (share * 100).toFixed(1) : whole.format(share * 100)} %`
}

/** A duration. @param {number} ms */
export function span(ms) {
  const s = Math.max(0, ms) / 1000
  if (s < 10) return `${s.toFixed(1)} s`
  if (s < 120) return `${Math.round(s)} s`
  if (s < 7200) return `${Math.round(s / 60)} min`
  if (s < 172_800) return `${Math.round(s / 3600)} h`
  return `${Math.round(s / 86_400)} days`
}

/** `3 s ago`; below 1.5 s `just now`. @param {number} ms */
export function ago(ms) {
  return ms < 1500
    ? 'just now'
    : `${span(ms < 10_000 ? Math.round(ms / 1000) * 1000 : ms).replace('.0', '')} ago`
}

/** The time of day in the browser's time zone. @param {number} at milliseconds since 1970 */
export function clock(at) {
  return new Date(at).toTimeString().slice(0, 8)
}

/** `1 event`, `2 events`. @param {number} n @param {string} noun */
export function some(n, noun) {
  return `${count(n)} ${n === 1 ? noun : `${noun}s`}`
}

/**
 * The name of an event for display: its `event`; else its `type`, followed by its `name` if it has one; else
 * `(no name)`. src/event/event-name.ts has the same rule for filters and for the terminal.
 *
 * @param {Record<string, unknown>} fields
 */
export function eventName({ event, type, name }) {
  if (isText(event)) return String(event)
  if (!isText(type)) return '(no name)'
  return isText(name) ? `${type} ${name}` : String(type)
}

/** @param {unknown} value */
function isText(value) {
  return (typeof value === 'string' && value !== '') || typeof value === 'number'
}

/**
 * Writes control and bidirectional characters as escapes: they could make the text look like another one.
 *
 * @param {string} text
 */
export function printable(text) {
  return text.replace(
    /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu,
    each => `\\u${each.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
