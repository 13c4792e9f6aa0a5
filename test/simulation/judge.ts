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

/** What was published on one queue, and is archived below one prefix. */
export class Judge {
  readonly findings: Finding[] = []
  readonly #prefix: string
  readonly #read: (key: string) => Buffer | undefined
  /** Of each event, the bytes that were sent under its identity. */
  readonly #sent = new Map<string, Set<string>>()
  readonly #messages = new Map<string, readonly string[]>()
  readonly #objects = new Map<string, { readonly text: string; readonly ids: readonly string[] }>()
  readonly #archived = new Map<string, string[]>()
  readonly #acknowledged = new Set<string>()
  #isUntouched = true

  /** @param read what a GET of a key has */
  constructor(prefix: string, read: (key: string) => Buffer | undefined) {
    this.#prefix = prefix
    this.#read = read
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
    const ids: string[] = []
    for (const line of lines) {
      const id = identityOf(line)
      if (id === undefined) continue
      ids.push(id)
      const variants = this.#sent.get(id) ?? new Set()
      this.#sent.set(id, variants.add(line))
    }
    this.#messages.set(name, ids)
  }

  acknowledged({ name }: QueueMessage, by: string): void {
    for (const id of this.#messages.get(name) ?? []) {
      this.#acknowledged.add(id)
      if (!this.#archived.has(id))
        this.#find('unreadable', `${name} was acknowledged by ${by}, and ${id} is in no object`)
    }
  }

  buried({ name }: QueueMessage, by: string): void {
    if ((this.#messages.get(name) ?? []).length > 0)
      this.#find('dead', `${name} went to the dead letters by ${by}`)
  }

  /** An object was stored, overwritten or removed. */
  changed(key: string): void {
    if (!key.startsWith(`${this.#prefix}/dt=`)) return
    const before = this.#objects.get(key)
    const text = this.#read(key)?.toString()
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
    const missing = [...this.#sent.keys()].filter(id => !this.#archived.has(id))
    if (missing.length > 0) this.#find('lost', `${missing} are in no object`)
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
      if (keys.length === 0 && this.#acknowledged.has(id))
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
