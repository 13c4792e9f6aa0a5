import { BACKSLASH } from './json-bytes.ts'

/** Up to this many names of one length are compared one by one; more are looked up as text. */
const COMPARED_MAX = 8

/** A set of member names of JSON objects. Finds a name by its bytes, without making a string of it. */
export class NameSet {
  readonly #names: ReadonlySet<string>
  /** The names in UTF-8 without escapes, by their length in bytes. */
  readonly #byLength: Buffer[][] = []

  constructor(names: Iterable<string>) {
    this.#names = new Set(names)
    for (const name of this.#names) {
      const bytes = Buffer.from(name)
      const sameLength = this.#byLength[bytes.length]
      if (sameLength === undefined) this.#byLength[bytes.length] = [bytes]
      else sameLength.push(bytes)
    }
  }

  /** Whether the object has a member with one of the names. */
  isIn(fields: object): boolean {
    for (const name of this.#names) if (name in fields) return true
    return false
  }

  includes(name: string): boolean {
    return this.#names.has(name)
  }

  /** A new set: these names and others. */
  and(...names: readonly string[]): NameSet {
    return new NameSet([...this.#names, ...names])
  }

  /**
   * Whether the name at these bytes of JSON is in the set. It may have escapes.
   *
   * @param start index after the opening quotation mark
   * @param end index of the closing quotation mark
   */
  has(json: Buffer, start: number, end: number): boolean {
    const sameLength = this.#byLength[end - start]
    // `joinedMembers` makes sets of names that a client sent: there may be thousands.
    if (sameLength !== undefined && sameLength.length > COMPARED_MAX) return this.#hasText(json, start, end)
    if (sameLength !== undefined) for (const name of sameLength) if (isAt(json, start, name)) return true
    for (let at = start; at < end; at++) if (json[at] === BACKSLASH) return this.#hasText(json, start, end)
    return false
  }

  #hasText(json: Buffer, start: number, end: number): boolean {
    return this.#names.has(JSON.parse(json.toString('utf8', start - 1, end + 1)))
  }
}

function isAt(json: Buffer, start: number, name: Buffer): boolean {
  for (let at = 0; at < name.length; at++) if (json[start + at] !== name[at]) return false
  return true
}
