/** Sorts ids in mixed form (id-mixer.ts). They are spread evenly, so a bucket sort with small buckets is fast. */

import { ID_WORDS } from './id-mixer.ts'

const IDS_A_BUCKET = 2

/** Whether the id at `at` of `words` is less than the id at `other` of `others`. Positions are in words. */
export function isLess(words: Uint32Array, at: number, others: Uint32Array, other: number): boolean {
  for (let word = 0; word < ID_WORDS; word++) {
    const difference = (words[at + word] as number) - (others[other + word] as number)
    if (difference !== 0) return difference < 0
  }
  return false
}

/** Sorts ids. It keeps its memory for the next call. */
export class IdSorter {
  #ends = new Uint32Array(0)
  #sorted = new Uint32Array(0)

  /**
   * @param parts ids whose first word is at least `low` and below `low + span`
   * @returns all ids, in order. The next call overwrites the memory.
   */
  sort(parts: readonly Uint32Array[], low: number, span: number): Uint32Array {
    const length = parts.reduce((sum, part) => sum + part.length, 0)
    const buckets = Math.max(1, Math.ceil(length / ID_WORDS / IDS_A_BUCKET))
    if (this.#sorted.length < length) this.#sorted = new Uint32Array(length + length / 4)
    if (this.#ends.length < buckets) this.#ends = new Uint32Array(buckets + buckets / 4)
    const sorted = this.#sorted.subarray(0, length)
    const ends = this.#ends.subarray(0, buckets).fill(0)
    const scale = buckets / span
    for (const part of parts) count(part, low, scale, ends)
    let end = 0
    for (let bucket = 0; bucket < buckets; bucket++) {
      end += ends[bucket] as number
      ends[bucket] = end
    }
    for (const part of parts) scatter(part, low, scale, ends, sorted)
    finish(sorted)
    return sorted
  }
}

function count(ids: Uint32Array, low: number, scale: number, counts: Uint32Array): void {
  for (let at = 0; at < ids.length; at += ID_WORDS) {
    const bucket = (((ids[at] as number) - low) * scale) | 0
    counts[bucket] = (counts[bucket] as number) + 1
  }
}

/** @param ends where each bucket ends in `sorted`, in ids. It is changed to where each bucket begins. */
function scatter(ids: Uint32Array, low: number, scale: number, ends: Uint32Array, sorted: Uint32Array): void {
  for (let at = ids.length - ID_WORDS; at >= 0; at -= ID_WORDS) {
    const bucket = (((ids[at] as number) - low) * scale) | 0
    const index = (ends[bucket] as number) - 1
    ends[bucket] = index
    const place = index * ID_WORDS
    sorted[place] = ids[at] as number
    sorted[place + 1] = ids[at + 1] as number
    sorted[place + 2] = ids[at + 2] as number
    sorted[place + 3] = ids[at + 3] as number
  }
}

/** Insertion sort. The buckets are in order already, and each has few ids. */
function finish(ids: Uint32Array): void {
  for (let at = ID_WORDS; at < ids.length; at += ID_WORDS) {
    const first = ids[at] as number
    if (first > (ids[at - ID_WORDS] as number) || !isLess(ids, at, ids, at - ID_WORDS)) continue
    const second = ids[at + 1] as number
    const third = ids[at + 2] as number
    const last = ids[at + 3] as number
    let place = at
    do {
      for (let word = 0; word < ID_WORDS; word++) ids[place + word] = ids[place + word - ID_WORDS] as number
      place -= ID_WORDS
    } while (place > 0 && isGreater(ids, place - ID_WORDS, first, second, third, last))
    ids[place] = first
    ids[place + 1] = second
    ids[place + 2] = third
    ids[place + 3] = last
  }
}

/** Whether the id at `at` is greater than the id with the words `a` to `d`. */
function isGreater(ids: Uint32Array, at: number, a: number, b: number, c: number, d: number): boolean {
  if (ids[at] !== a) return (ids[at] as number) > a
  if (ids[at + 1] !== b) return (ids[at + 1] as number) > b
  if (ids[at + 2] !== c) return (ids[at + 2] as number) > c
  return (ids[at + 3] as number) > d
}
