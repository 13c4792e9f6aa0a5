import type { IdIndex, IdRange, LogPosition } from '../dedupe/id-index.ts'

/** The index of a process that archives nothing and looks no id up: it knows how far the log was read, and has no ids. */
export class PositionOnlyIndex implements IdIndex {
  readonly size = 0
  #position: LogPosition | undefined
  #begin = 0

  get position(): LogPosition | undefined {
    return this.#position
  }

  get remembersFrom(): number {
    return this.#position === undefined ? this.#begin : this.#position.number + 1
  }

  has(): boolean {
    throw new Error('No id can be looked up in an index that has none.')
  }

  add(_ids: Buffer, _range: IdRange, position: LogPosition): void {
    this.#position = position
  }

  expect(): void {}

  async remove(): Promise<void> {}

  async ready(): Promise<void> {}

  async reset(begin: number): Promise<void> {
    this.#position = undefined
    this.#begin = begin
  }

  async close(): Promise<void> {}
}
