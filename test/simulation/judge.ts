/** Looks at the archive after each event, as its readers do, and says what is wrong with it. */

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

/** When the events of an object were received as the log has it, in milliseconds since 1970. */
export type Span = readonly [first: number, last: number]

/** What the log says of an object that the store has lost or cut short. */
export interface LogEntry {
  readonly span: Span
  /** It says that the object is there, and so that its events are archived. */
  isNamed(): boolean
}

/** An object that the store has lost or cut short, until it is whole again. */
interface HarmedObject extends LogEntry {
  readonly text: string
  /** Events that were in it, and are in no other object since. */
  readonly ids: Set<string>
}

interface JudgedEvent {
  readonly id: string
  /** Milliseconds since 1970; NaN where it has no stamp. */
  readonly receivedAt: number
}

/** What was published on one queue, and is archived below one prefix. */
export class Judge {
  readonly findings: Finding[] = []
  readonly #prefix: string
  readonly #read: (key: string) => Buffer | undefined
  readonly #saw: (what: string) => void
  /** Of each event, the bytes that were sent under its identity. */
  readonly #sent = new Map<string, Set<string>>()
  readonly #messages = new Map<string, readonly JudgedEvent[]>()
  readonly #objects = new Map<string, { readonly text: string; readonly ids: readonly string[] }>()
  readonly #archived = new Map<string, string[]>()
  readonly #acknowledged = new Set<string>()
  /** By key. What was in them is not asked for: the store's fault is not the product's. */
  readonly #harmed = new Map<string, HarmedObject>()
  /** Events of messages that are in the dead letters, as the product says. */
  readonly #dead = new Set<string>()
  #isUntouched = true

  /**
   * @param read what a GET of a key has
   * @param saw counts what was excused
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

  /** Events that readers see. */
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
        this.#find('unreadable', `${name} was acknowledged by ${by}, and ${id} is in no object`)
    }
  }

  /**
   * Only what holds no event goes to the dead letters, and what may be in an object that the store has lost, by the span
   * that the log has for it, and is in no other: nobody can tell whether it is archived. It is delivered there.
   */
  buried({ name }: QueueMessage, by: string): void {
    const events = this.#messages.get(name) ?? []
    const isUntold = [...this.#harmed.values()].some(({ span: [first, last] }) =>
      events.some(
        ({ id, receivedAt }) => first <= receivedAt && receivedAt <= last && !this.#archived.has(id),
      ),
    )
    if (isUntold) this.#saw('excused: a dead letter, whose events may be in an object that was harmed')
    else if (events.length > 0) this.#find('dead', `${name} went to the dead letters by ${by}`)
    for (const { id } of events) this.#dead.add(id)
  }

  /** The store is about to lose this object, or to cut it short. Readers see it again if it is stored anew as it was. */
  harmed(key: string, entry: LogEntry): void {
    const object = this.#objects.get(key)
    if (object === undefined) return
    this.#harmed.set(key, { ...entry, text: object.text, ids: new Set(object.ids) })
  }

  /** The store has lost this object, or cut it short, and it is not whole again. */
  isHarmed(key: string): boolean {
    return this.#harmed.has(key)
  }

  /** An object was stored, overwritten or removed. */
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
    if (before !== undefined && text !== undefined)
      this.#find('changed', `${key} has other bytes than before`)
  }

  /** The bucket is what it was at another time: what was acknowledged since then is gone, which nobody can help. */
  restored(keys: Iterable<string>): void {
    this.#isUntouched = false
    this.#acknowledged.clear()
    for (const key of new Set([...this.#objects.keys(), ...keys])) this.changed(key)
    for (const id of this.#archived.keys()) this.#acknowledged.add(id)
  }

  /** When all is over: each event that was published is archived. */
  end(unsettled: readonly string[]): void {
    if (unsettled.length > 0) this.#find('stuck', `${unsettled} are on the queue still`)
    if (!this.#isUntouched) return
    const missing = [...this.#sent.keys()].filter(
      id => !this.#archived.has(id) && !this.#dead.has(id) && !this.#wasHarmed(id),
    )
    if (missing.length > 0) this.#find('lost', `${missing} are in no object`)
  }

  /** The event was in an object that the store has harmed, and has been in no other since. */
  #wasHarmed(id: string): boolean {
    return [...this.#harmed.values()].some(({ ids }) => ids.has(id))
  }

  #take(key: string, text: string): void {
    const ids: string[] = []
    for (const line of linesOf(text)) {
      const id = identityOf(line)
      if (id === undefined || this.#sent.get(id)?.has(line) !== true) {
        this.#find('foreign', `${key} holds what was not sent: ${line.slice(0, 100)}`)
        continue
      }
      ids.push(id)
      for (const [lost, harmed] of this.#harmed)
        if (harmed.ids.delete(id) && harmed.isNamed())
          this.#find('doubled', `${id} is in ${key} and, as the log says, in ${lost}`)
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
        this.#find(
          'unreadable',
          `${id} was acknowledged, and ${key}, in which it was, cannot be read any more`,
        )
    }
  }

  #find(kind: Finding['kind'], text: string): void {
    this.findings.push({ kind, text })
  }
}

/** Of NDJSON, or of a JSON array with an event a line. */
function linesOf(text: string): string[] {
  return text
    .split('\n')
    .map(line => line.replace(/,$/, ''))
    .filter(line => line !== '' && line !== '[' && line !== ']')
}

/** Undefined where it is no event. */
function identityOf(line: string): string | undefined {
  try {
    const { source, messageId } = JSON.parse(line)
    return typeof source === 'string' ? `${source}/${messageId}` : String(messageId)
  } catch {
    return undefined
  }
}

/** NaN where it has none. */
function receivedAtOf(line: string): number {
  try {
    return Date.parse(JSON.parse(line).receivedAt)
  } catch {
    return Number.NaN
  }
}
