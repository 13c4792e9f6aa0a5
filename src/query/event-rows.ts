/**
 * Cuts archived events into columns, in their bytes: a string or an object of the event is copied as it is written
 * there, so that no number is rounded and nothing is parsed that need not be. Where the columns are is found by walking
 * through the event, or is known from another event of the same shape (event-shapes.ts).
 *
 * A row has a dot and the fields of `COLUMNS`, separated by `SEPARATOR`, and ends in a line feed. Neither byte can
 * occur inside a JSON value on one line (RFC 8259, section 7: control characters are escaped in strings). A missing
 * value is an empty field. Text fields hold the inside of a JSON string, with its escapes; an empty string is a single
 * backslash.
 */

import {
  BACKSLASH,
  CLOSE_BRACE,
  CLOSE_BRACKET,
  COLON,
  COMMA,
  LINE_FEED,
  OPEN_BRACE,
  OPEN_BRACKET,
  QUOTE,
} from '../event/json-bytes.ts'
import {
  COLUMNS,
  fieldOf,
  IDENTITY_COLUMNS,
  isInexact,
  isNameOtherwise,
  isPlainTime,
  isSpelledOtherwise,
  JSON_VALUE,
  KEPT_AS_TEXT,
  nameHash,
  TARGETS,
  TIME,
  TIME_COLUMNS,
  TYPE_COLUMN,
  targetOf,
} from './event-columns.ts'
import { EventShapes, type KnownLine, type Shape } from './event-shapes.ts'
import { exactJson, membersByName, wellFormedJson } from './exact-json.ts'
import {
  allocated,
  copyBytes,
  escapeEnd,
  quoteOrBackslash,
  scalarEnd,
  skipSpaces,
  type Viewed,
  viewOf,
} from './line-bytes.ts'

/** Stands between the fields of a row. */
export const SEPARATOR = '\x1f'
const SEPARATOR_BYTE = 0x1f

const LETTER_N = 0x6e

/** Begins each row: a text with a byte order mark at the start of a file would lose it. */
const ROW_START = 0x2e
const EXTRA = COLUMNS.indexOf('extra')
const RAW = COLUMNS.indexOf('raw')
const NOWHERE = -1
/** Names of one object that are compared with each other. A larger object is slower, and its event is in `raw` too. */
const NAMES_MAX = 512
/** How deep the fast walk follows. */
const WALKED_DEPTH_MAX = 250
const OUT_BYTES_MIN = 1024 * 1024
/** Buffers that have grown for long events are not kept. */
const SPARE_BYTES_MAX = 8 * OUT_BYTES_MIN
const SPARES_MAX = 4

/** Collects the rows of events. */
export class EventRows {
  #out: Viewed = allocated(OUT_BYTES_MIN)
  #line: Viewed = { bytes: Buffer.alloc(0), view: viewOf(Buffer.alloc(0)) }
  readonly #shapes = new EventShapes()
  /** Buffers that were given back. */
  readonly #spare: Viewed[] = []
  #length = 0
  /** Rows that were added. */
  count = 0
  /** Of these, rows of events with the shape of an event before. */
  knownCount = 0
  /** Length of the longest row, in bytes. */
  longest = 0
  /** Where the value of each column begins and ends; NOWHERE for one that is missing. */
  readonly #from = new Int32Array(COLUMNS.length)
  readonly #to = new Int32Array(COLUMNS.length)
  /** Where the name of its member begins. */
  readonly #names = new Int32Array(COLUMNS.length)
  /** Fields that are not copied from the line: times in another form. */
  readonly #fields: (string | undefined)[] = COLUMNS.map(() => undefined)
  #hasFields = false
  /** A bit for each column whose member is in `#extra`. */
  #inExtra = 0
  /** Members that their column does not hold as they were sent, or that have none: where they begin and end. */
  readonly #extra: number[] = []
  /** Hashes of the names of all objects that are open, the innermost last. */
  readonly #hashes = new Int32Array(4096)
  readonly #bases = new Int32Array(WALKED_DEPTH_MAX + 1)
  #hashCount = 0
  /** Of the last string. */
  #hasEscape = false
  /** The line needs a closer look: see `#addOdd`. */
  #isOdd = false

  /** The rows since the last call. `giveBack` makes their memory free for others. */
  take(): Buffer {
    const rows = this.#out.bytes.subarray(0, this.#length)
    this.#out = this.#spare.pop() ?? allocated(OUT_BYTES_MIN)
    this.#length = 0
    return rows
  }

  /** @param rows that `take` returned, and that nobody reads any more */
  giveBack(rows: Buffer): void {
    const spare = Buffer.from(rows.buffer, rows.byteOffset)
    if (this.#spare.length < SPARES_MAX && spare.length <= SPARE_BYTES_MAX)
      this.#spare.push({ bytes: spare, view: viewOf(spare) })
  }

  get bytes(): number {
    return this.#length
  }

  /**
   * Adds the event that is written from `start` to `end`, on one line without carriage returns.
   *
   * @throws SyntaxError if it is not a JSON object
   */
  add(bytes: Buffer, start: number, end: number): void {
    if (bytes !== this.#line.bytes) this.#line = { bytes, view: viewOf(bytes) }
    const before = this.#length
    this.#from.fill(NOWHERE)
    this.#extra.length = 0
    if (this.#hasFields) this.#fields.fill(undefined)
    this.#hasFields = false
    const shape = this.#shapes.match(this.#line, start, end)
    if (shape !== undefined) this.#placeAll(shape)
    if (shape !== undefined && this.#hasPlainTimes(bytes)) {
      this.#write(start, end)
      this.knownCount++
    } else this.#addUnknown(bytes, start, end)
    this.count++
    this.longest = Math.max(this.longest, this.#length - before)
  }

  #placeAll({ columns, extra }: Shape): void {
    const starts = this.#shapes.starts
    for (let index = 0; index < columns.length; index += 5) {
      const column = columns[index] as number
      this.#from[column] = (starts[columns[index + 1] as number] as number) + (columns[index + 2] as number)
      this.#to[column] = (starts[columns[index + 3] as number] as number) + (columns[index + 4] as number)
    }
    for (let index = 0; index < extra.length; index += 2)
      this.#extra.push((starts[extra[index] as number] as number) + (extra[index + 1] as number))
  }

  #hasPlainTimes(bytes: Buffer): boolean {
    for (const column of TIME_COLUMNS) {
      const from = this.#from[column] as number
      if (from !== NOWHERE && !isPlainTime(bytes, from, this.#to[column] as number)) return false
    }
    return true
  }

  #addUnknown(bytes: Buffer, start: number, end: number): void {
    this.#from.fill(NOWHERE)
    this.#extra.length = 0
    this.#hashCount = 0
    this.#isOdd = false
    this.#inExtra = 0
    this.#walk(bytes, start, end)
    if (this.#isOdd) {
      this.#addOdd(bytes.toString('utf8', start, end))
      return
    }
    this.#keepSpelling(bytes)
    // A field is of this line alone.
    if (!this.#hasFields) this.#shapes.learn(this.#line, start, end, this.#known())
    this.#write(start, end)
  }

  #known(): KnownLine {
    const columns = COLUMNS.map((_, column) => {
      const from = this.#from[column] as number
      return from === NOWHERE ? undefined : { from, to: this.#to[column] as number }
    })
    return { columns, extra: this.#extra }
  }

  #walk(bytes: Buffer, start: number, end: number): void {
    let at = skipSpaces(bytes, start)
    if (bytes[at] !== OPEN_BRACE) throw new SyntaxError('an archived line is not a JSON object')
    at = skipSpaces(bytes, at + 1)
    while (bytes[at] !== CLOSE_BRACE) {
      if (at >= end) throw new SyntaxError('an archived line is cut short')
      if (bytes[at] === COMMA) at = skipSpaces(bytes, at + 1)
      const nameStart = at + 1
      at = this.#stringEnd(bytes, at, end)
      const nameEnd = at - 1
      const hash = this.#noteName(bytes, nameStart, nameEnd, 0)
      at = skipSpaces(bytes, skipSpaces(bytes, at) + 1)
      const valueStart = at
      at = this.#valueEnd(bytes, at, end)
      if (this.#isOdd) return
      this.#place(bytes, nameStart, nameEnd, hash, valueStart, at)
      at = skipSpaces(bytes, at)
    }
  }

  #place(
    bytes: Buffer,
    nameStart: number,
    nameEnd: number,
    hash: number,
    valueStart: number,
    valueEnd: number,
  ): void {
    const target = targetOf(bytes, nameStart, nameEnd, hash)
    if (target === undefined) {
      this.#extra.push(nameStart - 1, valueEnd)
      return
    }
    const { column, kind } = target
    const first = bytes[valueStart]
    if (kind !== JSON_VALUE && first === LETTER_N) {
      this.#extra.push(nameStart - 1, valueEnd)
      return
    }
    if (this.#from[column] !== NOWHERE) {
      this.#isOdd = true
      return
    }
    this.#names[column] = nameStart
    this.#from[column] = valueStart
    this.#to[column] = valueEnd
    if (kind === JSON_VALUE) return
    if (first === QUOTE && (kind !== TIME || isPlainTime(bytes, valueStart + 1, valueEnd - 1))) {
      this.#from[column] = valueStart + 1
      this.#to[column] = valueEnd - 1
    } else if (KEPT_AS_TEXT.has(column) || first === OPEN_BRACE || first === OPEN_BRACKET) {
      this.#isOdd = true
    } else {
      if (kind === TIME) {
        this.#fields[column] = fieldOf(TIME, bytes.toString('utf8', valueStart, valueEnd))
        this.#hasFields = true
      }
      this.#extra.push(nameStart - 1, valueEnd)
      this.#inExtra |= 1 << column
    }
  }

  #write(start: number, end: number): void {
    this.#reserve(3 * (end - start) + 4 * COLUMNS.length + 2)
    const line = this.#line
    const from = this.#from
    const to = this.#to
    const out = this.#out
    const { bytes } = out
    let length = this.#length
    bytes[length++] = ROW_START
    bytes[length++] = SEPARATOR_BYTE
    for (let column = 0; column < EXTRA; column++) {
      const first = from[column] as number
      const field = this.#fields[column]
      if (field !== undefined) length += bytes.write(field, length, 'latin1')
      else if (first !== NOWHERE) {
        const last = to[column] as number
        if (first === last) bytes[length++] = BACKSLASH
        else length = copyBytes(line, first, last, out, length)
      }
      bytes[length++] = SEPARATOR_BYTE
    }
    const extra = this.#extra
    if (extra.length > 0) {
      for (let index = 0; index < extra.length; index += 2) {
        bytes[length++] = index === 0 ? OPEN_BRACE : COMMA
        length = copyBytes(line, extra[index] as number, extra[index + 1] as number, out, length)
      }
      bytes[length++] = CLOSE_BRACE
    }
    bytes[length++] = SEPARATOR_BYTE
    bytes[length++] = LINE_FEED
    this.#length = length
  }

  /** Adds the members that are spelled otherwise to `extra`, so that the row tells how they are spelled. */
  #keepSpelling(bytes: Buffer): void {
    const hasType = this.#from[TYPE_COLUMN] !== NOWHERE
    for (const column of IDENTITY_COLUMNS) {
      if (this.#from[column] === NOWHERE || (this.#inExtra & (1 << column)) !== 0) continue
      const nameStart = this.#names[column] as number
      if (isSpelledOtherwise(bytes, nameStart, column, hasType))
        this.#extra.push(nameStart - 1, (this.#to[column] as number) + 1)
    }
  }

  /** Adds an event that cannot be copied column by column. All of its members are looked at one by one. */
  #addOdd(line: string): void {
    const fields: string[] = COLUMNS.map(() => '')
    const taken = new Set<number>()
    const extra: string[] = []
    const members = membersByName(line)
    const hasType = (members.get('type') ?? 'null') !== 'null'
    for (const [name, json] of members) {
      const target = TARGETS.get(name)
      const isFirst = target !== undefined && !taken.has(target.column)
      if (isFirst) {
        if (target.kind === JSON_VALUE || json !== 'null') taken.add(target.column)
        fields[target.column] = fieldOf(target.kind, json)
      }
      if (
        !isFirst ||
        isInexact(target, json) ||
        (fields[target.column] !== '' && isNameOtherwise(name, target.column, hasType))
      )
        extra.push(`${wellFormedJson(name)}:${exactJson(json)}`)
    }
    if (extra.length > 0) fields[EXTRA] = `{${extra.join(',')}}`
    fields[RAW] = line
    const row = `.${['', ...fields].join(SEPARATOR)}\n`
    this.#reserve(3 * row.length)
    this.#length += this.#out.bytes.write(row, this.#length)
  }

  #reserve(bytes: number): void {
    if (this.#length + bytes <= this.#out.bytes.length) return
    const larger = allocated(2 * (this.#length + bytes))
    this.#out.bytes.copy(larger.bytes, 0, 0, this.#length)
    this.#out = larger
  }

  /** The index behind the string that opens at `start`. */
  #stringEnd(bytes: Buffer, start: number, end: number): number {
    this.#hasEscape = false
    const { view } = this.#line
    for (let at = quoteOrBackslash(view, start + 1, end); at < end; at = quoteOrBackslash(view, at, end)) {
      if (bytes[at] === QUOTE) return at + 1
      this.#hasEscape = true
      const after = escapeEnd(bytes, at)
      if (after === -1) this.#isOdd = true
      at = after === -1 ? at + 2 : after
    }
    throw new SyntaxError('an archived line is cut short')
  }

  /** The index behind the value that begins at `start`. */
  #valueEnd(bytes: Buffer, start: number, end: number): number {
    let at = start
    let depth = 0
    let stringStart = 0
    let stringEnd = 0
    for (;;) {
      if (at >= end) throw new SyntaxError('an archived line is cut short')
      const byte = bytes[at] as number
      if (byte === QUOTE) {
        stringStart = at + 1
        at = this.#stringEnd(bytes, at, end)
        stringEnd = at - 1
        if (depth === 0) return at
        continue
      }
      at++
      if (byte === COLON) this.#noteName(bytes, stringStart, stringEnd, this.#bases[depth] as number)
      else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
        depth++
        if (depth > WALKED_DEPTH_MAX) {
          this.#isOdd = true
          return end
        }
        this.#bases[depth] = this.#hashCount
      } else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
        this.#hashCount = this.#bases[depth] as number
        if (--depth === 0) return at
      } else if (depth === 0) {
        return scalarEnd(this.#line.view, at, end)
      }
    }
  }

  /**
   * Compares a name, the last string that was walked, with those of its object, whose hashes begin at `base`.
   *
   * @returns the hash of the name
   */
  #noteName(bytes: Buffer, start: number, end: number, base: number): number {
    if (this.#hasEscape) this.#isOdd = true
    const hash = nameHash(bytes, start, end)
    const hashes = this.#hashes
    const count = this.#hashCount
    for (let index = base; index < count; index++) if (hashes[index] === hash) this.#isOdd = true
    if (count - base >= NAMES_MAX || count === hashes.length) this.#isOdd = true
    else hashes[this.#hashCount++] = hash
    return hash
  }
}
