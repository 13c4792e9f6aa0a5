import { randomInt } from 'node:crypto'
import { ID_BYTES } from '../message-id.ts'

const CAPACITY_MIN = 1024
const LOAD_MAX = 0.5
const SEED = randomInt(2 ** 32)

const WORDS = ID_BYTES / 4

/**
 * A set of id digests in 24 to 40 bytes each: an open-addressing table of indexes into one buffer.
 *
 * Digests are compared a word at a time, the last one first: ids of one family differ only there.
 */
export class IdSet {
  #words = new Uint32Array(CAPACITY_MIN * LOAD_MAX * WORDS)
  /** For each slot the index of a digest, counted from 1; 0 is free. The capacity is a power of two. */
  #slots = new Uint32Array(CAPACITY_MIN)
  #size = 0

  get size(): number {
    return this.#size
  }

  /** All digests, in the order in which they were added. */
  get digests(): Buffer {
    return Buffer.from(this.#words.buffer, 0, this.#size * ID_BYTES)
  }

  /** @param at where the digest begins in `ids` */
  has(ids: Buffer, at = 0): boolean {
    return this.#slots[this.#slotOf(ids, at)] !== 0
  }

  /** False where it was there already. @param at where the digest begins in `ids` */
  add(ids: Buffer, at = 0): boolean {
    const slot = this.#slotOf(ids, at)
    if (this.#slots[slot] !== 0) return false
    const own = this.#size * WORDS
    for (let word = 0; word < WORDS; word++) this.#words[own + word] = ids.readUInt32LE(at + word * 4)
    this.#slots[slot] = ++this.#size
    if (this.#size >= this.#slots.length * LOAD_MAX) this.#grow()
    return true
  }

  *[Symbol.iterator](): Iterator<Buffer> {
    const { digests } = this
    for (let at = 0; at < digests.length; at += ID_BYTES) yield digests.subarray(at, at + ID_BYTES)
  }

  /** The slot that holds the digest, or the free one where it belongs. */
  #slotOf(ids: Buffer, at: number): number {
    const first = ids.readUInt32LE(at)
    const second = ids.readUInt32LE(at + 4)
    const third = ids.readUInt32LE(at + 8)
    const last = ids.readUInt32LE(at + 12)
    const words = this.#words
    const mask = this.#slots.length - 1
    let slot = mixed(mixed(mixed(mixed(SEED, first), second), third), last) & mask
    for (;;) {
      const index = this.#slots[slot] as number
      if (index === 0) return slot
      const own = (index - 1) * WORDS
      const isSame =
        words[own + 3] === last &&
        words[own + 2] === third &&
        words[own + 1] === second &&
        words[own] === first
      if (isSame) return slot
      slot = (slot + 1) & mask
    }
  }

  #grow(): void {
    const words = new Uint32Array(this.#slots.length * 2 * LOAD_MAX * WORDS)
    words.set(this.#words)
    this.#words = words
    this.#slots = new Uint32Array(this.#slots.length * 2)
    const { digests } = this
    for (let index = 0; index < this.#size; index++) {
      this.#slots[this.#slotOf(digests, index * ID_BYTES)] = index + 1
    }
  }
}

/** All bytes count, and where they lead is not known outside: clients choose ids, and could choose ones that meet. */
function mixed(hash: number, word: number): number {
  const next = Math.imul(hash ^ word, 0x9e3779b1)
  return next ^ (next >>> 15)
}
