import type { ScratchFile } from './scratch-file.ts'

/** Texts of a block. The last block is in memory, the earlier ones are on disk. */
const BLOCK_TEXTS = 16_384

/** A list of texts that only grows. Its memory is bounded. */
export class TextList {
  readonly #scratch: ScratchFile
  readonly #blocks: { position: number; length: number }[] = []
  #last: string[] = []

  constructor(scratch: ScratchFile) {
    this.#scratch = scratch
  }

  get length(): number {
    return this.#blocks.length * BLOCK_TEXTS + this.#last.length
  }

  /** Adds a text. Returns its index. */
  add(text: string): number {
    const index = this.length
    this.#last.push(text)
    if (this.#last.length === BLOCK_TEXTS) {
      const bytes = Buffer.from(JSON.stringify(this.#last))
      this.#blocks.push({ position: this.#scratch.append(bytes), length: bytes.length })
      this.#last = []
    }
    return index
  }

  at(index: number): string {
    const block = this.#blocks[Math.floor(index / BLOCK_TEXTS)]
    const texts = block === undefined ? this.#last : JSON.parse(this.#read(block))
    return texts[index % BLOCK_TEXTS]
  }

  *[Symbol.iterator](): Iterator<string> {
    for (const block of this.#blocks) yield* JSON.parse(this.#read(block)) as string[]
    yield* this.#last
  }

  #read({ position, length }: { position: number; length: number }): string {
    return this.#scratch.read(position, length).toString()
  }
}
