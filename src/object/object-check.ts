import { isUtf8 } from 'node:buffer'
import { isJsonArray, linesOf } from './object-reader.ts'

const LINE_FEED = 0x0a
const RECEIVED_AT = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/

/** What can be wrong with a line. */
export type LineProblem = 'notJson' | 'withoutMessageId' | 'withoutReceivedAt'

/** What an event's identity is made of. */
export interface IdentifiedEvent {
  readonly messageId: string
  /** Counts if it is a string. */
  readonly source: unknown
}

export interface ArchivedEvent extends IdentifiedEvent {
  readonly receivedAt: unknown
}

const PROBLEM_WORDS: Record<LineProblem, string> = {
  notJson: 'is no JSON object',
  withoutMessageId: 'is an event without messageId',
  withoutReceivedAt: 'is an event without receivedAt',
}

const EMPTY_ARRAY_LINES = 2

/**
 * Looks through one object, line by line as it comes. What is wrong is counted, and told once a kind:
 * an object of garbage has as many bad lines as it likes.
 */
export class ObjectCheck {
  readonly counts: Record<LineProblem, number> = { notJson: 0, withoutMessageId: 0, withoutReceivedAt: 0 }
  readonly #isArray: boolean
  readonly #onEvent: (event: ArchivedEvent) => void
  readonly #firstLines = new Map<LineProblem, number>()
  readonly #damage: string[] = []
  #lines = 0
  #skipping = 0
  #events = 0
  #endsWithLineBreak = true
  #isOpen = false
  #isClosed = false
  /** Whether a comma, or the beginning, came before. */
  #expectsMore = true

  /** @param onEvent called with each event that has a messageId. */
  constructor(key: string, onEvent: (event: ArchivedEvent) => void) {
    this.#isArray = isJsonArray(key)
    this.#onEvent = onEvent
  }

  /** JSON objects so far. */
  get events(): number {
    return this.#events
  }

  take(piece: Buffer): void {
    this.#endsWithLineBreak = piece.at(-1) === LINE_FEED
    const lines = linesOf(piece)
    const isText = isUtf8(piece) ? () => true : textLines(piece)
    for (const [at, line] of lines.entries()) {
      if (this.#skipping > 0) {
        this.#skipping--
        continue
      }
      this.#lines++
      const isCut = !this.#endsWithLineBreak && at === lines.length - 1
      if (!isText(at)) this.#note('notJson')
      else if (isCut && parseObject(line) === undefined) continue
      else if (this.#isArray) this.#takeArrayLine(line)
      else this.#takeEvent(line)
    }
  }

  /** The object is read from its beginning again, and what was taken already is not taken twice. */
  restart(): void {
    this.#skipping = this.#lines
  }

  /** The object was read to its end, or as far as its damage let it: `damage` says what that is. */
  end(damage?: string): void {
    if (damage !== undefined) this.#damage.push(`${damage} (after ${this.#events} events)`)
    else if (!this.#endsWithLineBreak || (this.#isArray && !this.#isClosed))
      this.#damage.push(`is cut short: its end is missing (after ${this.#events} events)`)
  }

  /** Whether something of it is missing, or is no event. To be asked after `end`. */
  get isDamaged(): boolean {
    return this.#damage.length > 0 || this.counts.notJson > 0
  }

  /** Whether it is whole, and has no event. To be asked after `end`. */
  get isEmpty(): boolean {
    return this.#events === 0 && !this.isDamaged
  }

  /** What is wrong, in words, to be read after the object's key; none where it is as it should be. */
  get problems(): string[] {
    const lines = [...this.#firstLines].map(([problem, line]) => {
      const others = this.counts[problem] - 1
      return `line ${line} ${PROBLEM_WORDS[problem]}${others > 0 ? `, as are ${others} more` : ''}`
    })
    return [...this.#damage, ...lines]
  }

  #takeArrayLine(line: string): void {
    if (!this.#isOpen) {
      this.#isOpen = true
      if (line !== '[') this.#note('notJson')
      return
    }
    if (line === ']' && !this.#isClosed) {
      this.#isClosed = true
      if (this.#expectsMore && this.#lines > EMPTY_ARRAY_LINES) this.#note('notJson')
      return
    }
    const hasComma = line.endsWith(',')
    if (this.#isClosed || !this.#expectsMore) this.#note('notJson')
    else this.#takeEvent(hasComma ? line.slice(0, -1) : line)
    this.#expectsMore = hasComma
  }

  #takeEvent(line: string): void {
    const event = parseObject(line)
    if (event === undefined) {
      this.#note('notJson')
      return
    }
    this.#events++
    const { source, messageId, receivedAt } = event
    if (typeof messageId === 'string' && messageId !== '') this.#onEvent({ source, messageId, receivedAt })
    else this.#note('withoutMessageId')
    if (typeof receivedAt !== 'string' || !RECEIVED_AT.test(receivedAt)) this.#note('withoutReceivedAt')
  }

  #note(problem: LineProblem): void {
    this.counts[problem]++
    if (!this.#firstLines.has(problem)) this.#firstLines.set(problem, this.#lines)
  }
}

function parseObject(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined
  } catch {
    return undefined
  }
}

/** Tells of each line of a piece whether its bytes are UTF-8; what they decode to does not. */
function textLines(piece: Buffer): (line: number) => boolean {
  const answers: boolean[] = []
  for (let start = 0; start < piece.length; ) {
    const lineBreak = piece.indexOf(LINE_FEED, start)
    const end = lineBreak === -1 ? piece.length : lineBreak
    answers.push(isUtf8(piece.subarray(start, end)))
    start = end + 1
  }
  return line => answers[line] === true
}
