import { hashOf } from './id-slots.ts'

/** Slots of 4 bytes. A power of two. */
const CAPACITY = 2 ** 19
const LENGTH_BITS = 16
const LENGTH_MASK = 2 ** LENGTH_BITS - 1
/** A slot keeps two bytes of an id, from this one on. They are random also in ids that frequency makes. */
const TAG_AT = 10

/**
 * Remembers the lengths of recent events. A duplicate with another length is not a retry, but another event that has
 * the same id by mistake.
 *
 * Each id has one slot, and a later id of the same slot overwrites it: about two thirds of the last half a million ids
 * are remembered. An id that is not remembered is confused with another one with a probability of 1 in 65,536. Contents
 * are not compared: a retry has other timestamps, but these have the same length.
 */
export class RecentLengths {
  /** In each slot two bytes of the id, and the length modulo 65,536; 0 if the slot is free. */
  readonly #slots = new Uint32Array(CAPACITY)

  /** Remembers an event. @param at where the id begins in `ids`, in bytes @param length of the event, in bytes */
  note(ids: Buffer, at: number, length: number): void {
    this.#slots[hashOf(ids, at) & (CAPACITY - 1)] = entryOf(ids, at, length)
  }

  /** Whether a recent event with this id had another length. */
  differs(ids: Buffer, at: number, length: number): boolean {
    const known = this.#slots[hashOf(ids, at) & (CAPACITY - 1)] as number
    const entry = entryOf(ids, at, length)
    return known !== 0 && known !== entry && known >>> LENGTH_BITS === entry >>> LENGTH_BITS
  }
}

function entryOf(ids: Buffer, at: number, length: number): number {
  return ((ids.readUInt16LE(at + TAG_AT) << LENGTH_BITS) | (length & LENGTH_MASK)) >>> 0
}
