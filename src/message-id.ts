import { hash, randomBytes, randomInt } from 'node:crypto'

/**
 * Ids in the form in which they are compared: 16 bytes. Ids that share all but their last 12 bits are a
 * family. Ids that are made here in one millisecond are one family, so that remembering a thousand of them
 * takes little more than remembering one.
 */

export const ID_BYTES = 16
/** The last three hexadecimal digits of a UUID. */
const COUNTER_BITS = 12
const COUNTER_DIGITS = COUNTER_BITS / 4
const COUNTER_MAX = 2 ** COUNTER_BITS - 1
const UUID_LENGTH = 36
/** Where the two bytes begin that have the counter at their end. */
const COUNTER_AT = ID_BYTES - 2

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

const COUNTERS = Array.from({ length: COUNTER_MAX + 1 }, (_, n) => n.toString(16).padStart(3, '0'))

/** Families that one millisecond may begin with: it leaves room to count on. */
const SEQUENCE_MAX = 2 ** 31

let family = ''
/** The family as the digests of its ids begin. */
let familyDigest: Buffer = Buffer.alloc(ID_BYTES)
let familyMs = Number.NaN
let sequence = 0
let counter = COUNTER_MAX

/**
 * A new id: a UUIDv7 whose last 12 bits count (RFC 9562, section 6.2, method 2), and of whose other bits 61
 * are random. Ids of one millisecond are in order, too.
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
 * All of a UUIDv7 but its last 12 bits (RFC 9562, section 5.7): 48 bits of time, and of `rand_a` and
 * `rand_b` first the 32 bits of the sequence, then 30 random ones.
 */
function familyOf(ms: number, sequence: number): string {
  const bytes = randomBytes(ID_BYTES)
  // Another program may say that its event came before 1970, or when 48 bits do not reach.
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
 * Writes an id's 16 bytes: a UUID as it is; anything else as the first half of its SHA-256. Two ids of a
 * window of 10^9 share one with a probability of about 10^-21, and nobody can make two that do.
 */
export function writeIdDigest(messageId: string, target: Buffer, at: number): void {
  if (messageId.length !== UUID_LENGTH) writeHash(messageId, target, at)
  else if (family !== '' && messageId.startsWith(family)) writeOfFamily(messageId, target, at)
  else if (UUID.test(messageId)) target.write(withoutDashes(messageId), at, 'hex')
  else writeHash(messageId, target, at)
}

function writeHash(messageId: string, target: Buffer, at: number): void {
  hash('sha256', messageId, 'buffer').copy(target, at, 0, ID_BYTES)
}

/** An id that was made here a moment ago, mostly; a client's may begin like one. */
function writeOfFamily(messageId: string, target: Buffer, at: number): void {
  const digits = messageId.slice(-COUNTER_DIGITS)
  const count = Number.parseInt(digits, 16)
  if (COUNTERS[count] !== digits) {
    writeHash(messageId, target, at)
    return
  }
  familyDigest.copy(target, at)
  target.writeUInt16BE(familyDigest.readUInt16BE(COUNTER_AT) | count, at + COUNTER_AT)
}

export function idDigest(messageId: string): Buffer {
  const digest = Buffer.allocUnsafe(ID_BYTES)
  writeIdDigest(messageId, digest, 0)
  return digest
}

function withoutDashes(uuid: string): string {
  return uuid.slice(0, 8) + uuid.slice(9, 13) + uuid.slice(14, 18) + uuid.slice(19, 23) + uuid.slice(24)
}
