import { setImmediate as nextTurn } from 'node:timers/promises'
import { ID_BYTES } from '../event/message-id.ts'
import { ID_WORDS, type IdMixer } from './id-mixer.ts'
import { IdSorter } from './id-sort.ts'

/** Ids that are mixed, or moved, before the event loop runs other work. */
const SLICE_IDS = 32_768
/** Ids that are sorted at once, about. They fit into the processor's cache. */
const SORTED_IDS = 16_384

/**
 * Sorts the ids of a bulk addition. It keeps its memory for the next one: 32 bytes for each id of the largest so far.
 */
export class BulkSorter {
  readonly #mixer: IdMixer
  readonly #sorter = new IdSorter()
  #mixed = new Uint32Array(0)
  /** The mixed ids, grouped by their first bits. */
  #grouped = new Uint32Array(0)

  constructor(mixer: IdMixer) {
    this.#mixer = mixer
  }

  /**
   * Yields the ids in mixed form, in order, about 16,000 at a time. The next slice overwrites the memory of this one.
   *
   * @param ids 16 bytes each
   */
  async *sorted(ids: Buffer): AsyncGenerator<Uint32Array, undefined> {
    const length = (ids.length / ID_BYTES) * ID_WORDS
    if (this.#mixed.length < length) {
      this.#mixed = new Uint32Array(length)
      this.#grouped = new Uint32Array(length)
    }
    // At least one bit: a shift by 32 would shift by 0.
    const bits = Math.max(1, Math.ceil(Math.log2(length / ID_WORDS / SORTED_IDS)))
    const ends = await this.#group(ids, length, 32 - bits)
    const span = 2 ** (32 - bits)
    let from = 0
    for (const [group, end] of ends.entries()) {
      yield this.#sorter.sort([this.#grouped.subarray(from, end)], group * span, span)
      from = end
    }
  }

  /** Mixes ids, and groups them by their first bits. Returns where each group ends in `#grouped`, in words. */
  async #group(ids: Buffer, length: number, shift: number): Promise<Uint32Array> {
    const places = new Uint32Array(2 ** (32 - shift))
    const step = SLICE_IDS * ID_WORDS
    for (let at = 0; at < length; at += step) {
      this.#mix(ids, at, Math.min(at + step, length))
      count(this.#mixed, at, Math.min(at + step, length), shift, places)
      await nextTurn()
    }
    let begin = 0
    for (let group = 0; group < places.length; group++) {
      const end = begin + (places[group] as number)
      places[group] = begin
      begin = end
    }
    for (let at = 0; at < length; at += step) {
      scatter(this.#mixed, at, Math.min(at + step, length), shift, places, this.#grouped)
      await nextTurn()
    }
    return places
  }

  #mix(ids: Buffer, from: number, end: number): void {
    const { buffer } = this.#mixed
    new Uint8Array(buffer).set(ids.subarray(from * 4, end * 4), from * 4)
    this.#mixer.mix(new Int32Array(buffer, from * 4, end - from), this.#mixed.subarray(from, end), end - from)
  }
}

/** @param counts words of each group */
function count(ids: Uint32Array, from: number, end: number, shift: number, counts: Uint32Array): void {
  for (let at = from; at < end; at += ID_WORDS) {
    const group = (ids[at] as number) >>> shift
    counts[group] = (counts[group] as number) + ID_WORDS
  }
}

/** @param places where the next id of each group goes, in words */
function scatter(
  ids: Uint32Array,
  from: number,
  end: number,
  shift: number,
  places: Uint32Array,
  target: Uint32Array,
): void {
  for (let at = from; at < end; at += ID_WORDS) {
    const group = (ids[at] as number) >>> shift
    const place = places[group] as number
    places[group] = place + ID_WORDS
    target[place] = ids[at] as number
    target[place + 1] = ids[at + 1] as number
    target[place + 2] = ids[at + 2] as number
    target[place + 3] = ids[at + 3] as number
  }
}
