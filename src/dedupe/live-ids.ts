import { ID_BYTES } from '../event/message-id.ts'
import { ID_WORDS, slotOf, writeWords } from './id-slots.ts'

const CAPACITY_MIN = 4096
const LOAD_MAX = 0.5

/** Where an id is: in which batch, and which of the batch's events has it. */
export interface Place<Owner> {
  readonly owner: Owner
  /** Counted from 0. */
  readonly event: number
}

interface OwnerState<Owner> {
  readonly owner: Owner
  isRemoved: boolean
}

/**
 * The ids of the batches that this process has begun, and whose objects are not in the store yet: an open-addressing
 * table of indexes into one buffer. The owner of an id is its batch. An owner is removed with all its ids at once. The
 * entries of removed owners stay in the table until it is full.
 */
export class LiveIds<Owner extends object> {
  #words = new Uint32Array(CAPACITY_MIN * LOAD_MAX * ID_WORDS)
  /** For each entry the number of its owner. */
  #owners = new Uint32Array(CAPACITY_MIN * LOAD_MAX)
  /** For each entry which event of the owner has the id. */
  #events = new Uint32Array(CAPACITY_MIN * LOAD_MAX)
  /** For each slot the index of an entry, counted from 1; 0 if the slot is free. The capacity is a power of two. */
  #slots = new Uint32Array(CAPACITY_MIN)
  #size = 0
  /** By the number of the owner. */
  #ownerStates: OwnerState<Owner>[] = []
  readonly #numbers = new Map<Owner, number>()

  /** All owners that have ids here. */
  get owners(): Iterable<Owner> {
    return this.#numbers.keys()
  }

  /** Returns undefined if no owner has the id. @param at where the id begins in `ids`, in bytes */
  find(ids: Buffer, at: number): Place<Owner> | undefined {
    const index = this.#slots[slotOf(this.#slots, this.#words, ids, at)] as number
    if (index === 0) return undefined
    const { owner, isRemoved } = this.#stateOf(index - 1)
    return isRemoved ? undefined : { owner, event: this.#events[index - 1] as number }
  }

  has(ids: Buffer, at: number): boolean {
    const index = this.#slots[slotOf(this.#slots, this.#words, ids, at)] as number
    return index !== 0 && !this.#stateOf(index - 1).isRemoved
  }

  /** Adds an id that no owner has. @param at where the id begins in `ids`, in bytes */
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

  /** Removes all ids of an owner. */
  remove(owner: Owner): void {
    const number = this.#numbers.get(owner)
    if (number === undefined) return
    this.#numbers.delete(owner)
    ;(this.#ownerStates[number] as OwnerState<Owner>).isRemoved = true
    if (this.#numbers.size === 0) this.#clear()
  }

  #stateOf(entry: number): OwnerState<Owner> {
    return this.#ownerStates[this.#owners[entry] as number] as OwnerState<Owner>
  }

  #numberOf(owner: Owner): number {
    const known = this.#numbers.get(owner)
    if (known !== undefined) return known
    const number = this.#ownerStates.push({ owner, isRemoved: false }) - 1
    this.#numbers.set(owner, number)
    return number
  }

  #clear(): void {
    this.#slots.fill(0)
    this.#size = 0
    this.#ownerStates = []
  }

  /** Drops the entries of removed owners. If the others are more than half of all entries, the table is doubled. */
  #makeRoom(): void {
    const [words, owners, events, size] = [this.#words, this.#owners, this.#events, this.#size]
    const live = owners.subarray(0, size).reduce((sum, number) => sum + (this.#isLive(number) ? 1 : 0), 0)
    const capacity = this.#slots.length * (live > size / 2 ? 2 : 1)
    const former = this.#ownerStates
    this.#words = new Uint32Array(capacity * LOAD_MAX * ID_WORDS)
    this.#owners = new Uint32Array(capacity * LOAD_MAX)
    this.#events = new Uint32Array(capacity * LOAD_MAX)
    this.#slots = new Uint32Array(capacity)
    this.#size = 0
    this.#ownerStates = []
    this.#numbers.clear()
    const ids = Buffer.from(words.buffer)
    for (let entry = 0; entry < size; entry++) {
      const { owner, isRemoved } = former[owners[entry] as number] as OwnerState<Owner>
      if (!isRemoved) this.add(ids, entry * ID_BYTES, owner, events[entry] as number)
    }
  }

  #isLive(number: number): boolean {
    return this.#ownerStates[number]?.isRemoved === false
  }
}
