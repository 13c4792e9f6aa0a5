/** Adds members to events by the hooks of users' own plugins. */
import { withAddedMembers } from '../event/added-members.ts'
import type { Event } from '../event/event.ts'
import { withTimeLimit } from '../process/time-limit.ts'

/** Events of one request whose hooks run at the same time. */
const CONCURRENT_MAX = 100
const MEMBERS_CHARS_MAX = 32 * 1024
const LOG_EVERY_MS = 60_000
/** The identity of an event and its time of receipt, and names that would poison a prototype. */
const RESERVED: ReadonlySet<string> = new Set([
  'messageId',
  'receivedAt',
  'source',
  '__proto__',
  'constructor',
  'prototype',
])

/** Members to add to an event, or nothing. */
export type AddedMembers = Readonly<Record<string, unknown>> | null | undefined

/**
 * Returns members to add to an event.
 *
 * @param event a frozen copy
 */
export type EnrichHook<Request> = (
  event: Readonly<Record<string, unknown>>,
  request: Request,
  // A function that returns nothing is a hook as well.
  // biome-ignore lint/suspicious/noConfusingVoidType: the type of what such a function returns
) => AddedMembers | void | Promise<AddedMembers | void>

export interface EnrichmentParts {
  /** For the hooks of all events of one request together. */
  readonly msMax: number
  readonly log: { warn(fields: object, message: string): void }
  readonly stats: {
    readonly events: Record<'added' | 'unchanged' | 'failed' | 'late', number>
    readonly seconds: { observe(seconds: number): void }
  }
}

export class Enrichment<Request> {
  readonly #parts: EnrichmentParts
  readonly #hooks: EnrichHook<Request>[] = []
  #loggedAt = Number.NEGATIVE_INFINITY

  constructor(parts: EnrichmentParts) {
    this.#parts = parts
  }

  /** Whether there is no hook. */
  get isIdle(): boolean {
    return this.#hooks.length === 0
  }

  add(hook: EnrichHook<Request>): void {
    this.#hooks.push(hook)
  }

  /** Resolves to the events with the members that the hooks have added in time. Never rejects. */
  async enriched(events: readonly Event[], request: Request): Promise<readonly Event[]> {
    const { msMax, stats } = this.#parts
    const startedAt = performance.now()
    const run = new Run([...events], startedAt + msMax)
    const work = this.#runAll(run, request)
    if (run.done < events.length) await withTimeLimit(work, msMax, () => {})
    run.isOver = true
    const late = events.length - run.done
    stats.events.late += late
    if (late > 0)
      this.#warn({ late, enrichMsMax: msMax }, 'Enrich hooks took too long. The events are kept without.')
    stats.seconds.observe((performance.now() - startedAt) / 1000)
    return run.events
  }

  /** Hooks that return no promise have run when this returns. */
  async #runAll(run: Run, request: Request): Promise<void> {
    const count = Math.min(CONCURRENT_MAX, run.events.length)
    await Promise.all(Array.from({ length: count }, () => this.#runSome(run, request)))
  }

  async #runSome(run: Run, request: Request): Promise<void> {
    for (let index = run.take(); index !== undefined; index = run.take()) {
      const event = run.events[index] as Event
      const fields = Object.freeze(JSON.parse(event.body.toString())) as Record<string, unknown>
      const members = new Map<string, string>()
      let hasFailed = false
      for (const hook of this.#hooks) {
        try {
          const returned = hook(fields, request)
          const added = isPromise(returned) ? await returned : returned
          if (run.isOver) return
          this.#collect(added, fields, members)
        } catch (err) {
          if (run.isOver) return
          hasFailed = true
          this.#warn({ err }, 'An enrich hook failed. The event is kept without its members.')
        }
      }
      if (members.size > 0) run.events[index] = withAddedMembers(event, [...members.values()].join(','))
      run.done++
      const outcome = hasFailed ? 'failed' : members.size > 0 ? 'added' : 'unchanged'
      this.#parts.stats.events[outcome]++
    }
  }

  /** Adds the JSON of the returned members to `members`. @throws Error if they cannot be added */
  #collect(added: unknown, fields: Record<string, unknown>, members: Map<string, string>): void {
    if (added === undefined || added === null) return
    if (typeof added !== 'object' || Array.isArray(added))
      throw new TypeError('An enrich hook must return an object with the members to add, or nothing.')
    const collected: [name: string, json: string][] = []
    let chars = 0
    for (const [name, value] of Object.entries(added)) {
      if (RESERVED.has(name) || Object.hasOwn(fields, name) || members.has(name)) {
        if (value !== fields[name])
          this.#warn({ member: name }, 'An enrich hook returned a member that it cannot set. It is left out.')
        continue
      }
      const json = JSON.stringify(value)
      if (json === undefined) continue
      const member = `${JSON.stringify(name)}:${json}`
      chars += member.length
      collected.push([name, member])
    }
    if (chars > MEMBERS_CHARS_MAX)
      throw new RangeError(
        `An enrich hook returned ${chars} characters. Return at most ${MEMBERS_CHARS_MAX} for an event.`,
      )
    for (const [name, member] of collected) members.set(name, member)
  }

  /** At most once a minute: a hook that fails fails for every event. */
  #warn(fields: object, message: string): void {
    const now = performance.now()
    if (now - this.#loggedAt < LOG_EVERY_MS) return
    this.#loggedAt = now
    this.#parts.log.warn(fields, message)
  }
}

/** The events of one request, and how many are done. */
class Run {
  readonly events: Event[]
  readonly #deadline: number
  #next = 0
  done = 0
  isOver = false

  constructor(events: Event[], deadline: number) {
    this.events = events
    this.#deadline = deadline
  }

  /** The index of the next event; undefined if there is none, or no time is left. */
  take(): number | undefined {
    if (this.isOver || this.#next === this.events.length || performance.now() > this.#deadline)
      return undefined
    return this.#next++
  }
}

function isPromise(value: unknown): value is Promise<unknown> {
  return typeof (value as { then?: unknown } | null | undefined)?.then === 'function'
}
