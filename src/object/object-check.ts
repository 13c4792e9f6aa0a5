import { isUtf8 } from 'node:buffer'
import { isJsonArray, linesOf } from './object-reader.ts'

const LINE_FEED = 0x0a
const RECEIVED_AT = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/

/** The faults that a line can have. */
export type LineProblem = 'notJson' | 'withoutMessageId' | 'withoutReceivedAt'

/** The fields that the identity of an event is made of. */
export interface IdentifiedEvent {
  readonly messageId: string
  /** Part of the identity only if it is a string. */
  readonly source: unknown
}

export interface ArchivedEvent extends IdentifiedEvent {
  readonly receivedAt: unknown
}

const PROBLEM_WORDS: Record<LineProblem, string> = {
  notJson: 'is not a JSON object',
  withoutMessageId: 'is an event without messageId',
  withoutReceivedAt: 'is an event without receivedAt',
}

const EMPTY_ARRAY_LINES = 2

/**
 * Checks the lines of one object while it is read. Counts the faults, and reports the first line of each kind, since a
 * garbage object may have any number of bad lines.
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
  /** Whether the array may have another event: at its beginning, and after a comma. */
  #expectsMore = true

  /** @param onEvent called with each event that has a messageId */
  constructor(key: string, onEvent: (event: ArchivedEvent) => void) {
    this.#isArray = isJsonArray(key)
    this.#onEvent = onEvent
  }

  /** How many JSON objects were read so far. */
  get events(): number {
    return this.#events
  }

  /** @param piece whole lines, as `readPieces` yields them */
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

  /** To be called when the object is read from its beginning again. Lines that were checked already are skipped. */
  restart(): void {
    this.#skipping = this.#lines
  }

  /** To be called when the object was read to its end. @param damage why it could not be read to its end */
  end(damage?: string): void {
    if (damage !== undefined) this.#damage.push(`${damage} (after ${this.#events} events)`)
    else if (!this.#endsWithLineBreak || (this.#isArray && !this.#isClosed))
      this.#damage.push(`is cut short: its end is missing (after ${this.#events} events)`)
  }

  /** Whether its end is missing, it cannot be read, or a line is not a JSON object. Valid after `end`. */
  get isDamaged(): boolean {
    return this.#damage.length > 0 || this.counts.notJson > 0
  }

  /** Whether it is whole and has no events. Valid after `end`. */
  get isEmpty(): boolean {
    return this.#events === 0 && !this.isDamaged
  }

  /** The problems, as texts that follow the object's key in a message; none if it is whole. Valid after `end`. */
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

/** @returns a function that tells whether a line of the piece is UTF-8. Decoded text does not show it. */
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
