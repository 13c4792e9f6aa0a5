/**
 * A permutation of the 2^128 ids under a secret key, which only this index knows. Clients choose ids. Without the key
 * they cannot choose ids that collide in a table, a filter or a run, and the mixed forms of similar ids are spread
 * evenly. Two ids are equal exactly if their mixed forms are, so the index keeps only mixed forms.
 *
 * It is the permutation of Chaskey (Mouha et al., 2014) with 6 rounds in place of 8. That is enough: no attacker sees
 * the output, and an attack could only make look-ups slow.
 */

import { ID_BYTES } from '../event/message-id.ts'

const ROUNDS = 6
export const ID_WORDS = ID_BYTES / 4
export const KEY_BYTES = ID_BYTES

export class IdMixer {
  readonly #key: Int32Array

  /** @param key 16 random bytes */
  constructor(key: Buffer) {
    this.#key = Int32Array.from({ length: ID_WORDS }, (_, word) => key.readInt32LE(word * 4))
  }

  /**
   * Writes the mixed forms of ids to `target`.
   *
   * @param ids four words each, in the machine's byte order
   * @param length of `ids`, in words
   */
  mix(ids: Int32Array, target: Uint32Array, length: number): void {
    const [key0, key1, key2, key3] = this.#key as unknown as [number, number, number, number]
    for (let at = 0; at < length; at += ID_WORDS) {
      let a = (ids[at] as number) ^ key0
      let b = (ids[at + 1] as number) ^ key1
      let c = (ids[at + 2] as number) ^ key2
      let d = (ids[at + 3] as number) ^ key3
      for (let round = 0; round < ROUNDS; round++) {
        a = (a + b) | 0
        b = ((b << 5) | (b >>> 27)) ^ a
        a = (a << 16) | (a >>> 16)
        c = (c + d) | 0
        d = ((d << 8) | (d >>> 24)) ^ c
        a = (a + d) | 0
        d = ((d << 13) | (d >>> 19)) ^ a
        c = (c + b) | 0
        b = ((b << 7) | (b >>> 25)) ^ c
        c = (c << 16) | (c >>> 16)
      }
      target[at] = a
      target[at + 1] = b
      target[at + 2] = c
      target[at + 3] = d
    }
  }
}

/** A few ids as words: plain, copied from bytes of any alignment, and in mixed form. */
export class IdBlock {
  readonly plain: Int32Array
  readonly mixed: Uint32Array
  readonly #bytes: Uint8Array
  readonly #mixer: IdMixer

  constructor(mixer: IdMixer, idsMax: number) {
    this.#mixer = mixer
    this.plain = new Int32Array(idsMax * ID_WORDS)
    this.mixed = new Uint32Array(idsMax * ID_WORDS)
    this.#bytes = new Uint8Array(this.plain.buffer)
  }

  /** Copies and mixes the ids in the bytes from `from` to before `end`. Returns how many words they have. */
  take(ids: Buffer, from: number, end: number): number {
    this.#bytes.set(ids.subarray(from, end))
    const length = (end - from) / 4
    this.#mixer.mix(this.plain, this.mixed, length)
    return length
  }
}
