/** Reads and copies the bytes of JSON lines, four at a time. */

import {
  BACKSLASH,
  CARRIAGE_RETURN,
  CLOSE_BRACE,
  CLOSE_BRACKET,
  COMMA,
  QUOTE,
  SPACE,
} from '../event/json-bytes.ts'

const TAB = 0x09
const MINUS = 0x2d
const DIGIT_0 = 0x30
const DIGIT_9 = 0x39
const LETTER_F = 0x66
const LETTER_N = 0x6e
const LETTER_T = 0x74
const LETTER_U = 0x75
const QUOTES = 0x22222222
const BACKSLASHES = 0x5c5c5c5c
/** Copying less by a loop is faster than a call. */
const LOOP_BYTES_MAX = 256

/** Bytes with a view of them. */
export interface Viewed {
  readonly bytes: Buffer
  readonly view: DataView
}

export function viewOf(bytes: Buffer): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
}

/** Memory that is not set to zero. */
export function allocated(length: number): Viewed {
  const bytes = Buffer.allocUnsafe(length)
  return { bytes, view: viewOf(bytes) }
}

/** The index of the first quote or backslash from `start` on; `end` if there is none before. */
export function quoteOrBackslash(view: DataView, start: number, end: number): number {
  let at = start
  while (at + 4 <= end) {
    const word = view.getInt32(at, true)
    if (((withZero(word ^ QUOTES) | withZero(word ^ BACKSLASHES)) & 0x80808080) !== 0) break
    at += 4
  }
  for (; at < end; at++) {
    const byte = view.getUint8(at)
    if (byte === QUOTE || byte === BACKSLASH) return at
  }
  return end
}

/** Has one of the bits 0x80808080 if a byte of the word is zero, and none if no byte is. */
function withZero(word: number): number {
  return (word - 0x01010101) & ~word
}

/**
 * The index behind the escape whose backslash is at `at`, or behind the four digits and the second escape of a
 * surrogate pair. -1 if it is half of a pair.
 */
export function escapeEnd(bytes: Buffer, at: number): number {
  const isHalf =
    bytes[at + 1] === LETTER_U &&
    ((bytes[at + 2] as number) | 0x20) === 0x64 &&
    (bytes[at + 3] as number) >= 0x38
  if (!isHalf) return at + 2
  const high = (bytes[at + 3] as number) | 0x20
  const isHigh = high === 0x38 || high === 0x39 || high === 0x61 || high === 0x62
  const low = (bytes[at + 9] as number) | 0x20
  const isPair =
    isHigh &&
    bytes[at + 6] === BACKSLASH &&
    bytes[at + 7] === LETTER_U &&
    ((bytes[at + 8] as number) | 0x20) === 0x64 &&
    low >= 0x63 &&
    low <= 0x66
  return isPair ? at + 12 : -1
}

/**
 * The index of the quote that closes the string whose inside begins at `start`; `end` if there is none before. -1 if the
 * string has half of a surrogate pair.
 */
export function closingQuote({ bytes, view }: Viewed, start: number, end: number): number {
  let at = quoteOrBackslash(view, start, end)
  while (at < end && view.getUint8(at) === BACKSLASH) {
    at = escapeEnd(bytes, at)
    if (at === -1) return -1
    at = quoteOrBackslash(view, at, end)
  }
  return at
}

/** Whether the bytes at `at` are those of `other` from `start` on. Both have `length` bytes there. */
export function areEqual(
  view: DataView,
  at: number,
  other: DataView,
  start: number,
  length: number,
): boolean {
  if (length < 4) {
    for (let index = 0; index < length; index++)
      if (view.getUint8(at + index) !== other.getUint8(start + index)) return false
    return true
  }
  // The last word overlaps the one before.
  const last = length - 4
  for (let index = 0; index < last; index += 4)
    if (view.getInt32(at + index, true) !== other.getInt32(start + index, true)) return false
  return view.getInt32(at + last, true) === other.getInt32(start + last, true)
}

/**
 * Copies bytes. Up to three bytes behind them are overwritten, so `to` needs four more bytes than are copied.
 *
 * @returns the index behind the copy
 */
export function copyBytes(from: Viewed, start: number, end: number, to: Viewed, at: number): number {
  const length = end - start
  if (length > LOOP_BYTES_MAX || end + 4 > from.bytes.length) {
    from.bytes.copy(to.bytes, at, start, end)
    return at + length
  }
  const { view } = from
  const out = to.view
  for (let index = 0; index < length; index += 4)
    out.setInt32(at + index, view.getInt32(start + index, true), true)
  return at + length
}

/** The index of the first byte from `start` on that is no space between tokens on a line. */
export function skipSpaces(bytes: Buffer, start: number): number {
  let at = start
  while (bytes[at] === SPACE || bytes[at] === TAB) at++
  return at
}

/** Whether a number, a truth value or `null` can begin with this byte. */
export function isScalarStart(byte: number): boolean {
  return (
    (byte >= DIGIT_0 && byte <= DIGIT_9) ||
    byte === MINUS ||
    byte === LETTER_T ||
    byte === LETTER_F ||
    byte === LETTER_N
  )
}

/** The index behind the number, truth value or `null` that begins at `start`. */
export function scalarEnd(view: DataView, start: number, end: number): number {
  let at = start
  while (at < end && !endsScalar(view.getUint8(at))) at++
  return at
}

function endsScalar(byte: number): boolean {
  return byte === COMMA || byte === CLOSE_BRACE || byte === CLOSE_BRACKET || byte <= SPACE
}

/**
 * Replaces carriage returns, which DuckDB would take for line ends, by spaces. In valid JSON they stand only between
 * tokens.
 */
export function withoutCarriageReturns(piece: Buffer): Buffer {
  let at = piece.indexOf(CARRIAGE_RETURN)
  if (at === -1) return piece
  const copied = Buffer.from(piece)
  for (; at !== -1; at = copied.indexOf(CARRIAGE_RETURN, at)) copied[at] = SPACE
  return copied
}
