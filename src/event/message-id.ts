import { hash, randomBytes, randomInt } from 'node:crypto'

/**
 * Makes message ids, and the identities (16 bytes) by which events are compared. Ids that differ only in their last 12
 * bits are a family. The ids that this process makes in one millisecond are one family, so the dedupe window stores a
 * thousand of them in little more space than one.
 */

export const ID_BYTES = 16
/** The version of the format of `writeIdentity`. It is stored with the bytes. Other versions are not comparable. */
export const DIGEST_VERSION = 2

/** Half of a surrogate pair. In UTF-8 each becomes U+FFFD, so texts that differ only there would become equal. */
export const LONE_SURROGATE = /\p{Surrogate}/u

/** A counter is in the last three hexadecimal digits of a UUID. */
const COUNTER_BITS = 12
const COUNTER_DIGITS = COUNTER_BITS / 4
const COUNTER_MAX = 2 ** COUNTER_BITS - 1
const UUID_LENGTH = 36
const NO_DIGIT = 0xff
/** Index of the last two bytes. The counter is their lower 12 bits. */
const COUNTER_AT = ID_BYTES - 2

/** Indexes in the text of a UUID: of each byte's first digit, and of the dashes. */
const DIGITS_AT = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34] as const
const DASHES_AT = [8, 13, 18, 23] as const
const DASH = 0x2d
/** Values of hexadecimal digits in lower case, by character code; NO_DIGIT for all others up to 127. */
const DIGIT_VALUES = Uint8Array.from({ length: 128 }, (_, code) => {
  const value = '0123456789abcdef'.indexOf(String.fromCharCode(code))
  return value === -1 ? NO_DIGIT : value
})
/** The byte that has a UUID's version in its upper four bits, and version 15 in these bits. */
const VERSION_AT = 6
const VERSION_15 = 0xf0

const COUNTERS = Array.from({ length: COUNTER_MAX + 1 }, (_, n) => n.toString(16).padStart(3, '0'))

/** A millisecond's first sequence is below this. The upper half of the 32 bits is left for counting on. */
const SEQUENCE_MAX = 2 ** 31

let family = ''
/** The identity of the family's first id (counter 0). */
let familyDigest: Buffer = Buffer.alloc(ID_BYTES)
let familyMs = Number.NaN
let sequence = 0
let counter = COUNTER_MAX

let prefixedSource: string | undefined
let prefix: string | undefined

/**
 * Makes a new id: a UUIDv7 with a counter in its last 12 bits (RFC 9562, section 6.2, method 2) and 61 random bits.
 * Ids of one millisecond are in ascending order.
 *
 * @param nowMs milliseconds since 1970
 */
export function mintMessageId(nowMs: number): string {
  if (nowMs !== familyMs || counter === COUNTER_MAX) {
    sequence = nowMs === familyMs ? sequence + 1 : randomInt(SEQUENCE_MAX)
    family = familyOf(nowMs, sequence)
    familyDigest = Buffer.from(withoutDashes(`${family}${COUNTERS[0]}`), 'hex')
    familyMs = nowMs
    counter = -1
  }
  return family + COUNTERS[++counter]
}

/**
 * A UUIDv7 without its last 12 bits (RFC 9562, section 5.7): 48 bits of time; then, across `rand_a` and `rand_b`, the
 * 32 bits of the sequence and 30 random bits.
 */
function familyOf(ms: number, sequence: number): string {
  const bytes = randomBytes(ID_BYTES)
  // An event of another program may have a time before 1970, or one above 48 bits.
  bytes.writeBigUInt64BE(BigInt.asUintN(48, BigInt(ms)) << 16n)
  bytes[6] = 0x70 | (sequence >>> 28)
  bytes[7] = sequence >>> 20
  bytes[8] = 0x80 | ((sequence >>> 14) & 0x3f)
  bytes[9] = sequence >>> 6
  bytes[10] = (sequence << 2) | ((bytes[10] as number) & 0b11)
  const hex = bytes.toString('hex')
  const groups = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)]
  return groups.join('-').slice(0, -COUNTER_DIGITS)
}

/**
 * Writes an event's identity, 16 bytes:
 *
 *     | source | messageId            | bytes                                                           |
 *     |--------|----------------------|-----------------------------------------------------------------|
 *     | none   | a UUID in lower case | the UUID                                                        |
 *     | none   | anything else        | the first half of the SHA-256 of a text                         |
 *     | any    | anything             | the same, with 15 in the four bits where a UUID has its version |
 *
 * The text is, in UTF-8:
 *
 *     1. messageId                              if there is no source
 *     2. NUL <length> ":" source messageId      if there is one; its length in UTF-16 units, in decimal
 *     3. NUL <JSON of [messageId]>, or          in place of 1 if it has a lone surrogate or begins with NUL,
 *        NUL <JSON of [source, messageId]>      and of 2 if either has a lone surrogate
 *
 * Nobody can make an event that has the identity of another source's event:
 *
 * - A client can choose a UUID freely, and row 1 writes it unchanged. It must never equal a hash with a source. It
 *   cannot: hashes with a source have version 15, and a UUID of version 15 is hashed, not written.
 * - Two texts are equal only if both source and messageId are equal. Text 1 does not begin with NUL; after the NUL,
 *   text 2 has a digit and text 3 has a bracket. The length shows the end of the source. No text has a lone
 *   surrogate (JSON.stringify escapes it), so texts that differ also differ in UTF-8.
 * - The last way is to find a text with the same 124 bits of SHA-256 as a given text: 2^124 attempts.
 *
 * A client without a source can choose a UUID that equals the hash of another id without a source. That gains
 * nothing: this client could send the other id itself.
 *
 * The probability that any two of 10^9 events have the same identity by accident is about 10^-20.
 */
export function writeIdentity(
  messageId: string,
  source: string | undefined,
  target: Buffer,
  at: number,
): void {
  if (source !== undefined) {
    writeHash(textOf(messageId, source), target, at)
    markAsOfSource(target, at)
  } else if (messageId.length !== UUID_LENGTH) writeHash(textOf(messageId), target, at)
  else if (family !== '' && messageId.startsWith(family)) writeOfFamily(messageId, target, at)
  else if (!isUuidWritten(messageId, target, at)) writeHash(textOf(messageId), target, at)
}

/**
 * Writes a UUID in lower case, of any version except 15. Only the Max UUID has version 15 (RFC 9562, section 5.10).
 * Takes a third of the time of a regular expression and a write in `hex`.
 *
 * @param text of 36 characters
 * @returns false if the text is not such a UUID; the bytes at `at` are undefined then
 */
function isUuidWritten(text: string, target: Buffer, at: number): boolean {
  for (const dash of DASHES_AT) if (text.charCodeAt(dash) !== DASH) return false
  for (let n = 0; n < ID_BYTES; n++) {
    const digitAt = DIGITS_AT[n] as number
    const high = DIGIT_VALUES[text.charCodeAt(digitAt)] ?? NO_DIGIT
    const low = DIGIT_VALUES[text.charCodeAt(digitAt + 1)] ?? NO_DIGIT
    if (high === NO_DIGIT || low === NO_DIGIT) return false
    target[at + n] = (high << 4) | low
  }
  return (target[at + VERSION_AT] as number) < VERSION_15
}

function markAsOfSource(target: Buffer, at: number): void {
  target[at + VERSION_AT] = (target[at + VERSION_AT] as number) | VERSION_15
}

function textOf(messageId: string, source?: string): string {
  const prefix = source === undefined ? '' : prefixOf(source)
  const isPlain = !LONE_SURROGATE.test(messageId) && (source !== undefined || !messageId.startsWith('\0'))
  if (prefix !== undefined && isPlain) return prefix + messageId
  return `\0${JSON.stringify(source === undefined ? [messageId] : [source, messageId])}`
}

/** Cached: many events in a row have the same source. Undefined if the source has a lone surrogate. */
function prefixOf(source: string): string | undefined {
  if (source !== prefixedSource) {
    prefixedSource = source
    prefix = LONE_SURROGATE.test(source) ? undefined : `\0${source.length}:${source}`
  }
  return prefix
}

/** Uses a Latin-1 string: Node makes and writes it in less than half the time of a buffer. */
function writeHash(text: string, target: Buffer, at: number): void {
  target.write(hash('sha256', text, 'binary'), at, ID_BYTES, 'latin1')
}

/** Writes an id that begins with the current family. A client's id may begin so, too, without a valid counter. */
function writeOfFamily(messageId: string, target: Buffer, at: number): void {
  const digits = messageId.slice(-COUNTER_DIGITS)
  const count = Number.parseInt(digits, 16)
  if (COUNTERS[count] !== digits) {
    writeHash(textOf(messageId), target, at)
    return
  }
  familyDigest.copy(target, at)
  target.writeUInt16BE(familyDigest.readUInt16BE(COUNTER_AT) | count, at + COUNTER_AT)
}

/** The identity (16 bytes) of an event with this id and without a source. */
export function idDigest(messageId: string): Buffer {
  return digestOf(messageId, undefined)
}

/**
 * The identity of an archived event, from its parsed JSON.
 *
 * @returns 16 bytes; undefined without a `messageId`. A `source` that is not a string is ignored.
 */
export function identityOf({
  source,
  messageId,
}: {
  readonly source?: unknown
  readonly messageId?: unknown
}): Buffer | undefined {
  if (typeof messageId !== 'string' || messageId === '') return undefined
  return digestOf(messageId, typeof source === 'string' ? source : undefined)
}

function digestOf(messageId: string, source: string | undefined): Buffer {
  const digest = Buffer.allocUnsafe(ID_BYTES)
  writeIdentity(messageId, source, digest, 0)
  return digest
}

function withoutDashes(uuid: string): string {
  return uuid.slice(0, 8) + uuid.slice(9, 13) + uuid.slice(14, 18) + uuid.slice(19, 23) + uuid.slice(24)
}
