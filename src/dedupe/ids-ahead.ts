import { ID_BYTES } from '../event/message-id.ts'
import { IdBlock, type IdMixer } from './id-mixer.ts'

const AHEAD_IDS = 64

/**
 * Mixed forms of ids that are asked for one after another, and of some that will be asked for next, so that
 * what says of them can be loaded before it is needed.
 */
export class IdsAhead {
  /** Whether the last `find` has mixed more than it was asked for. */
  isNew = false
  readonly #block: IdBlock
  #ids: Buffer | undefined
  /** The words of `#ids`, where they can be read as such. */
  #words: Int32Array | undefined
  /** Where in `#ids` the first id of the block begins, and the last one ends. */
  #from = 0
  #end = 0
  #last = Number.NaN

  constructor(mixer: IdMixer) {
    this.#block = new IdBlock(mixer, AHEAD_IDS)
  }

  get mixed(): Uint32Array {
    return this.#block.mixed
  }

  /**
   * @returns where in `mixed` the id begins, in words
   * @throws RangeError where the buffer ends before the id
   */
  find(ids: Buffer, at: number): number {
    if (at + ID_BYTES > ids.length) throw new RangeError(`There is no id at ${at} of ${ids.length} bytes.`)
    this.isNew = false
    const isNext = ids === this.#ids && at === this.#last + ID_BYTES
    this.#last = at
    if (ids !== this.#ids) this.#words = undefined
    this.#ids = ids
    if (isNext) this.#words ??= wordsOf(ids)
    if (!isNext || this.#words === undefined || at % 4 !== 0) {
      this.#take(at, at + ID_BYTES)
      return 0
    }
    if (at < this.#end && this.#isAsItWas(this.#words, at)) return (at - this.#from) / 4
    this.#take(at, Math.min(at + AHEAD_IDS * ID_BYTES, ids.length - ((ids.length - at) % ID_BYTES)))
    this.isNew = true
    return 0
  }

  #take(from: number, end: number): void {
    this.#from = from
    this.#end = end
    this.#block.take(this.#ids as Buffer, from, end)
  }

  /** The buffer may be used again for other ids. */
  #isAsItWas(words: Int32Array, at: number): boolean {
    const { plain } = this.#block
    const word = (at - this.#from) / 4
    const own = at / 4
    return (
      plain[word] === words[own] &&
      plain[word + 1] === words[own + 1] &&
      plain[word + 2] === words[own + 2] &&
      plain[word + 3] === words[own + 3]
    )
  }
}

/** Undefined where the buffer does not begin at a whole word of its memory. */
function wordsOf(ids: Buffer): Int32Array | undefined {
  if (ids.byteOffset % 4 !== 0) return undefined
  return new Int32Array(ids.buffer, ids.byteOffset, Math.floor(ids.length / 4))
}
