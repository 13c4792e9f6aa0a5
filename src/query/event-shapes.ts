/**
 * Finds the columns of events that have the shape of an event before: a client sends the same members again and again,
 * and only their values differ.
 *
 * A line is cut into literals and values, in turn: `{"event":"`, `page_viewed`, `","count":`, `3`, `}`. A value is the
 * inside of a string, a number, or a truth value. The literals have all else, and `null` where a text column would be.
 * A tree has the literals of each shape on the way from its root to a leaf.
 *
 * A line that matches all literals to a leaf has the names, the depths and the places of values of the line that the
 * leaf was made of. For a value cannot reach into a literal, or a literal into a value: a string ends at its first
 * quote without a backslash, and a number at the first byte that ends it. So what was found of the other line is true
 * of this one: its columns begin and end at the same literals, and no name occurs twice. Only values can differ, so
 * lone surrogates are looked for here, and times have to be looked at by the caller.
 */

import { CLOSE_BRACE, CLOSE_BRACKET, COLON, OPEN_BRACE, OPEN_BRACKET, QUOTE } from '../event/json-bytes.ts'
import { JSON_VALUE, nameHash, targetOf } from './event-columns.ts'
import {
  areEqual,
  closingQuote,
  isScalarStart,
  scalarEnd,
  skipSpaces,
  type Viewed,
  viewOf,
} from './line-bytes.ts'

const NODES_MAX = 16_384
const LITERAL_BYTES_MAX = 512 * 1024
/** Values of one line. */
const VALUES_MAX = 1_024
/** Literals that may follow one value. */
const CHILDREN_MAX = 32
/** After so many lines without a shape, shapes are given up if no more lines had one. */
const MISSES_MIN = 2_000
/** Learning a shape costs as much as is gained by so many lines that have it. */
const HITS_PER_SHAPE = 4
/** Shapes that are learned at once. */
const SHAPES_MIN = 500
const NONE = -1
const ROOT = 0
/** What follows a literal. */
const STRING = 0
/** A number, a truth value or `null`. */
const SCALAR = 1
/** The same in a text column, where `null` is in the literal. */
const NOT_NULL = 2
const END = 3

const LETTER_N = 0x6e

/** Where something begins and ends in a line. */
export interface Span {
  readonly from: number
  readonly to: number
}

/** What is known of a line. */
export interface KnownLine {
  /** By column; undefined: it is missing. */
  readonly columns: readonly (Span | undefined)[]
  /** Where each member of `extra` begins and ends, two numbers each. */
  readonly extra: readonly number[]
}

/** The places of a line, as offsets from its literals. */
export interface Shape {
  /** Five numbers a column: the column, the literal where it begins, an offset, the literal where it ends, an offset. */
  readonly columns: Int32Array
  /** Where each member of `extra` begins and ends: a literal and an offset, twice. */
  readonly extra: Int32Array
}

export class EventShapes {
  /** Where each literal of the last line that matched begins. */
  readonly starts = new Int32Array(VALUES_MAX + 1)
  readonly #literals = Buffer.allocUnsafe(LITERAL_BYTES_MAX)
  readonly #literalView = viewOf(this.#literals)
  #literalBytes = 0
  /** Of each node, its literal. */
  readonly #from = new Int32Array(NODES_MAX)
  readonly #length = new Int32Array(NODES_MAX)
  readonly #next = new Int8Array(NODES_MAX)
  readonly #child = new Int32Array(NODES_MAX).fill(NONE)
  readonly #sibling = new Int32Array(NODES_MAX).fill(NONE)
  #nodes = 1
  /** By leaf. */
  readonly #shapes = new Map<number, Shape>()
  #hits = 0
  #misses = 0

  /** @returns undefined if no line before had this shape */
  match(line: Viewed, start: number, end: number): Shape | undefined {
    if (this.#isGivenUp) return undefined
    const leaf = this.#follow(line, start, end)
    if (leaf === NONE) {
      this.#misses++
      return undefined
    }
    this.#hits++
    return this.#shapes.get(leaf)
  }

  get #isGivenUp(): boolean {
    return this.#misses > MISSES_MIN + this.#hits
  }

  #follow(line: Viewed, start: number, end: number): number {
    const { view } = line
    const starts = this.starts
    let node = ROOT
    let at = start
    for (let index = 0; index <= VALUES_MAX; index++) {
      node = this.#childAt(view, node, at, end)
      if (node === NONE) return NONE
      starts[index] = at
      at += this.#length[node] as number
      const next = this.#next[node]
      if (next === END) return node
      if (next !== STRING) {
        at = scalarEnd(view, at, end)
        continue
      }
      at = closingQuote(line, at, end)
      if (at === -1) return NONE
    }
    return NONE
  }

  /** The child whose literal is at `at`. It becomes the first one. */
  #childAt(view: DataView, node: number, at: number, end: number): number {
    const first = this.#child[node] as number
    let before = NONE
    for (let child = first; child !== NONE; child = this.#sibling[child] as number) {
      if (this.#isAt(view, child, at, end)) {
        if (before !== NONE) {
          this.#sibling[before] = this.#sibling[child] as number
          this.#sibling[child] = first
          this.#child[node] = child
        }
        return child
      }
      before = child
    }
    return NONE
  }

  #isAt(view: DataView, node: number, at: number, end: number): boolean {
    const length = this.#length[node] as number
    const after = at + length
    if (after > end || !areEqual(view, at, this.#literalView, this.#from[node] as number, length))
      return false
    const next = this.#next[node]
    if (next === STRING) return true
    if (next === END) return after === end
    if (after === end) return false
    const byte = view.getUint8(after)
    return isScalarStart(byte) && (next === SCALAR || byte !== LETTER_N)
  }

  /** @param line of well-formed JSON, without equal names in one object and without lone surrogates */
  learn(line: Viewed, start: number, end: number, known: KnownLine): void {
    const isWorthIt = this.#shapes.size < SHAPES_MIN + this.#hits / HITS_PER_SHAPE
    if (this.#isGivenUp || !isWorthIt) return
    const literals = literalsOf(line, start, end)
    if (literals === undefined) return
    let node = ROOT
    for (const literal of literals) {
      const child = this.#childLike(line, node, literal)
      if (child === NONE) return
      node = child
    }
    this.#shapes.set(node, shapeOf(literals, known))
  }

  /** The child with this literal, which is added if there is none. NONE if there is no place for it. */
  #childLike({ bytes, view }: Viewed, node: number, { from, to, next }: Literal): number {
    const length = to - from
    let children = 0
    for (let child = this.#child[node] as number; child !== NONE; child = this.#sibling[child] as number) {
      const isSame =
        this.#length[child] === length &&
        this.#next[child] === next &&
        areEqual(view, from, this.#literalView, this.#from[child] as number, length)
      if (isSame) return child
      children++
    }
    const isFull =
      children >= CHILDREN_MAX || this.#nodes >= NODES_MAX || this.#literalBytes + length > LITERAL_BYTES_MAX
    if (isFull) return NONE
    const added = this.#nodes++
    this.#from[added] = this.#literalBytes
    this.#length[added] = length
    this.#next[added] = next
    this.#sibling[added] = this.#child[node] as number
    this.#child[node] = added
    this.#literalBytes += bytes.copy(this.#literals, this.#literalBytes, from, to)
    return added
  }
}

/** A piece of a line between two values. */
interface Literal extends Span {
  readonly next: typeof STRING | typeof SCALAR | typeof NOT_NULL | typeof END
}

/** Undefined if the line has too many values. */
function literalsOf(line: Viewed, start: number, end: number): Literal[] | undefined {
  const { bytes, view } = line
  const literals: Literal[] = []
  let from = start
  let depth = 0
  /** Of the last string that was a name. */
  let isText = false
  for (let at = start; at < end; ) {
    if (literals.length === VALUES_MAX) return undefined
    const byte = bytes[at] as number
    if (byte === QUOTE) {
      const to = closingQuote(line, at + 1, end)
      if (bytes[skipSpaces(bytes, to + 1)] === COLON) {
        const target = targetOf(bytes, at + 1, to, nameHash(bytes, at + 1, to))
        isText = depth === 1 && target !== undefined && target.kind !== JSON_VALUE
      } else {
        literals.push({ from, to: at + 1, next: STRING })
        from = to
      }
      at = to + 1
    } else if (isScalarStart(byte)) {
      const to = scalarEnd(view, at, end)
      const isOfText = isText && depth === 1
      // A column that is NULL is not one with a text.
      if (!(byte === LETTER_N && isOfText)) {
        literals.push({ from, to: at, next: isOfText ? NOT_NULL : SCALAR })
        from = to
      }
      at = to
    } else {
      if (byte === OPEN_BRACE || byte === OPEN_BRACKET) depth++
      else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) depth--
      at++
    }
  }
  literals.push({ from, to: end, next: END })
  return literals
}

function shapeOf(literals: readonly Literal[], { columns, extra }: KnownLine): Shape {
  return {
    columns: Int32Array.from(
      columns.flatMap((span, column) =>
        span === undefined
          ? []
          : [column, ...placeOf(literals, span.from, true), ...placeOf(literals, span.to, false)],
      ),
    ),
    extra: Int32Array.from(extra.flatMap((at, index) => placeOf(literals, at, index % 2 === 0))),
  }
}

/** The literal that has a place, and how far behind its start. */
function placeOf(literals: readonly Literal[], at: number, isStart: boolean): [number, number] {
  const has = ({ from, to }: Literal): boolean => from <= at && at <= to
  // An empty text is between two literals: it begins at the end of one, and ends at the start of the next.
  const index = isStart ? literals.findIndex(has) : literals.findLastIndex(has)
  return [index, at - (literals[index] as Literal).from]
}
