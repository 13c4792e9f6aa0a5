/** Keeps the `max` smallest of all items that it is offered. */
export class Smallest<T> {
  /** In ascending order. */
  readonly items: T[] = []
  readonly #max: number
  readonly #compare: (a: T, b: T) => number

  constructor(max: number, compare: (a: T, b: T) => number) {
    this.#max = max
    this.#compare = compare
  }

  /** Returns whether the item is one of the smallest so far. */
  offer(item: T): boolean {
    let low = 0
    let high = this.items.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#compare(this.items[middle] as T, item) <= 0) low = middle + 1
      else high = middle
    }
    if (low >= this.#max) return false
    this.items.splice(low, 0, item)
    if (this.items.length > this.#max) this.items.pop()
    return true
  }
}

/** Compares by the UTF-8 bytes of the keys: the order in which stores list them. */
export function byKey(a: { key: string }, b: { key: string }): number {
  return Buffer.compare(Buffer.from(a.key), Buffer.from(b.key))
}
