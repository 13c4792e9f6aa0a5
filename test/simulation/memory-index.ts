import type { IdIndex, IdRange, LogPosition } from '../../src/dedupe/id-index.ts'

const ID_BYTES = 16

interface Addition {
  readonly ids: Buffer
  readonly range: IdRange
  readonly position: LogPosition
}

/** The part of an index that is on disk, and outlives its process. */
export interface IndexDisk {
  readonly additions: readonly Addition[]
  readonly remembersFrom: number
}

export const EMPTY_DISK: IndexDisk = { additions: [], remembersFrom: 0 }

export interface IndexLimits {
  /** With more additions than this, the oldest are forgotten if `mayForget` allows it. */
  readonly rangesMax: number
  /** Additions that were stored this long before the newest one are forgotten, folded or not. */
  readonly windowMs: number
  /** Whether the ids of all records up to this one may be forgotten, because they were folded long ago. */
  mayForget(record: number): boolean
}

/** An index in memory. Its disk may lack the last additions, as the contract allows. */
export class MemoryIndex implements IdIndex {
  readonly #rangesMax: number
  readonly #windowMs: number
  readonly #mayForget: (record: number) => boolean
  #additions: Addition[]
  #known = new Map<string, number>()
  #remembersFrom: number
  #position: LogPosition | undefined

  constructor(disk: IndexDisk, { rangesMax, windowMs, mayForget }: IndexLimits) {
    this.#rangesMax = rangesMax
    this.#windowMs = windowMs
    this.#mayForget = mayForget
    this.#additions = [...disk.additions]
    this.#remembersFrom = disk.remembersFrom
    for (const { ids } of this.#additions) this.#count(ids, 1)
    this.#position = this.#additions.at(-1)?.position
  }

  get position(): LogPosition | undefined {
    return this.#position
  }

  get remembersFrom(): number {
    return this.#remembersFrom
  }

  get size(): number {
    return this.#additions.reduce((sum, { ids }) => sum + ids.length / ID_BYTES, 0)
  }

  has(ids: Buffer, at = 0): boolean {
    return this.#known.has(ids.toString('latin1', at, at + ID_BYTES))
  }

  add(ids: Buffer, range: IdRange, position: LogPosition): void {
    this.#additions.push({ ids, range, position })
    this.#position = position
    this.#count(ids, 1)
    this.#forget()
  }

  expect(): void {}

  async remove(ids: Buffer): Promise<void> {
    const removed = new Set(idsOf(ids))
    for (const [n, addition] of this.#additions.entries()) {
      const kept = idsOf(addition.ids).filter(id => !removed.has(id))
      this.#additions[n] = { ...addition, ids: Buffer.from(kept.join(''), 'latin1') }
    }
    for (const id of removed) this.#known.delete(id)
  }

  async ready(): Promise<void> {}

  async reset(begin: number): Promise<void> {
    this.#additions = []
    this.#known.clear()
    this.#remembersFrom = begin
    this.#position = undefined
  }

  async close(): Promise<void> {}

  /** The disk when the process ends. @param lost how many of the last additions it lacks */
  disk(lost = 0): IndexDisk {
    const additions = this.#additions.slice(0, Math.max(0, this.#additions.length - lost))
    return { additions, remembersFrom: this.#remembersFrom }
  }

  #forget(): void {
    const newest = this.#additions.reduce((most, { range }) => Math.max(most, range.storedAt), 0)
    for (;;) {
      const { ids, range } = this.#additions[0] as Addition
      const isOld = range.storedAt < newest - this.#windowMs
      const isTooMuch = this.#additions.length > this.#rangesMax
      if (!isOld && !(isTooMuch && this.#mayForget(range.through))) return
      this.#additions.shift()
      this.#count(ids, -1)
      this.#remembersFrom = Math.max(this.#remembersFrom, range.through + 1)
    }
  }

  #count(ids: Buffer, by: number): void {
    for (const id of idsOf(ids)) {
      const count = (this.#known.get(id) ?? 0) + by
      if (count > 0) this.#known.set(id, count)
      else this.#known.delete(id)
    }
  }
}

function idsOf(ids: Buffer): string[] {
  const found: string[] = []
  for (let at = 0; at < ids.length; at += ID_BYTES) found.push(ids.toString('latin1', at, at + ID_BYTES))
  return found
}
