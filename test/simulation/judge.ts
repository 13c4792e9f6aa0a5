/** Checks the archive after each step, as its readers see it. */

import type { QueueMessage } from './simulated-queue.ts'

export interface Finding {
  readonly kind:
    | 'doubled'
    | 'unreadable'
    | 'foreign'
    | 'changed'
    | 'lost'
    | 'dead'
    | 'stuck'
    | 'slow'
    | 'requests'
    | 'crash'
    | 'refused'
  readonly text: string
}

/** The span of `receivedAt` that the log has for an object, in milliseconds since 1970. */
export type Span = readonly [first: number, last: number]

/** The log's entry for an object that the store has lost or cut short. */
export interface LogEntry {
  readonly span: Span
  /** Whether the log names the object, so that its events count as archived. */
  isNamed(): boolean
}

/** An object that the store has lost or cut short, until it is whole again. */
interface HarmedObject extends LogEntry {
  readonly text: string
  /** Its events that have not been in another object since. */
  readonly ids: Set<string>
}

interface JudgedEvent {
  readonly id: string
  /** Milliseconds since 1970; NaN if it has none. */
  readonly receivedAt: number
}

/** Compares the messages of one queue with the archive below one prefix. */
export class Judge {
  readonly findings: Finding[] = []
  readonly #prefix: string
  readonly #read: (key: string) => Buffer | undefined
  readonly #saw: (what: string) => void
  /** All byte sequences that were published under an identity. */
  readonly #sent = new Map<string, Set<string>>()
  readonly #messages = new Map<string, readonly JudgedEvent[]>()
  readonly #objects = new Map<string, { readonly text: string; readonly ids: readonly string[] }>()
  readonly #archived = new Map<string, string[]>()
  readonly #acknowledged = new Set<string>()
  /** By key. Their events need not be readable: the store is at fault, not the product. */
  readonly #harmed = new Map<string, HarmedObject>()
  /** The events of dead-lettered messages. */
  readonly #dead = new Set<string>()
  #isUntouched = true

  /**
   * @param read gives the body that a GET of the key returns
   * @param saw counts excused cases
   */
  constructor(
    prefix: string,
    read: (key: string) => Buffer | undefined,
    saw: (what: string) => void = () => {},
  ) {
    this.#prefix = prefix
    this.#read = read
    this.#saw = saw
  }

  /** How many events readers see. */
  get archivedCount(): number {
    return this.#archived.size
  }

  get objectCount(): number {
    return this.#objects.size
  }

  published({ name, body, group }: QueueMessage): void {
    const lines = (group?.lines ?? body).toString().split('\n')
    const events: JudgedEvent[] = []
    for (const line of lines) {
      const id = identityOf(line)
      if (id === undefined) continue
      events.push({ id, receivedAt: receivedAtOf(line) })
      const variants = this.#sent.get(id) ?? new Set()
      this.#sent.set(id, variants.add(line))
    }
    this.#messages.set(name, events)
  }

  acknowledged({ name }: QueueMessage, by: string): void {
    for (const { id } of this.#messages.get(name) ?? []) {
      this.#acknowledged.add(id)
      if (!this.#archived.has(id) && !this.#wasHarmed(id))
        this.#find('unreadable', `${name} was acknowledged by ${by}, but ${id} is in no object`)
    }
  }

  /**
   * Checks a dead letter. A message may be dead-lettered in two cases: it has no events; or one of its events is in no
   * object, but in the span of an object that the store has lost, so that nothing shows whether the event is archived.
   */
  deadLettered({ name }: QueueMessage, by: string): void {
    const events = this.#messages.get(name) ?? []
    const isUndecidable = [...this.#harmed.values()].some(({ span: [first, last] }) =>
      events.some(
        ({ id, receivedAt }) => first <= receivedAt && receivedAt <= last && !this.#archived.has(id),
      ),
    )
    if (isUndecidable) this.#saw('excused: a dead letter whose events may be in a lost object')
    else if (events.length > 0) this.#find('dead', `${name} was dead-lettered by ${by}`)
    for (const { id } of events) this.#dead.add(id)
  }

  /** To be called before the store loses the object or cuts it short. Readers see it again when the same bytes are stored. */
  harmed(key: string, entry: LogEntry): void {
    const object = this.#objects.get(key)
    if (object === undefined) return
    this.#harmed.set(key, { ...entry, text: object.text, ids: new Set(object.ids) })
  }

  /** Whether the store has lost the object or cut it short, and it is not whole again. */
  isHarmed(key: string): boolean {
    return this.#harmed.has(key)
  }

  /** To be called when an object was stored, overwritten or removed. */
  changed(key: string): void {
    if (!key.startsWith(`${this.#prefix}/dt=`)) return
    const before = this.#objects.get(key)
    const read = this.#read(key)?.toString()
    const harmed = this.#harmed.get(key)
    const text = harmed === undefined || read === harmed.text ? read : undefined
    if (read === harmed?.text) this.#harmed.delete(key)
    if (before?.text === text) return
    if (before !== undefined) this.#forget(key, before.ids)
    if (text !== undefined) this.#take(key, text)
    if (before !== undefined && text !== undefined) this.#find('changed', `${key} has changed its bytes`)
  }

  /** To be called when the bucket was restored. Events that were acknowledged after the backup may be lost. */
  restored(keys: Iterable<string>): void {
    this.#isUntouched = false
    this.#acknowledged.clear()
    for (const key of new Set([...this.#objects.keys(), ...keys])) this.changed(key)
    for (const id of this.#archived.keys()) this.#acknowledged.add(id)
  }

  /** Checks at the end that each published event is archived. */
  end(unsettled: readonly string[]): void {
    if (unsettled.length > 0) this.#find('stuck', `${unsettled} are still on the queue`)
    if (!this.#isUntouched) return
    const missing = [...this.#sent.keys()].filter(
      id => !this.#archived.has(id) && !this.#dead.has(id) && !this.#wasHarmed(id),
    )
    if (missing.length > 0) this.#find('lost', `${missing} are in no object`)
  }

  /** Whether the event was in an object that the store has lost or cut short, and has not been in another since. */
  #wasHarmed(id: string): boolean {
    return [...this.#harmed.values()].some(({ ids }) => ids.has(id))
  }

  #take(key: string, text: string): void {
    const ids: string[] = []
    for (const line of linesOf(text)) {
      const id = identityOf(line)
      if (id === undefined || this.#sent.get(id)?.has(line) !== true) {
        this.#find('foreign', `${key} has a line that was not sent: ${line.slice(0, 100)}`)
        continue
      }
      ids.push(id)
      for (const [lost, harmed] of this.#harmed)
        if (harmed.ids.delete(id) && harmed.isNamed())
          this.#find('doubled', `${id} is in ${key}, and the log names it in ${lost}`)
      const keys = this.#archived.get(id) ?? []
      keys.push(key)
      this.#archived.set(id, keys)
      if (keys.length > 1) this.#find('doubled', `${id} is in ${keys.join(' and in ')}`)
    }
    this.#objects.set(key, { text, ids })
  }

  #forget(key: string, ids: readonly string[]): void {
    this.#objects.delete(key)
    for (const id of ids) {
      const keys = (this.#archived.get(id) ?? []).filter(each => each !== key)
      if (keys.length > 0) this.#archived.set(id, keys)
      else this.#archived.delete(id)
      if (keys.length === 0 && this.#acknowledged.has(id) && !this.#wasHarmed(id))
        this.#find('unreadable', `${id} was acknowledged, and its object ${key} cannot be read any more`)
    }
  }

  #find(kind: Finding['kind'], text: string): void {
    this.findings.push({ kind, text })
  }
}

/** The events in an object: NDJSON, or a JSON array with one event a line. */
function linesOf(text: string): string[] {
  return text
    .split('\n')
    .map(line => line.replace(/,$/, ''))
    .filter(line => line !== '' && line !== '[' && line !== ']')
}

/** Undefined if the line is not an event. */
function identityOf(line: string): string | undefined {
  try {
    const { source, messageId } = JSON.parse(line)
    return typeof source === 'string' ? `${source}/${messageId}` : String(messageId)
  } catch {
    return undefined
  }
}

/** NaN if it has none. */
function receivedAtOf(line: string): number {
  try {
    return Date.parse(JSON.parse(line).receivedAt)
  } catch {
    return Number.NaN
  }
}
