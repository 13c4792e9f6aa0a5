import { hashOf } from './id-slots.ts'

/** A power of two; 4 bytes each. */
const CAPACITY = 2 ** 19
const LENGTH_BITS = 16
const LENGTH_MASK = 2 ** LENGTH_BITS - 1
/** Two bytes of an id, which are random in those that are made here, too. */
const TAG_AT = 10

/**
 * How long the events were that came of late: a duplicate of another length is another event with the same id.
 *
 * Each id has one slot, which the next id of that slot takes over: of the last half a million some two thirds are
 * remembered. An id that is not remembered is taken for another one with a chance of 1 in 65,536. Bytes are not
 * compared: a client that tries again sends other times, which are as long.
 */
export class RecentLengths {
  /** Two bytes of the id, and two of the length; 0 is free. */
  readonly #slots = new Uint32Array(CAPACITY)

  /** @param at where the id begins in `ids` */
  note(ids: Buffer, at: number, length: number): void {
    this.#slots[hashOf(ids, at) & (CAPACITY - 1)] = entryOf(ids, at, length)
  }

  /** Whether an event with this id came of late, and was of another length. */
  differs(ids: Buffer, at: number, length: number): boolean {
    const known = this.#slots[hashOf(ids, at) & (CAPACITY - 1)] as number
    const entry = entryOf(ids, at, length)
    return known !== 0 && known !== entry && known >>> LENGTH_BITS === entry >>> LENGTH_BITS
  }
}

function entryOf(ids: Buffer, at: number, length: number): number {
  return ((ids.readUInt16LE(at + TAG_AT) << LENGTH_BITS) | (length & LENGTH_MASK)) >>> 0
}
