/**
 * Edits the top level of a JSON object in its bytes. Bytes that are not edited stay the same: numbers keep their
 * digits, and members their order.
 *
 * Every function here expects bytes that `JSON.parse` has accepted as an object. The syntax is not checked again.
 */

import {
  BACKSLASH,
  CARRIAGE_RETURN,
  CLOSE_BRACE,
  CLOSE_BRACKET,
  COLON,
  COMMA,
  LINE_FEED,
  OPEN_BRACE,
  OPEN_BRACKET,
  QUOTE,
  SPACE,
} from './json-bytes.ts'
import { NameSet } from './name-set.ts'

const LINE_BREAKS = /[\n\r]/g
const NULL_OR_EMPTY_ARRAY = /^(null|\[\s*\])\s*$/
/** Bytes of a value that are tested against NULL_OR_EMPTY_ARRAY. */
const TESTED_BYTES_MAX = 64

/** The index just after the string that opens at `start`. */
function stringEnd(json: Buffer, start: number): number {
  for (let at = start + 1; ; at++) {
    if (json[at] === BACKSLASH) at++
    else if (json[at] === QUOTE) return at + 1
  }
}

/** The index of the comma or brace that ends the member which begins at `start`. */
function memberEnd(json: Buffer, start: number): number {
  let depth = 0
  for (let at = start; ; at++) {
    const byte = json[at]
    if (byte === QUOTE) at = stringEnd(json, at) - 1
    else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) depth++
    else if (depth > 0 && (byte === CLOSE_BRACE || byte === CLOSE_BRACKET)) depth--
    else if (depth === 0 && (byte === COMMA || byte === CLOSE_BRACE)) return at
  }
}

function nameOf(json: Buffer, memberStart: number): string {
  const start = json.indexOf(QUOTE, memberStart)
  const end = stringEnd(json, start)
  const name = json.toString('utf8', start + 1, end - 1)
  return name.includes('\\') ? JSON.parse(`"${name}"`) : name
}

/** The index of the value of the top-level member `name`, or -1. If the name is repeated, the last one counts. */
export function valueStart(json: Buffer, name: string): number {
  let found = -1
  for (const [start] of membersOf(json)) {
    if (nameOf(json, start) === name) found = memberValueStart(json, start)
  }
  return found
}

/** `end`, moved back over the spaces before it. */
function trimmedEnd(json: Buffer, end: number): number {
  let trimmed = end
  while (isSpace(json[trimmed - 1] as number)) trimmed--
  return trimmed
}

function memberValueStart(json: Buffer, memberStart: number): number {
  let at = json.indexOf(COLON, stringEnd(json, json.indexOf(QUOTE, memberStart))) + 1
  while (isSpace(json[at] as number)) at++
  return at
}

/** The bytes of the value of the top-level member `name`. If the name is repeated, the last one counts. */
export function memberValue(json: Buffer, name: string): Buffer | undefined {
  return memberValues(json, [name])[0]
}

/**
 * Whether a top-level member with one of these names has a value for which `is` holds. Makes no strings.
 *
 * @param is called with the index of the set that has the name
 */
export function someMember(
  json: Buffer,
  sets: readonly NameSet[],
  is: (set: number, value: Buffer) => boolean,
): boolean {
  let start = json.indexOf(OPEN_BRACE) + 1
  while (json[start - 1] !== CLOSE_BRACE) {
    while (isSpace(json[start] as number)) start++
    if (json[start] === CLOSE_BRACE) return false
    const nameEnd = stringEnd(json, start)
    const end = memberEnd(json, nameEnd)
    for (const [set, names] of sets.entries()) {
      if (!names.has(json, start + 1, nameEnd - 1)) continue
      if (is(set, json.subarray(memberValueStart(json, start), trimmedEnd(json, end)))) return true
    }
    start = end + 1
  }
  return false
}

/** `memberValue` for several names in one pass, in the order of `names`. */
export function memberValues(json: Buffer, names: readonly string[]): (Buffer | undefined)[] {
  const values: (Buffer | undefined)[] = names.map(() => undefined)
  for (const [start, end] of membersOf(json)) {
    const index = names.indexOf(nameOf(json, start))
    if (index !== -1) values[index] = json.subarray(memberValueStart(json, start), trimmedEnd(json, end))
  }
  return values
}

/**
 * Merges two objects: the members of `own`, then the members of `base` whose names are not in `ownNames`.
 *
 * @returns the inside of the merged object, without its braces
 */
export function joinedMembers(own: Buffer, ownNames: readonly string[], base: Buffer): string {
  const lacking = ownNames.length === 0 ? base : withoutMembers(base, ownNames)
  const parts = [insideOf(own), insideOf(lacking)].filter(part => part !== '')
  return parts.join(',')
}

/** Replaces line breaks by spaces. In valid JSON a line break is always between tokens, so the meaning is the same. */
export function onOneLine(json: string): string {
  return json.replace(LINE_BREAKS, ' ')
}

function insideOf(json: Buffer): string {
  return json.toString('utf8', json.indexOf(OPEN_BRACE) + 1, json.lastIndexOf(CLOSE_BRACE)).trim()
}

/**
 * The bounds of the elements of the array that opens at `start`.
 *
 * @returns two indexes for each element, its start and its end, in one list. Spaces around an element may be included.
 */
export function elementBounds(json: Buffer, start: number): number[] {
  const bounds: number[] = []
  let depth = 0
  let elementStart = start + 1
  let isEmpty = true
  for (let at = start + 1; ; at++) {
    const byte = json[at] as number
    if (byte === QUOTE) {
      at = stringEnd(json, at) - 1
      isEmpty = false
    } else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
      depth++
      isEmpty = false
    } else if (depth > 0) {
      if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) depth--
    } else if (byte === COMMA || byte === CLOSE_BRACKET) {
      if (!isEmpty) bounds.push(elementStart, at)
      if (byte === CLOSE_BRACKET) return bounds
      elementStart = at + 1
      isEmpty = true
    } else if (!isSpace(byte)) {
      isEmpty = false
    }
  }
}

/** The edits of an object's top level. */
export interface ObjectEdit {
  /** Names of members to remove, also if a name is repeated, or written with escapes. */
  readonly without?: NameSet
  readonly nested?: NestedMember | undefined
  /** Members to add at the end, on one line, without braces: `"a":1,"b":2`. */
  readonly members?: string
}

/** An edit of one member `name` in the object that is the top-level member `parent`. */
export interface NestedMember {
  /**
   * Exactly one name. A missing parent is added. `null` and `[]` (PHP's empty object) are replaced by an object. A
   * parent of another type is not changed.
   */
  readonly parent: NameSet
  readonly parentName: string
  readonly name: NameSet
  /** `"name":value`; undefined to remove the member. */
  readonly member: string | undefined
}

const NOTHING = new NameSet([])

/** Applies the edits. @returns a new object on one line */
export function edited(json: Buffer, { without = NOTHING, nested, members = '' }: ObjectEdit): Buffer {
  const writer = new ObjectWriter(json, Buffer.byteLength(members))
  let hasParent = false
  for (let memberStart = json.indexOf(OPEN_BRACE) + 1; ; ) {
    let start = memberStart
    while (isSpace(json[start] as number)) start++
    if (json[start] === CLOSE_BRACE) break
    const nameEnd = stringEnd(json, start)
    const end = memberEnd(json, nameEnd)
    const isParent = nested?.parent.has(json, start + 1, nameEnd - 1) === true
    hasParent ||= isParent
    if (!without.has(json, start + 1, nameEnd - 1)) {
      const valueAt = isParent ? memberValueStart(json, start) : end
      const value = isParent ? withInner(json.subarray(valueAt, end), nested) : undefined
      if (value === undefined) writer.keep(memberStart, end)
      else writer.replaceValue(memberStart, valueAt, end, value)
    }
    if (json[end] === CLOSE_BRACE) break
    memberStart = end + 1
  }
  const isAdded = nested?.member !== undefined && !hasParent
  const added = isAdded ? `"${nested.parentName}":{${nested.member}}` : ''
  return writer.end(added !== '' && members !== '' ? `${added},${members}` : added + members)
}

/** @returns the new value of the parent; undefined if it is not changed */
function withInner(value: Buffer, { name, member }: NestedMember): Buffer | undefined {
  if (value[0] === OPEN_BRACE)
    return edited(value, { without: name, ...(member !== undefined && { members: member }) })
  return member !== undefined && NULL_OR_EMPTY_ARRAY.test(value.toString('latin1', 0, TESTED_BYTES_MAX))
    ? Buffer.from(`{${member}}`)
    : undefined
}

/** Copies members of one object into a new one. Adjacent members are copied in one piece. */
class ObjectWriter {
  readonly #json: Buffer
  #out: Buffer
  #length = 1
  /** The members still to be copied: from the start of the first to the end of the last. Nothing if `#to` is 0. */
  #from = 0
  #to = 0

  constructor(json: Buffer, added: number) {
    this.#json = json
    this.#out = Buffer.allocUnsafe(json.length + added + 2)
    this.#out[0] = OPEN_BRACE
  }

  keep(start: number, end: number): void {
    if (this.#to > 0 && this.#isNext(start)) this.#to = end
    else {
      this.#flush()
      this.#from = start
      this.#to = end
    }
  }

  /** Keeps the member, but writes `value` in place of its bytes from `valueAt` to `end`. */
  replaceValue(start: number, valueAt: number, end: number, value: Buffer): void {
    this.keep(start, valueAt)
    this.#flush()
    this.#reserve(value.length + this.#json.length - end)
    this.#length += value.copy(this.#out, this.#length)
  }

  /** @returns the object: the kept members, then `members` */
  end(members: string): Buffer {
    this.#flush()
    const out = this.#out
    while (isSpace(out[this.#length - 1] as number)) this.#length--
    const tail = `${this.#length === 1 || members === '' ? '' : ','}${members}}`
    this.#reserve(Buffer.byteLength(tail))
    const copied = this.#length
    const length = copied + this.#out.write(tail, copied)
    return putOnOneLine(this.#out, copied).subarray(0, length)
  }

  /** Whether only a comma and spaces are between the last kept member and this one. */
  #isNext(start: number): boolean {
    for (let at = this.#to; at < start; at++) {
      const byte = this.#json[at] as number
      if (byte !== COMMA && !isSpace(byte)) return false
    }
    return true
  }

  #flush(): void {
    if (this.#to === 0) return
    if (this.#length > 1) this.#out[this.#length++] = COMMA
    this.#length += this.#json.copy(this.#out, this.#length, this.#from, this.#to)
    this.#to = 0
  }

  #reserve(bytes: number): void {
    if (this.#length + bytes + 2 <= this.#out.length) return
    const larger = Buffer.allocUnsafe(2 * (this.#length + bytes + 2))
    this.#out.copy(larger, 0, 0, this.#length)
    this.#out = larger
  }
}

/** The object without the top-level members of these names, on one line. */
export function withoutMembers(json: Buffer, names: Iterable<string>): Buffer {
  return edited(json, { without: new NameSet(names) })
}

/**
 * The object with `members` added at its end, on one line.
 *
 * @param members without braces, on one line: `"a":1,"b":2`
 */
export function withMembers(json: Buffer, members: string): Buffer {
  const start = json.indexOf(OPEN_BRACE)
  const end = json.lastIndexOf(CLOSE_BRACE)
  let last = end - 1
  while (last > start && isSpace(json[last] as number)) last--
  const isEmpty = last === start
  const tail = `${isEmpty ? '' : ','}${members}}`
  const stamped = Buffer.allocUnsafe(end - start + Buffer.byteLength(tail))
  json.copy(stamped, 0, start, end)
  stamped.write(tail, end - start)
  return putOnOneLine(stamped, end - start)
}

function isSpace(byte: number): boolean {
  return byte === SPACE || byte === LINE_FEED || byte === CARRIAGE_RETURN || byte === 0x09
}

function putOnOneLine(json: Buffer, length: number): Buffer {
  for (const lineBreak of [LINE_FEED, CARRIAGE_RETURN]) {
    for (let at = json.indexOf(lineBreak); at !== -1 && at < length; at = json.indexOf(lineBreak, at + 1)) {
      json[at] = SPACE
    }
  }
  return json
}

/** The bounds of each top-level member. The start includes the spaces before its name. */
function* membersOf(json: Buffer): Generator<[start: number, end: number]> {
  let start = json.indexOf(OPEN_BRACE) + 1
  while (json[start - 1] !== CLOSE_BRACE) {
    const end = memberEnd(json, start)
    if (!json.subarray(start, end).every(isSpace)) yield [start, end]
    start = end + 1
  }
}
