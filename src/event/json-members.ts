/**
 * Edits the top level of a JSON object in its bytes, so that what stays is byte for byte what came:
 * numbers keep their digits, and keys their order.
 *
 * Every function here takes bytes that `JSON.parse` has already accepted as an object; none of them
 * checks the syntax again.
 */

import { NameSet } from './name-set.ts'

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COMMA = 0x2c
const COLON = 0x3a
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d
const SPACE = 0x20
const LINE_FEED = 0x0a
const CARRIAGE_RETURN = 0x0d
const LINE_BREAKS = /[\n\r]/g
const HOLDS_NOTHING = /^(null|\[\s*\])\s*$/
/** Of a value that is tested for holding nothing. */
const HOLDS_NOTHING_BYTES_MAX = 64

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

/** Where the value of the top-level member of this name begins (the last one, as in JSON.parse), or -1. */
export function valueStart(json: Buffer, name: string): number {
  let found = -1
  for (const [start] of membersOf(json)) {
    if (nameOf(json, start) === name) found = memberValueStart(json, start)
  }
  return found
}

/** The end of a value that ends before `end`, without the spaces behind it. */
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

/** The bytes of the value of the top-level member of this name (the last one, as in JSON.parse). */
export function memberValue(json: Buffer, name: string): Buffer | undefined {
  return memberValues(json, [name])[0]
}

/** The same for several names. */
export function memberValues(json: Buffer, names: readonly string[]): (Buffer | undefined)[] {
  const values: (Buffer | undefined)[] = names.map(() => undefined)
  for (const [start, end] of membersOf(json)) {
    const index = names.indexOf(nameOf(json, start))
    if (index !== -1) values[index] = json.subarray(memberValueStart(json, start), trimmedEnd(json, end))
  }
  return values
}

/** The inside of an object with the members of `own`, and those of `base` whose names are not in `ownNames`. */
export function joinedMembers(own: Buffer, ownNames: readonly string[], base: Buffer): string {
  const lacking = ownNames.length === 0 ? base : withoutMembers(base, ownNames)
  const parts = [insideOf(own), insideOf(lacking)].filter(part => part !== '')
  return parts.join(',')
}

/** Line breaks in valid JSON stand only between tokens, so a space in their place changes no meaning. */
export function onOneLine(json: string): string {
  return json.replace(LINE_BREAKS, ' ')
}

function insideOf(json: Buffer): string {
  return json.toString('utf8', json.indexOf(OPEN_BRACE) + 1, json.lastIndexOf(CLOSE_BRACE)).trim()
}

/** Where each element of the array that opens at `start` begins, and where it ends: two numbers each. Spaces around it may be in it. */
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

/** What becomes of the top level of an object. */
export interface ObjectEdit {
  /** Members that are left out, however their names are escaped and however often they stand. */
  readonly without?: NameSet
  readonly nested?: NestedMember | undefined
  /** The inside of an object, on one line, that is added at the end: `"a":1,"b":2`. */
  readonly members?: string
}

/** The one member `name` of the object that is the top-level member `parent`. */
export interface NestedMember {
  /**
   * One name. A missing parent is added; `null` and `[]`, which is how PHP writes an empty object, are replaced by an
   * object; any other value stays.
   */
  readonly parent: NameSet
  readonly parentName: string
  readonly name: NameSet
  /** `"name":value`; undefined where the member is left out. */
  readonly member: string | undefined
}

const NOTHING = new NameSet([])

/** The object after an edit, on one line. */
export function edited(json: Buffer, { without = NOTHING, nested, members = '' }: ObjectEdit): Buffer {
  const writer = new ObjectWriter(json, Buffer.byteLength(members))
  let isParentThere = false
  for (let memberStart = json.indexOf(OPEN_BRACE) + 1; ; ) {
    let start = memberStart
    while (isSpace(json[start] as number)) start++
    if (json[start] === CLOSE_BRACE) break
    const nameEnd = stringEnd(json, start)
    const end = memberEnd(json, nameEnd)
    const isParent = nested?.parent.has(json, start + 1, nameEnd - 1) === true
    isParentThere ||= isParent
    if (!without.has(json, start + 1, nameEnd - 1)) {
      const valueAt = isParent ? memberValueStart(json, start) : end
      const value = isParent ? withInner(json.subarray(valueAt, end), nested) : undefined
      if (value === undefined) writer.keep(memberStart, end)
      else writer.replaceEnd(memberStart, valueAt, end, value)
    }
    if (json[end] === CLOSE_BRACE) break
    memberStart = end + 1
  }
  const isAdded = nested?.member !== undefined && !isParentThere
  const added = isAdded ? `"${nested.parentName}":{${nested.member}}` : ''
  return writer.end(added !== '' && members !== '' ? `${added},${members}` : added + members)
}

/** @returns the new value of the parent; undefined if it stays */
function withInner(value: Buffer, { name, member }: NestedMember): Buffer | undefined {
  if (value[0] === OPEN_BRACE)
    return edited(value, { without: name, ...(member !== undefined && { members: member }) })
  return member !== undefined && HOLDS_NOTHING.test(value.toString('latin1', 0, HOLDS_NOTHING_BYTES_MAX))
    ? Buffer.from(`{${member}}`)
    : undefined
}

/** Writes an object of the members of another. Those that follow each other are copied at once. */
class ObjectWriter {
  readonly #json: Buffer
  #out: Buffer
  #length = 1
  /** What is still to be copied: from the start of a member to the end of one. */
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

  /** Keeps a member, of which what stands from `valueAt` to `end` is replaced. */
  replaceEnd(start: number, valueAt: number, end: number, value: Buffer): void {
    this.keep(start, valueAt)
    this.#flush()
    this.#reserve(value.length + this.#json.length - end)
    this.#length += value.copy(this.#out, this.#length)
  }

  /** @returns the object, with these members behind those that were kept */
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

  /** Only a comma, and spaces, are between the last member and this one. */
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

/** Without the top-level members of these names. */
export function withoutMembers(json: Buffer, names: Iterable<string>): Buffer {
  return edited(json, { without: new NameSet(names) })
}

/**
 * With `members` (the inside of an object, on one line: `"a":1,"b":2`) after the object's own, on one line.
 * Line breaks in valid JSON stand only between tokens, so a space in their place changes no meaning.
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

/** Where each top-level member begins (with the space before its name) and ends. */
function* membersOf(json: Buffer): Generator<[start: number, end: number]> {
  let start = json.indexOf(OPEN_BRACE) + 1
  while (json[start - 1] !== CLOSE_BRACE) {
    const end = memberEnd(json, start)
    if (!json.subarray(start, end).every(isSpace)) yield [start, end]
    start = end + 1
  }
}
