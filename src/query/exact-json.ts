/**
 * Rewrites JSON so that every reader takes it as `JSON.parse` does: of members with equal names the last stays, a lone
 * surrogate becomes U+FFFD, and what nests deeper than `DEPTH_MAX` becomes a string that holds its JSON. Numbers keep
 * their digits.
 */

/** DuckDB's JSON functions recurse: some of them crash the process on a value that nests deeper than their stack. */
export const DEPTH_MAX = 500
const LONE_SURROGATES = /\p{Surrogate}/gu

/** @param text JSON that `JSON.parse` accepts */
export function exactJson(text: string): string {
  return new Rewriter(text).value(0).trimEnd()
}

/** The members of a JSON object: by name, the JSON of the value as it is written. Of equal names the last. */
export function membersByName(text: string): Map<string, string> {
  const reader = new Reader(text)
  const members = new Map<string, string>()
  reader.expect('{')
  while (!reader.takes('}')) {
    reader.takes(',')
    const name = JSON.parse(reader.string()) as string
    reader.expect(':')
    members.set(name, reader.skip())
  }
  return members
}

/** A text whose lone surrogates are U+FFFD. */
export function wellFormed(text: string): string {
  return text.replace(LONE_SURROGATES, '\ufffd')
}

/** A string without lone surrogates, as JSON. */
export function wellFormedJson(text: string): string {
  return JSON.stringify(wellFormed(text))
}

/** Walks over JSON that is known to be valid. */
class Reader {
  readonly text: string
  at = 0

  constructor(text: string) {
    this.text = text
  }

  /** Whether the next token is this one, which is then passed. */
  takes(token: string): boolean {
    this.#spaces()
    if (this.text[this.at] !== token) return false
    this.at++
    return true
  }

  /** @throws SyntaxError unless the next token is this one */
  expect(token: string): void {
    if (!this.takes(token)) throw new SyntaxError(`no ${token} at ${this.at}`)
  }

  /** The string that begins here, with its quotes. */
  string(): string {
    this.#spaces()
    const start = this.at++
    while (this.text[this.at] !== '"') this.at += this.text[this.at] === '\\' ? 2 : 1
    return this.text.slice(start, ++this.at)
  }

  /** The value that begins here, as it is written. */
  skip(): string {
    this.#spaces()
    const start = this.at
    let depth = 0
    do {
      this.#spaces()
      const character = this.text[this.at]
      if (character === '"') this.string()
      else if (character === '{' || character === '[') {
        depth++
        this.at++
      } else if (character === '}' || character === ']') {
        depth--
        this.at++
      } else if (character === ',' || character === ':') this.at++
      else this.scalar()
      this.#spaces()
    } while (depth > 0)
    return this.text.slice(start, this.at).trimEnd()
  }

  /** The number or literal that begins here. */
  scalar(): string {
    const start = this.at
    while (this.at < this.text.length && !/[\s,:[\]{}]/.test(this.text[this.at] as string)) this.at++
    if (this.at === start) throw new SyntaxError(`no value at ${start}`)
    return this.text.slice(start, this.at)
  }

  peek(): string | undefined {
    this.#spaces()
    return this.text[this.at]
  }

  #spaces(): void {
    while (/[ \t\r\n]/.test(this.text[this.at] ?? '')) this.at++
  }
}

class Rewriter {
  readonly #reader: Reader

  constructor(text: string) {
    this.#reader = new Reader(text)
  }

  value(depth: number): string {
    const reader = this.#reader
    const first = reader.peek()
    if (first === '"') return wellFormedJson(JSON.parse(reader.string()) as string)
    if (first !== '{' && first !== '[') return reader.scalar()
    if (depth === DEPTH_MAX) return wellFormedJson(reader.skip())
    return first === '{' ? this.#object(depth) : this.#array(depth)
  }

  #object(depth: number): string {
    const reader = this.#reader
    const members = new Map<string, string>()
    reader.expect('{')
    while (!reader.takes('}')) {
      reader.takes(',')
      const name = wellFormedJson(JSON.parse(reader.string()) as string)
      reader.expect(':')
      members.set(name, this.value(depth + 1))
    }
    return `{${Array.from(members, ([name, value]) => `${name}:${value}`).join(',')}}`
  }

  #array(depth: number): string {
    const reader = this.#reader
    const values: string[] = []
    reader.expect('[')
    while (!reader.takes(']')) {
      reader.takes(',')
      values.push(this.value(depth + 1))
    }
    return `[${values.join(',')}]`
  }
}
