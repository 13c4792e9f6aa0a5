/**
 * Edits the top level of a JSON object in its bytes, so that what stays is byte for byte what came:
 * numbers keep their digits, and keys their order.
 *
 * Every function here takes bytes that `JSON.parse` has already accepted as an object; none of them
 * checks the syntax again.
 */

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

function memberValueStart(json: Buffer, memberStart: number): number {
  let at = json.indexOf(COLON, stringEnd(json, json.indexOf(QUOTE, memberStart))) + 1
  while (isSpace(json[at] as number)) at++
  return at
}

/** The bytes of the value of the top-level member of this name (the last one, as in JSON.parse). */
export function memberValue(json: Buffer, name: string): Buffer | undefined {
  const start = valueStart(json, name)
  return start === -1 ? undefined : json.subarray(start, memberEnd(json, start))
}

/** The inside of an object with the members of `own`, and those of `base` whose names are not in `ownNames`. */
export function joinedMembers(own: Buffer, ownNames: readonly string[], base: Buffer): string {
  const lacking = ownNames.length === 0 ? base : withoutMembers(base, new Set(ownNames))
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

/** Without the top-level members of these names, however their names are escaped and however often they stand. */
export function withoutMembers(json: Buffer, names: ReadonlySet<string>): Buffer {
  if (names.size === 0) return json
  const kept: Buffer[] = []
  let start = json.indexOf(OPEN_BRACE) + 1
  while (json[start - 1] !== CLOSE_BRACE) {
    const end = memberEnd(json, start)
    const isEmpty = json.indexOf(QUOTE, start) === -1 || json.indexOf(QUOTE, start) > end
    if (!isEmpty && !names.has(nameOf(json, start))) {
      if (kept.length > 0) kept.push(Buffer.from(','))
      kept.push(json.subarray(start, end))
    }
    start = end + 1
  }
  return Buffer.concat([Buffer.from('{'), ...kept, Buffer.from('}')])
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

/**
 * With the JSON text `value` as the one member `name` of the object that is the top-level member
 * `parent`, or without that member where `value` is undefined. A parent that is missing is added, and one
 * that is no object stays as it is.
 */
export function withNestedMember(
  json: Buffer,
  parent: string,
  name: string,
  value: string | undefined,
): Buffer {
  const parts: Buffer[] = []
  let copied = 0
  let isThere = false
  for (const [start, end] of membersOf(json)) {
    if (nameOf(json, start) !== parent) continue
    isThere = true
    const at = memberValueStart(json, start)
    if (json[at] !== OPEN_BRACE) continue
    const rest = withoutMembers(json.subarray(at, end), new Set([name]))
    parts.push(
      json.subarray(copied, at),
      value === undefined ? rest : withMembers(rest, `"${name}":${value}`),
    )
    copied = end
  }
  if (!isThere) return value === undefined ? json : withMembers(json, `"${parent}":{"${name}":${value}}`)
  return Buffer.concat([...parts, json.subarray(copied)])
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
