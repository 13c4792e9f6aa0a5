import { ID_BYTES } from '../event/message-id.ts'
import { ID_WORDS, slotOf, writeWords } from './id-slots.ts'

const CAPACITY_MIN = 4096
const LOAD_MAX = 0.5

/** Where an id is: in whose batch, and as which of its events. */
export interface Place<Owner> {
  readonly owner: Owner
  readonly event: number
}

interface Slot<Owner> {
  readonly owner: Owner
  isGone: boolean
}

/**
 * The ids of all batches that this process has begun, and whose objects are not there yet: an open-addressing
 * table of indexes into one buffer. An owner goes with all its ids at once; its entries are cleared out when the
 * table grows.
 */
export class LiveIds<Owner extends object> {
  #words = new Uint32Array(CAPACITY_MIN * LOAD_MAX * ID_WORDS)
  /** For each entry whose it is, and as which event. */
  #owners = new Uint32Array(CAPACITY_MIN * LOAD_MAX)
  #events = new Uint32Array(CAPACITY_MIN * LOAD_MAX)
  /** For each slot the index of an entry, counted from 1; 0 is free. The capacity is a power of two. */
  #slots = new Uint32Array(CAPACITY_MIN)
  #size = 0
  #slotsOfOwners: Slot<Owner>[] = []
  readonly #numbers = new Map<Owner, number>()

  /** Those that have ids here. */
  get owners(): Iterable<Owner> {
    return this.#numbers.keys()
  }

  /** Undefined where no live owner has it. @param at where the id begins in `ids` */
  find(ids: Buffer, at: number): Place<Owner> | undefined {
    const index = this.#slots[slotOf(this.#slots, this.#words, ids, at)] as number
    if (index === 0) return undefined
    const slot = this.#ownerOf(index - 1)
    return slot.isGone ? undefined : { owner: slot.owner, event: this.#events[index - 1] as number }
  }

  has(ids: Buffer, at: number): boolean {
    const index = this.#slots[slotOf(this.#slots, this.#words, ids, at)] as number
    return index !== 0 && !this.#ownerOf(index - 1).isGone
  }

  /** The id must not be there, unless of an owner that is gone. */
  add(ids: Buffer, at: number, owner: Owner, event: number): void {
    if (this.#size >= this.#slots.length * LOAD_MAX) this.#makeRoom()
    const slot = slotOf(this.#slots, this.#words, ids, at)
    let index = this.#slots[slot] as number
    if (index === 0) {
      index = ++this.#size
      writeWords(this.#words, index - 1, ids, at)
      this.#slots[slot] = index
    }
    this.#owners[index - 1] = this.#numberOf(owner)
    this.#events[index - 1] = event
  }

  /** Forgets all ids of this owner. */
  remove(owner: Owner): void {
    const number = this.#numbers.get(owner)
    if (number === undefined) return
    this.#numbers.delete(owner)
    ;(this.#slotsOfOwners[number] as Slot<Owner>).isGone = true
    if (this.#numbers.size === 0) this.#clear()
  }

  #ownerOf(entry: number): Slot<Owner> {
    return this.#slotsOfOwners[this.#owners[entry] as number] as Slot<Owner>
  }

  #numberOf(owner: Owner): number {
    const known = this.#numbers.get(owner)
    if (known !== undefined) return known
    const number = this.#slotsOfOwners.push({ owner, isGone: false }) - 1
    this.#numbers.set(owner, number)
    return number
  }

  #clear(): void {
    this.#slots.fill(0)
    this.#size = 0
    this.#slotsOfOwners = []
  }

  /** Keeps what is live; the table doubles where that is more than a half of it. */
  #makeRoom(): void {
    const [words, owners, events, size] = [this.#words, this.#owners, this.#events, this.#size]
    const live = owners.subarray(0, size).reduce((sum, number) => sum + (this.#isLive(number) ? 1 : 0), 0)
    const capacity = this.#slots.length * (live > size / 2 ? 2 : 1)
    const former = this.#slotsOfOwners
    this.#words = new Uint32Array(capacity * LOAD_MAX * ID_WORDS)
    this.#owners = new Uint32Array(capacity * LOAD_MAX)
    this.#events = new Uint32Array(capacity * LOAD_MAX)
    this.#slots = new Uint32Array(capacity)
    this.#size = 0
    this.#slotsOfOwners = []
    this.#numbers.clear()
    const ids = Buffer.from(words.buffer)
    for (let entry = 0; entry < size; entry++) {
      const slot = former[owners[entry] as number] as Slot<Owner>
      if (!slot.isGone) this.add(ids, entry * ID_BYTES, slot.owner, events[entry] as number)
    }
  }

  #isLive(number: number): boolean {
    return this.#slotsOfOwners[number]?.isGone === false
  }
}
