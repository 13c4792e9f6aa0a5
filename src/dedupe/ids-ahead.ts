import { ID_BYTES } from '../event/message-id.ts'
import { IdBlock, type IdMixer } from './id-mixer.ts'

const AHEAD_IDS = 64

/**
 * Mixes ids ahead of look-ups. Callers look up the ids of a buffer one after another: with one id the next 63 are
 * mixed too, so that their blocks of the filter can be loaded into the cache before they are needed.
 */
export class IdsAhead {
  /** Whether the last `find` has mixed ids ahead. */
  isNew = false
  readonly #block: IdBlock
  #ids: Buffer | undefined
  /** `#ids` as words; undefined if they are not aligned, or were not needed yet. */
  #words: Int32Array | undefined
  /** Where in `#ids` the first id of the block begins, in bytes. */
  #from = 0
  /** Where the last one ends. */
  #end = 0
  /** Where the id of the last call began. */
  #last = Number.NaN

  constructor(mixer: IdMixer) {
    this.#block = new IdBlock(mixer, AHEAD_IDS)
  }

  /** The mixed ids of the last `find`. */
  get mixed(): Uint32Array {
    return this.#block.mixed
  }

  /**
   * Mixes an id, unless an earlier call did.
   *
   * @param at where the id begins in `ids`, in bytes
   * @returns where in `mixed` the id begins, in words
   * @throws RangeError if the buffer ends before the id does
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
    if (at < this.#end && this.#isUnchanged(this.#words, at)) return (at - this.#from) / 4
    this.#take(at, Math.min(at + AHEAD_IDS * ID_BYTES, ids.length - ((ids.length - at) % ID_BYTES)))
    this.isNew = true
    return 0
  }

  #take(from: number, end: number): void {
    this.#from = from
    this.#end = end
    this.#block.take(this.#ids as Buffer, from, end)
  }

  /** Whether the id is the one that was mixed. The caller may have overwritten the buffer with other ids. */
  #isUnchanged(words: Int32Array, at: number): boolean {
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

/** The buffer as words, not copied; undefined if it is not aligned to them. */
function wordsOf(ids: Buffer): Int32Array | undefined {
  if (ids.byteOffset % 4 !== 0) return undefined
  return new Int32Array(ids.buffer, ids.byteOffset, Math.floor(ids.length / 4))
}
