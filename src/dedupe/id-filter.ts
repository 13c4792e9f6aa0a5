/**
 * Says of an id in mixed form (id-mixer.ts) that it is not on disk, or that it may be: a blocked Bloom filter,
 * one for all runs, so that a look-up touches one cache line however many ids there are.
 *
 * Blocks are in the order of the ids. So the filter is made anew in place, a range of ids at a time, from
 * runs, which have that order too: larger when there are more ids, and without the ids of dropped runs.
 * While that goes on, ranges below `edge` have another size than the ones from there on.
 */

import { ID_WORDS } from './id-mixer.ts'

const BLOCK_WORDS = 16
const BLOCK_BITS = BLOCK_WORDS * 32
/** Equal ranges of the first word. */
export const RANGES = 1024
const RANGE_BITS = 22
const RANGE_SPAN = 2 ** RANGE_BITS
/** Bits for an id, of as many ids as it is made for. */
const BITS_AN_ID = 13.5
const CHUNK_BLOCK_BITS = 16
const CHUNK_WORDS = 2 ** CHUNK_BLOCK_BITS * BLOCK_WORDS
const CHUNK_BLOCK_MASK = 2 ** CHUNK_BLOCK_BITS - 1
/** Node's ArrayBuffers begin 16 bytes behind a page where they are large; a block is a cache line. */
const ALIGNMENT_WORDS = 12

/** Words of ids that are touched before the first is added. */
const TOUCHED_WORDS = 64 * ID_WORDS

export interface IdFilterShape {
  /** Blocks of a range below `edge`, and of the others. */
  readonly below: number
  readonly above: number
  readonly edge: number
  /** Whether ranges are made anew from the last to the first. */
  readonly isGrowing: boolean
}

/** Ranges from the first to before the end. */
export interface RangeSpan {
  readonly first: number
  readonly end: number
}

export class IdFilter {
  readonly #chunks: Uint32Array[] = []
  #below: number
  #above: number
  #edge: number
  /** Whether ranges are made anew from the last to the first. */
  #isGrowing: boolean
  #touched = 0

  constructor(shape: IdFilterShape = shapeFor(0)) {
    this.#below = shape.below
    this.#above = shape.above
    this.#edge = shape.edge
    this.#isGrowing = shape.isGrowing
    this.#reserve()
  }

  get shape(): IdFilterShape {
    return { below: this.#below, above: this.#above, edge: this.#edge, isGrowing: this.#isGrowing }
  }

  /** For how many ids it is made, or being made anew. */
  get idsMax(): number {
    return ((this.#isGrowing ? this.#above : this.#below) * RANGES * BLOCK_BITS) / BITS_AN_ID
  }

  /** Whether a part has been made anew, and the rest not. */
  get isRemaking(): boolean {
    return this.#below !== this.#above || (this.#edge > 0 && this.#edge < RANGES)
  }

  /** Its memory, as far as it is used, in pieces of 4 MiB. */
  get pieces(): Uint8Array[] {
    const words = Math.max(this.#below, this.#above) * RANGES * BLOCK_WORDS
    return this.#chunks.map((chunk, number) => {
      const length = Math.max(0, Math.min(CHUNK_WORDS, words - number * CHUNK_WORDS))
      return new Uint8Array(chunk.buffer, chunk.byteOffset, length * 4)
    })
  }

  mayHave(id: Uint32Array, from = 0): boolean {
    const block = this.#blockOf(id[from] as number)
    const chunk = this.#chunks[block >>> CHUNK_BLOCK_BITS] as Uint32Array
    const at = (block & CHUNK_BLOCK_MASK) * BLOCK_WORDS
    const second = id[from + 1] as number
    const third = id[from + 2] as number
    return (
      (((chunk[at + (second & 15)] as number) >>> ((second >>> 4) & 31)) &
        ((chunk[at + ((second >>> 9) & 15)] as number) >>> ((second >>> 13) & 31)) &
        1) !==
        0 &&
      (((chunk[at + ((second >>> 18) & 15)] as number) >>> ((second >>> 22) & 31)) &
        ((chunk[at + (third & 15)] as number) >>> ((third >>> 4) & 31)) &
        ((chunk[at + ((third >>> 9) & 15)] as number) >>> ((third >>> 13) & 31)) &
        ((chunk[at + ((third >>> 18) & 15)] as number) >>> ((third >>> 22) & 31)) &
        1) !==
        0
    )
  }

  /**
   * Has the memory that says of these ids loaded: of all at the same time, where looking at one waits for each.
   *
   * @returns nothing of use, but that it is kept has it done
   */
  touch(ids: Uint32Array, from = 0, end = ids.length): number {
    let touched = 0
    for (let at = from; at < end; at += ID_WORDS) {
      const block = this.#blockOf(ids[at] as number)
      const chunk = this.#chunks[block >>> CHUNK_BLOCK_BITS] as Uint32Array
      touched ^= chunk[(block & CHUNK_BLOCK_MASK) * BLOCK_WORDS] as number
    }
    return touched
  }

  /** @param ids in mixed form, in any order; in their own it is faster */
  add(ids: Uint32Array): void {
    for (let from = 0; from < ids.length; from += TOUCHED_WORDS) {
      const end = Math.min(ids.length, from + TOUCHED_WORDS)
      this.#touched ^= this.touch(ids, from, end)
      this.#add(ids, from, end)
    }
  }

  /** Begins to make all ranges anew, with room for so many ids. `nextRanges` says which come first. */
  beginRemaking(ids: number): void {
    const size = sizeFor(ids)
    const present = this.#above
    // A larger one is made from its end, and a smaller one from its beginning, so that they do not overlap.
    this.#isGrowing = size > present
    this.#edge = this.#isGrowing ? RANGES : 0
    this.#below = this.#isGrowing ? present : size
    this.#above = this.#isGrowing ? size : present
    this.#reserve()
  }

  /** The ranges that come next where all are made anew, at most `count`. */
  nextRanges(count: number): RangeSpan {
    return this.#isGrowing
      ? { first: Math.max(0, this.#edge - count), end: this.#edge }
      : { first: this.#edge, end: Math.min(RANGES, this.#edge + count) }
  }

  /**
   * Makes these ranges anew. Returns whether all have been.
   *
   * @param parts all ids of these ranges
   */
  remake({ first, end }: RangeSpan, parts: readonly Uint32Array[]): boolean {
    this.#edge = this.#isGrowing ? first : end
    const size = this.#isGrowing ? this.#above : this.#below
    this.#clear(first * size, end * size)
    for (const part of parts) this.add(part)
    const isDone = this.#edge === (this.#isGrowing ? 0 : RANGES)
    if (isDone) {
      this.#below = size
      this.#above = size
    }
    return isDone
  }

  #blockOf(first: number): number {
    const size = first >>> RANGE_BITS < this.#edge ? this.#below : this.#above
    return ((first * size) / RANGE_SPAN) | 0
  }

  #add(ids: Uint32Array, from: number, end: number): void {
    for (let id = from; id < end; id += ID_WORDS) {
      const block = this.#blockOf(ids[id] as number)
      const chunk = this.#chunks[block >>> CHUNK_BLOCK_BITS] as Uint32Array
      const at = (block & CHUNK_BLOCK_MASK) * BLOCK_WORDS
      const second = ids[id + 1] as number
      const third = ids[id + 2] as number
      set(chunk, at + (second & 15), second >>> 4)
      set(chunk, at + ((second >>> 9) & 15), second >>> 13)
      set(chunk, at + ((second >>> 18) & 15), second >>> 22)
      set(chunk, at + (third & 15), third >>> 4)
      set(chunk, at + ((third >>> 9) & 15), third >>> 13)
      set(chunk, at + ((third >>> 18) & 15), third >>> 22)
    }
  }

  #clear(first: number, end: number): void {
    for (let block = first; block < end; ) {
      const chunk = this.#chunks[block >>> CHUNK_BLOCK_BITS] as Uint32Array
      const from = block & CHUNK_BLOCK_MASK
      const count = Math.min(end - block, CHUNK_BLOCK_MASK + 1 - from)
      chunk.fill(0, from * BLOCK_WORDS, (from + count) * BLOCK_WORDS)
      block += count
    }
  }

  #reserve(): void {
    const blocks = Math.max(this.#below, this.#above) * RANGES
    const chunks = Math.ceil(blocks / (CHUNK_BLOCK_MASK + 1))
    while (this.#chunks.length < chunks) {
      // The system gives memory for what is written to, so a chunk that is not full takes no more than it has.
      const words = new Uint32Array(CHUNK_WORDS + BLOCK_WORDS)
      this.#chunks.push(words.subarray(ALIGNMENT_WORDS, ALIGNMENT_WORDS + CHUNK_WORDS))
    }
  }
}

/** Of an empty filter for so many ids. */
export function shapeFor(ids: number): IdFilterShape {
  return { below: sizeFor(ids), above: sizeFor(ids), edge: 0, isGrowing: false }
}

/** Blocks of a range. */
function sizeFor(ids: number): number {
  return Math.max(1, Math.ceil((ids * BITS_AN_ID) / BLOCK_BITS / RANGES))
}

function set(words: Uint32Array, at: number, bit: number): void {
  words[at] = (words[at] as number) | (1 << (bit & 31))
}

/** The first words of these ranges are at least `low`, and below `high`. */
export function spanOf({ first, end }: RangeSpan): { low: number; high: number } {
  return { low: first * RANGE_SPAN, high: end * RANGE_SPAN }
}
