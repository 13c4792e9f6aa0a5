/**
 * Says whether an id in mixed form (id-mixer.ts) may be on disk, or certainly is not. It is a blocked Bloom filter: a
 * look-up touches one cache line, however many ids there are. One filter serves all runs.
 *
 * Blocks are in the order of the ids, as runs are. So the filter can be rebuilt from the runs in place, one range of
 * ids at a time: with room for more ids, and without the ids of dropped runs. During a rebuild, ranges below `edge`
 * have another number of blocks than the other ranges.
 */

import { ID_WORDS } from './id-mixer.ts'

const BLOCK_WORDS = 16
const BLOCK_BITS = BLOCK_WORDS * 32
/** The values of an id's first word are divided into this many equal ranges. */
export const RANGES = 1024
const RANGE_BITS = 22
const RANGE_SPAN = 2 ** RANGE_BITS
/** Bits for each id of the filter's capacity. */
const BITS_AN_ID = 13.5
const CHUNK_BLOCK_BITS = 16
const CHUNK_WORDS = 2 ** CHUNK_BLOCK_BITS * BLOCK_WORDS
const CHUNK_BLOCK_MASK = 2 ** CHUNK_BLOCK_BITS - 1
/** Node's large ArrayBuffers begin 16 bytes after the start of a page. 12 words more align blocks to cache lines. */
const ALIGNMENT_WORDS = 12

/** Words of ids whose blocks are loaded into the cache before the first of these ids is added. */
const TOUCHED_WORDS = 64 * ID_WORDS

export interface IdFilterShape {
  /** Blocks of each range below `edge`. */
  readonly below: number
  /** Blocks of each range from `edge` on. */
  readonly above: number
  readonly edge: number
  /** Whether the rebuild makes the filter larger. If so, it goes from the last range to the first. */
  readonly isGrowing: boolean
}

/** Some ranges: `end` is behind the last one. */
export interface RangeSpan {
  readonly first: number
  readonly end: number
}

export class IdFilter {
  readonly #chunks: Uint32Array[] = []
  #below: number
  #above: number
  #edge: number
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

  /** Its capacity in ids; during a rebuild, the new capacity. */
  get idsMax(): number {
    return ((this.#isGrowing ? this.#above : this.#below) * RANGES * BLOCK_BITS) / BITS_AN_ID
  }

  /** Whether a rebuild has begun, and has not ended. */
  get isRebuilding(): boolean {
    return this.#below !== this.#above || (this.#edge > 0 && this.#edge < RANGES)
  }

  /** The memory in use, in pieces of at most 4 MiB. Not a copy. */
  get pieces(): Uint8Array[] {
    const words = Math.max(this.#below, this.#above) * RANGES * BLOCK_WORDS
    return this.#chunks.map((chunk, number) => {
      const length = Math.max(0, Math.min(CHUNK_WORDS, words - number * CHUNK_WORDS))
      return new Uint8Array(chunk.buffer, chunk.byteOffset, length * 4)
    })
  }

  /** Returns false only if the id was not added. @param from where the id begins in `id`, in words */
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
   * Loads the blocks of these ids into the processor's cache, all at the same time. Look-ups would load one after
   * another.
   *
   * @returns a meaningless number. The caller has to keep it, or the compiler may drop the loads.
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

  /** @param ids in mixed form, in any order; sorted ids are faster */
  add(ids: Uint32Array): void {
    for (let from = 0; from < ids.length; from += TOUCHED_WORDS) {
      const end = Math.min(ids.length, from + TOUCHED_WORDS)
      this.#touched ^= this.touch(ids, from, end)
      this.#add(ids, from, end)
    }
  }

  /** Begins to rebuild all ranges, with a capacity of this many ids. `nextRanges` says which come first. */
  beginRebuild(ids: number): void {
    const size = sizeFor(ids)
    const present = this.#above
    // Ranges grow from the last one on, and shrink from the first one on. So no new range overlaps a present one.
    this.#isGrowing = size > present
    this.#edge = this.#isGrowing ? RANGES : 0
    this.#below = this.#isGrowing ? present : size
    this.#above = this.#isGrowing ? size : present
    this.#reserve()
  }

  /** The ranges that the rebuild has to do next, at most `count`. */
  nextRanges(count: number): RangeSpan {
    return this.#isGrowing
      ? { first: Math.max(0, this.#edge - count), end: this.#edge }
      : { first: this.#edge, end: Math.min(RANGES, this.#edge + count) }
  }

  /**
   * Rebuilds the ranges that `nextRanges` returned. Returns whether the rebuild is complete.
   *
   * @param parts all ids of these ranges, and no others
   */
  rebuild({ first, end }: RangeSpan, parts: readonly Uint32Array[]): boolean {
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
      // The system allots pages when they are first written to: a chunk that is not full takes only what it uses.
      const words = new Uint32Array(CHUNK_WORDS + BLOCK_WORDS)
      this.#chunks.push(words.subarray(ALIGNMENT_WORDS, ALIGNMENT_WORDS + CHUNK_WORDS))
    }
  }
}

/** The shape of an empty filter with a capacity of this many ids. */
export function shapeFor(ids: number): IdFilterShape {
  return { below: sizeFor(ids), above: sizeFor(ids), edge: 0, isGrowing: false }
}

/** Blocks of each range. */
function sizeFor(ids: number): number {
  return Math.max(1, Math.ceil((ids * BITS_AN_ID) / BLOCK_BITS / RANGES))
}

function set(words: Uint32Array, at: number, bit: number): void {
  words[at] = (words[at] as number) | (1 << (bit & 31))
}

/** The first words of ids in these ranges: from `low` to below `high`. */
export function spanOf({ first, end }: RangeSpan): { low: number; high: number } {
  return { low: first * RANGE_SPAN, high: end * RANGE_SPAN }
}
