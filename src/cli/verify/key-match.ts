/**
 * Compares the objects that were listed with the objects that a log names, in bounded memory: by digests of the keys,
 * and of the keys with the content.
 */

import { hash } from 'node:crypto'
import { IdSet } from '../../dedupe/id-set.ts'
import { ID_BYTES } from '../../event/message-id.ts'
import type { ObjectDigest } from '../../log/describe-object.ts'
import { IdRecords } from './id-records.ts'
import type { ScratchFile } from './scratch-file.ts'

/** In an id record the place of a listed object is doubled, and that of a named one is doubled, plus 1. */
const LISTED = 0
const NAMED = 1

/** A set of places, which are whole numbers below 2^31. It takes a bit for each, and iterates in ascending order. */
export class Places {
  #bits = new Uint8Array(1024)
  #size = 0

  get size(): number {
    return this.#size
  }

  has(place: number): boolean {
    return ((this.#bits[place >>> 3] ?? 0) & (1 << (place & 7))) !== 0
  }

  add(place: number): void {
    if (this.has(place)) return
    const at = place >>> 3
    if (at >= this.#bits.length) {
      const bits = new Uint8Array(2 * at)
      bits.set(this.#bits)
      this.#bits = bits
    }
    this.#bits[at] = (this.#bits[at] as number) | (1 << (place & 7))
    this.#size++
  }

  *[Symbol.iterator](): Iterator<number> {
    for (const [at, bits] of this.#bits.entries())
      for (let bit = 0; bits >>> bit > 0; bit++) if ((bits & (1 << bit)) !== 0) yield 8 * at + bit
  }

  without(others: Places): Places {
    const left = new Places()
    for (const place of this) if (!others.has(place)) left.add(place)
    return left
  }
}

export interface KeyMatches {
  /** Places of named objects that were not listed. */
  readonly missing: Places
  /** Places of listed objects that the log does not name. */
  readonly unknown: Places
  /** Places of listed objects that the log names with another content. */
  readonly changed: Places
}

export class KeyMatch {
  readonly #keys: IdRecords
  readonly #contents: IdRecords

  constructor(scratch: ScratchFile) {
    this.#keys = new IdRecords(scratch)
    this.#contents = new IdRecords(scratch)
  }

  addListed(place: number, key: string): void {
    this.#keys.add(digestOf(key), 2 * place + LISTED)
  }

  /** Adds the content of a listed object. Without a call, the content is not compared. */
  addListedContent(place: number, key: string, content: ObjectDigest): void {
    this.#contents.add(digestOf(textOf(key, content)), 2 * place + LISTED)
  }

  addNamed(place: number, key: string, content: ObjectDigest): void {
    this.#keys.add(digestOf(key), 2 * place + NAMED)
    this.#contents.add(digestOf(textOf(key, content)), 2 * place + NAMED)
  }

  match(): KeyMatches {
    const keys = unmatched(this.#keys)
    const contents = unmatched(this.#contents)
    return { missing: keys[NAMED], unknown: keys[LISTED], changed: contents[LISTED].without(keys[LISTED]) }
  }
}

/** Places of listed objects without an equal named one, and of named objects without an equal listed one. */
function unmatched(idRecords: IdRecords): readonly [listed: Places, named: Places] {
  const places = [new Places(), new Places()] as const
  for (const share of idRecords.shares()) {
    const sets = [new IdSet(), new IdSet()] as const
    idRecords.read(share, (digest, place) => {
      sets[place % 2 === LISTED ? LISTED : NAMED].add(digest)
    })
    idRecords.read(share, (digest, place) => {
      const kind = place % 2 === LISTED ? LISTED : NAMED
      if (!sets[kind === LISTED ? NAMED : LISTED].has(digest)) places[kind].add(Math.floor(place / 2))
    })
  }
  return places
}

function textOf(key: string, { sha256, storedBytes }: ObjectDigest): string {
  return `${key}\n${sha256}\n${storedBytes}`
}

function digestOf(text: string): Buffer {
  return hash('sha256', text, 'buffer').subarray(0, ID_BYTES)
}
