const BACKSLASH = 0x5c
/** Names of one length that are compared one by one. */
const COMPARED_MAX = 8

/** Names of members of JSON objects, which are told by their bytes. */
export class NameSet {
  readonly #names: ReadonlySet<string>
  /** As they stand in JSON where nothing in them is escaped, by how many bytes they have. */
  readonly #byLength: Buffer[][] = []

  constructor(names: Iterable<string>) {
    this.#names = new Set(names)
    for (const name of this.#names) {
      const bytes = Buffer.from(name)
      const alike = this.#byLength[bytes.length]
      if (alike === undefined) this.#byLength[bytes.length] = [bytes]
      else alike.push(bytes)
    }
  }

  /** Whether one of them is a member of this object. */
  isIn(fields: object): boolean {
    for (const name of this.#names) if (name in fields) return true
    return false
  }

  includes(name: string): boolean {
    return this.#names.has(name)
  }

  /** These and others. */
  and(...names: readonly string[]): NameSet {
    return new NameSet([...this.#names, ...names])
  }

  /** Whether a name in JSON is one of them. @param start of it, behind its quotation mark. @param end of it, before the other one */
  has(json: Buffer, start: number, end: number): boolean {
    const alike = this.#byLength[end - start]
    // A client may have named thousands.
    if (alike !== undefined && alike.length > COMPARED_MAX) return this.#hasText(json, start, end)
    if (alike !== undefined) for (const name of alike) if (isAt(json, start, name)) return true
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
