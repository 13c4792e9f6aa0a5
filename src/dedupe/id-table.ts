/**
 * A set of ids in mixed form (id-mixer.ts): an open-addressing table whose slots are in the order of the ids, so that
 * it is always nearly sorted. An id takes 34 to 68 bytes.
 *
 * Each slot has a tag: a byte that says whether the slot is taken, and that rules out nearly all other ids. The tags
 * stay in the processor's cache, so few look-ups read the ids.
 */

import { ID_WORDS } from './id-mixer.ts'
import { isLess } from './id-sort.ts'

const SLOT_BITS_MIN = 10
const LOAD_MAX = 0.5
/** Extra slots at the end, for ids whose own slot and all slots behind it are taken. */
const SLACK = 256
const FREE = 0

export class IdTable {
  #bits = SLOT_BITS_MIN
  #tags = new Uint8Array(2 ** SLOT_BITS_MIN + SLACK)
  #words = new Uint32Array((2 ** SLOT_BITS_MIN + SLACK) * ID_WORDS)
  #size = 0

  get size(): number {
    return this.#size
  }

  /** @param from where the id begins in `ids`, in words */
  has(ids: Uint32Array, from = 0): boolean {
    const slot = this.#slotOf(ids, from)
    return slot < this.#tags.length && this.#tags[slot] !== FREE
  }

  /** Adds an id. Has no effect if the table has it. @param from where the id begins in `ids`, in words */
  add(ids: Uint32Array, from = 0): void {
    const slot = this.#slotOf(ids, from)
    if (slot === this.#tags.length) {
      this.#grow()
      this.add(ids, from)
      return
    }
    if (this.#tags[slot] !== FREE) return
    this.#tags[slot] = tagOf(ids[from + 3] as number)
    const words = this.#words
    const at = slot * ID_WORDS
    words[at] = ids[from] as number
    words[at + 1] = ids[from + 1] as number
    words[at + 2] = ids[from + 2] as number
    words[at + 3] = ids[from + 3] as number
    if (++this.#size > 2 ** this.#bits * LOAD_MAX) this.#grow()
  }

  /** Removes all ids. Keeps the memory. */
  clear(): void {
    this.#tags.fill(FREE)
    this.#size = 0
  }

  /**
   * Returns all ids, in order.
   *
   * @param target memory for them, which is used if it is large enough
   */
  sorted(target: Uint32Array = new Uint32Array(this.#size * ID_WORDS)): Uint32Array {
    if (target.length < this.#size * ID_WORDS) return this.sorted()
    const sorted = target.subarray(0, this.#size * ID_WORDS)
    const words = this.#words
    const tags = this.#tags
    let length = 0
    for (let slot = 0; slot < tags.length; slot++) {
      if (tags[slot] === FREE) continue
      const at = slot * ID_WORDS
      let place = length
      // The ids of a cluster (adjacent taken slots) are in the order of their arrival.
      while (place > 0 && isLess(words, at, sorted, place - ID_WORDS)) {
        for (let word = 0; word < ID_WORDS; word++)
          sorted[place + word] = sorted[place + word - ID_WORDS] as number
        place -= ID_WORDS
      }
      sorted[place] = words[at] as number
      sorted[place + 1] = words[at + 1] as number
      sorted[place + 2] = words[at + 2] as number
      sorted[place + 3] = words[at + 3] as number
      length += ID_WORDS
    }
    return sorted
  }

  /** The slot that has the id, or the free slot where it belongs; `#tags.length` if no slot is free. */
  #slotOf(ids: Uint32Array, from: number): number {
    const tags = this.#tags
    const words = this.#words
    const first = ids[from] as number
    const last = ids[from + 3] as number
    const tag = tagOf(last)
    let slot = first >>> (32 - this.#bits)
    for (; slot < tags.length; slot++) {
      const found = tags[slot]
      if (found === FREE) return slot
      if (found !== tag) continue
      const at = slot * ID_WORDS
      const isSame =
        words[at] === first &&
        words[at + 1] === ids[from + 1] &&
        words[at + 2] === ids[from + 2] &&
        words[at + 3] === last
      if (isSame) return slot
    }
    return slot
  }

  #grow(): void {
    const ids = this.sorted()
    this.#bits++
    this.#tags = new Uint8Array(2 ** this.#bits + SLACK)
    this.#words = new Uint32Array((2 ** this.#bits + SLACK) * ID_WORDS)
    this.#size = 0
    for (let at = 0; at < ids.length; at += ID_WORDS) this.add(ids, at)
  }
}

/** 1 to 255: 0 is a free slot. */
function tagOf(word: number): number {
  return word & 0xff || 1
}
