import { randomInt } from 'node:crypto'
import { ID_BYTES } from '../event/message-id.ts'

const SEED = randomInt(2 ** 32)

/** Words of an id. */
export const ID_WORDS = ID_BYTES / 4

/**
 * Returns the slot of an open-addressing table that has an id, or the free slot where it belongs. Ids are compared one
 * word at a time, the last word first: ids of one family differ only there (message-id.ts).
 *
 * @param slots for each slot the index of an entry, counted from 1; 0 if it is free. Their number is a power of two,
 *   and at least one is free.
 * @param words the ids of the entries, in the order of the indexes
 * @param at where the id begins in `ids`, in bytes
 */
export function slotOf(slots: Uint32Array, words: Uint32Array, ids: Buffer, at: number): number {
  const first = ids.readUInt32LE(at)
  const second = ids.readUInt32LE(at + 4)
  const third = ids.readUInt32LE(at + 8)
  const last = ids.readUInt32LE(at + 12)
  const mask = slots.length - 1
  let slot = hashOfWords(first, second, third, last) & mask
  for (;;) {
    const index = slots[slot] as number
    if (index === 0) return slot
    const own = (index - 1) * ID_WORDS
    const isSame =
      words[own + 3] === last && words[own + 2] === third && words[own + 1] === second && words[own] === first
    if (isSame) return slot
    slot = (slot + 1) & mask
  }
}

/** Writes an id as the words of an entry. @param at where the id begins in `ids`, in bytes */
export function writeWords(words: Uint32Array, entry: number, ids: Buffer, at: number): void {
  for (let word = 0; word < ID_WORDS; word++) words[entry * ID_WORDS + word] = ids.readUInt32LE(at + word * 4)
}

/** A hash of 32 bits, which differs from process to process. @param at where the id begins in `ids`, in bytes */
export function hashOf(ids: Buffer, at: number): number {
  const [first, second] = [ids.readUInt32LE(at), ids.readUInt32LE(at + 4)]
  return hashOfWords(first, second, ids.readUInt32LE(at + 8), ids.readUInt32LE(at + 12))
}

function hashOfWords(first: number, second: number, third: number, last: number): number {
  return mixed(mixed(mixed(mixed(SEED, first), second), third), last)
}

/**
 * Mixes a word into a hash. Clients choose ids: all bytes count, and the seed is secret, so that they cannot choose ids
 * that collide.
 */
function mixed(hash: number, word: number): number {
  const next = Math.imul(hash ^ word, 0x9e3779b1)
  return next ^ (next >>> 15)
}
