import { randomInt } from 'node:crypto'
import { ID_BYTES } from '../message-id.ts'

const CAPACITY_MIN = 1024
const LOAD_MAX = 0.5
const SEED = randomInt(2 ** 32)

/** A set of id digests in 24 to 40 bytes each: an open-addressing table of indexes into one buffer. */
export class IdSet {
  #digests = Buffer.allocUnsafe(CAPACITY_MIN * LOAD_MAX * ID_BYTES)
  /** For each slot the index of a digest, counted from 1; 0 is free. The capacity is a power of two. */
  #slots = new Uint32Array(CAPACITY_MIN)
  #size = 0

  get size(): number {
    return this.#size
  }

  /** All digests, in the order in which they were added. */
  get digests(): Buffer {
    return this.#digests.subarray(0, this.#size * ID_BYTES)
  }

  /** @param at where the digest begins in `ids` */
  has(ids: Buffer, at = 0): boolean {
    return this.#slots[this.#slotOf(ids, at)] !== 0
  }

  /** False where it was there already. @param at where the digest begins in `ids` */
  add(ids: Buffer, at = 0): boolean {
    const slot = this.#slotOf(ids, at)
    if (this.#slots[slot] !== 0) return false
    ids.copy(this.#digests, this.#size * ID_BYTES, at, at + ID_BYTES)
    this.#slots[slot] = ++this.#size
    if (this.#size >= this.#slots.length * LOAD_MAX) this.#grow()
    return true
  }

  *[Symbol.iterator](): Iterator<Buffer> {
    for (let at = 0; at < this.#size * ID_BYTES; at += ID_BYTES)
      yield this.#digests.subarray(at, at + ID_BYTES)
  }

  /** The slot that holds the digest, or the free one where it belongs. */
  #slotOf(ids: Buffer, at: number): number {
    const mask = this.#slots.length - 1
    let slot = slotHash(ids, at) & mask
    for (;;) {
      const index = this.#slots[slot] as number
      if (index === 0 || this.#isAt(index - 1, ids, at)) return slot
      slot = (slot + 1) & mask
    }
  }

  #isAt(index: number, ids: Buffer, at: number): boolean {
    const own = index * ID_BYTES
    return this.#digests.compare(ids, at, at + ID_BYTES, own, own + ID_BYTES) === 0
  }

  #grow(): void {
    const digests = Buffer.allocUnsafe(this.#slots.length * 2 * LOAD_MAX * ID_BYTES)
    this.#digests.copy(digests, 0, 0, this.#size * ID_BYTES)
    this.#digests = digests
    this.#slots = new Uint32Array(this.#slots.length * 2)
    for (let index = 0; index < this.#size; index++) {
      this.#slots[this.#slotOf(digests, index * ID_BYTES)] = index + 1
    }
  }
}

/** All bytes count, and where they lead is not known outside: clients choose ids, and could choose ones that meet. */
function slotHash(ids: Buffer, start: number): number {
  let mixed = SEED
  for (let at = start; at < start + ID_BYTES; at += 4) {
    mixed = Math.imul(mixed ^ ids.readUInt32LE(at), 0x9e3779b1)
    mixed ^= mixed >>> 15
  }
  return mixed >>> 0
}
