import { hash, randomInt } from 'node:crypto'

export const ID_BYTES = 16
const CAPACITY_MIN = 1024
const LOAD_MAX = 0.5
const SEED = randomInt(2 ** 32)

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/**
 * A message id in 16 bytes: a UUID as it is, so that ids minted here stay in the order of their time;
 * anything else as the first half of its SHA-256. Two ids of a window of 10^9 share one with a
 * probability of about 10^-21, and nobody can make two that do.
 */
export function idDigest(messageId: string): Buffer {
  if (messageId.length === 36 && UUID.test(messageId))
    return Buffer.from(messageId.replaceAll('-', ''), 'hex')
  return hash('sha256', messageId, 'buffer').subarray(0, ID_BYTES)
}

/** A set of id digests in 24 to 40 bytes each: an open-addressing table of indexes into one buffer. */
export class IdSet {
  #digests = Buffer.allocUnsafe(CAPACITY_MIN * LOAD_MAX * ID_BYTES)
  /** For each slot the index of a digest, counted from 1; 0 is free. The capacity is a power of two. */
  #slots = new Uint32Array(CAPACITY_MIN)
  #size = 0

  get size(): number {
    return this.#size
  }

  has(digest: Buffer): boolean {
    return this.#slots[this.#slotOf(digest)] !== 0
  }

  /** False where it was there already. */
  add(digest: Buffer): boolean {
    const slot = this.#slotOf(digest)
    if (this.#slots[slot] !== 0) return false
    digest.copy(this.#digests, this.#size * ID_BYTES)
    this.#slots[slot] = ++this.#size
    if (this.#size >= this.#slots.length * LOAD_MAX) this.#grow()
    return true
  }

  *[Symbol.iterator](): Iterator<Buffer> {
    for (let index = 0; index < this.#size; index++) {
      yield this.#digests.subarray(index * ID_BYTES, (index + 1) * ID_BYTES)
    }
  }

  /** The slot that holds the digest, or the free one where it belongs. */
  #slotOf(digest: Buffer): number {
    const mask = this.#slots.length - 1
    let slot = slotHash(digest) & mask
    for (;;) {
      const index = this.#slots[slot] as number
      if (index === 0 || this.#isAt(index - 1, digest)) return slot
      slot = (slot + 1) & mask
    }
  }

  #isAt(index: number, digest: Buffer): boolean {
    const at = index * ID_BYTES
    return this.#digests.compare(digest, 0, ID_BYTES, at, at + ID_BYTES) === 0
  }

  #grow(): void {
    const digests = Buffer.allocUnsafe(this.#slots.length * 2 * LOAD_MAX * ID_BYTES)
    this.#digests.copy(digests, 0, 0, this.#size * ID_BYTES)
    this.#digests = digests
    this.#slots = new Uint32Array(this.#slots.length * 2)
    for (let index = 0; index < this.#size; index++) {
      const digest = digests.subarray(index * ID_BYTES, (index + 1) * ID_BYTES)
      this.#slots[this.#slotOf(digest)] = index + 1
    }
  }
}

/** All bytes count, and where they lead is not known outside: clients choose ids, and could choose ones that meet. */
function slotHash(digest: Buffer): number {
  let mixed = SEED
  for (let at = 0; at < ID_BYTES; at += 4) {
    mixed = Math.imul(mixed ^ digest.readUInt32LE(at), 0x9e3779b1)
    mixed ^= mixed >>> 15
  }
  return mixed >>> 0
}
