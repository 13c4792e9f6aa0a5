import { randomInt } from 'node:crypto'
import { ID_BYTES } from '../event/message-id.ts'

const SEED = randomInt(2 ** 32)

/** What an id takes in a table of words. */
export const ID_WORDS = ID_BYTES / 4

/**
 * The slot of an open-addressing table that holds an id, or the free one where it belongs. Ids are compared a word at a
 * time, the last one first: ids that were made here one after the other differ only there.
 *
 * @param slots for each the index of an entry, counted from 1; 0 is free; their number is a power of two
 * @param words of the entries, in their order
 * @param at where the id begins in `ids`
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

/** Writes an id as the words of an entry. */
export function writeWords(words: Uint32Array, entry: number, ids: Buffer, at: number): void {
  for (let word = 0; word < ID_WORDS; word++) words[entry * ID_WORDS + word] = ids.readUInt32LE(at + word * 4)
}

/** 32 bits of an id. @param at where it begins in `ids` */
export function hashOf(ids: Buffer, at: number): number {
  const [first, second] = [ids.readUInt32LE(at), ids.readUInt32LE(at + 4)]
  return hashOfWords(first, second, ids.readUInt32LE(at + 8), ids.readUInt32LE(at + 12))
}

function hashOfWords(first: number, second: number, third: number, last: number): number {
  return mixed(mixed(mixed(mixed(SEED, first), second), third), last)
}

/** All bytes count, and where they lead is not known outside: clients choose ids, and could choose ones that meet. */
function mixed(hash: number, word: number): number {
  const next = Math.imul(hash ^ word, 0x9e3779b1)
  return next ^ (next >>> 15)
}
