import { ID_BYTES } from '../event/message-id.ts'
import { ID_WORDS, slotOf, writeWords } from './id-slots.ts'

const CAPACITY_MIN = 1024
const LOAD_MAX = 0.5

/**
 * A set of id digests: an open-addressing table of indexes into one buffer. A digest takes 24 to 48 bytes.
 *
 * Digests are compared one word at a time, the last word first: ids of one family differ only there (message-id.ts).
 */
export class IdSet {
  #words = new Uint32Array(CAPACITY_MIN * LOAD_MAX * ID_WORDS)
  /** For each slot the index of a digest, counted from 1; 0 if the slot is free. The capacity is a power of two. */
  #slots = new Uint32Array(CAPACITY_MIN)
  #size = 0

  get size(): number {
    return this.#size
  }

  /** All digests, in the order in which they were added. Not a copy: the next `add` may change it. */
  get digests(): Buffer {
    return Buffer.from(this.#words.buffer, 0, this.#size * ID_BYTES)
  }

  /** @param at where the digest begins in `ids`, in bytes */
  has(ids: Buffer, at = 0): boolean {
    return this.#slots[slotOf(this.#slots, this.#words, ids, at)] !== 0
  }

  /** Returns false if the set had the digest already. @param at where the digest begins in `ids`, in bytes */
  add(ids: Buffer, at = 0): boolean {
    const slot = slotOf(this.#slots, this.#words, ids, at)
    if (this.#slots[slot] !== 0) return false
    writeWords(this.#words, this.#size, ids, at)
    this.#slots[slot] = ++this.#size
    if (this.#size >= this.#slots.length * LOAD_MAX) this.#grow()
    return true
  }

  *[Symbol.iterator](): Iterator<Buffer> {
    const { digests } = this
    for (let at = 0; at < digests.length; at += ID_BYTES) yield digests.subarray(at, at + ID_BYTES)
  }

  #grow(): void {
    const words = new Uint32Array(this.#slots.length * 2 * LOAD_MAX * ID_WORDS)
    words.set(this.#words)
    this.#words = words
    this.#slots = new Uint32Array(this.#slots.length * 2)
    const { digests } = this
    for (let index = 0; index < this.#size; index++) {
      this.#slots[slotOf(this.#slots, this.#words, digests, index * ID_BYTES)] = index + 1
    }
  }
}
