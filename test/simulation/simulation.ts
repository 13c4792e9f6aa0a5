/** Runs events in virtual time, one after the other. Each event belongs to an actor. */

import { createHash, type Hash } from 'node:crypto'
import { Random } from '../fault/random.ts'
import { actAs, real, simulate } from './virtual-time.ts'

/** The owner of events: a started process, the store, the broker, or the schedule itself. */
export class Actor {
  readonly name: string
  readonly random: Random
  /** Milliseconds by which its clock is ahead of true time. */
  readonly clockMs: number
  state: 'running' | 'paused' | 'ended' = 'running'
  /** Events that became due while it was paused. */
  readonly overdue: ScheduledEvent[] = []

  constructor(name: string, seed: string, clockMs = 0) {
    this.name = name
    this.random = new Random(`${seed} ${name}`)
    this.clockMs = clockMs
  }

  bytes(size: number): Buffer {
    const bytes = Buffer.allocUnsafe(size)
    for (let at = 0; at < size; at++) bytes[at] = this.random.between(0, 255)
    return bytes
  }
}

export interface ScheduledEvent {
  /** When it is due, in milliseconds of true time since the simulation began. */
  at: number
  /** Events that are due at the same time run in the order in which they were scheduled. */
  order: number
  readonly actor: Actor
  readonly label: string
  readonly act: () => void
  isCancelled: boolean
}

/** An uncaught error of a process. Node would have ended the process. */
export interface Crash {
  readonly actor: string
  readonly error: unknown
}

/** 2026-11-24T00:00:00Z */
const EPOCH_MS = 1_795_478_400_000
const EPOCH_SPREAD_MS = 20 * 24 * 60 * 60 * 1000
/** Bound on the rounds of the event loop after one event. */
const ROUNDS_MAX = 10_000

export class Simulation {
  readonly seed: string
  /** Milliseconds of true time since the simulation began. */
  elapsedMs = 0
  /** How many events there were. */
  steps = 0
  /** Called after each event. */
  onStep: () => void = () => {}
  /** The lines of the trace, if it is kept. */
  readonly lines: string[] | undefined
  readonly crashes: Crash[] = []
  readonly #hash: Hash = createHash('sha256')
  /** When it began, in milliseconds since 1970 by true time. */
  readonly epochMs: number
  readonly #heap: ScheduledEvent[] = []
  #orders = 0
  #immediates: { act: () => void; isCleared: boolean }[] = []
  #current: Actor | undefined

  /** @param keepsTrace whether `lines` are kept */
  constructor(seed: string, keepsTrace = false) {
    this.seed = seed
    // Ids that are generated within one millisecond are consecutive. Each seed has its own milliseconds.
    this.epochMs = EPOCH_MS + new Random(`epoch ${seed}`).between(0, EPOCH_SPREAD_MS)
    this.lines = keepsTrace ? [] : undefined
  }

  get traceHash(): string {
    return this.#hash.copy().digest('hex').slice(0, 16)
  }

  /** Milliseconds since 1970 by the clock of an actor. */
  wallClock(actor: Actor): number {
    return Math.floor(this.epochMs + this.elapsedMs + actor.clockMs)
  }

  /** Adds a line to the trace and to its hash. Runs with the same hash are equal. */
  note(text: string): void {
    const line = `${(this.elapsedMs / 1000).toFixed(3).padStart(9)}  ${text}`
    this.#hash.update(line)
    this.lines?.push(line)
  }

  /** Schedules an event. @returns the event, which can be cancelled until it is due */
  after(ms: number, actor: Actor, label: string, act: () => void): ScheduledEvent {
    const at = this.elapsedMs + ms
    const event = { at, order: this.#orders++, actor, label, act, isCancelled: false }
    this.#push(event)
    return event
  }

  immediate(act: () => void): object {
    const each = { act, isCleared: false }
    this.#immediates.push(each)
    return each
  }

  clearImmediate(immediate: unknown): void {
    for (const each of this.#immediates) if (each === immediate) each.isCleared = true
  }

  pause(actor: Actor): void {
    if (actor.state === 'running') actor.state = 'paused'
  }

  /** Resumes a paused actor. Events that became due meanwhile run now, in their order. */
  wake(actor: Actor): void {
    if (actor.state !== 'paused') return
    actor.state = 'running'
    for (const event of actor.overdue.splice(0)) {
      event.at = this.elapsedMs
      event.order = this.#orders++
      this.#push(event)
    }
  }

  /** Ends a process. None of its events runs any more. */
  end(actor: Actor): void {
    actor.state = 'ended'
    actor.overdue.length = 0
  }

  /**
   * Runs events until `isOver` returns true, no event is left, or the time is up.
   *
   * @param untilMs milliseconds of true time since the simulation began
   */
  async run(untilMs: number, isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      const event = this.#heap[0]
      if (event === undefined || event.at > untilMs) {
        this.elapsedMs = Math.max(this.elapsedMs, Math.min(untilMs, event?.at ?? untilMs))
        return
      }
      this.#pop()
      await this.#step(event)
    }
  }

  /** Runs `act` as an event of the actor, at once. */
  async act(actor: Actor, act: () => void): Promise<void> {
    this.#current = actor
    actAs(actor)
    try {
      act()
    } catch (error) {
      this.crashed(error)
    }
    await this.#drain()
    actAs(undefined)
  }

  /** Runs `work` in this simulation. */
  async enter<T>(work: () => Promise<T>): Promise<T> {
    simulate(this)
    const crashed = (error: unknown) => this.crashed(error)
    process.on('uncaughtException', crashed)
    process.on('unhandledRejection', crashed)
    try {
      return await work()
    } finally {
      process.off('uncaughtException', crashed)
      process.off('unhandledRejection', crashed)
      simulate(undefined)
    }
  }

  crashed(error: unknown): void {
    this.crashes.push({ actor: this.#current?.name ?? 'nobody', error })
  }

  async #step(event: ScheduledEvent): Promise<void> {
    const { actor } = event
    if (actor.state === 'ended' || event.isCancelled) return
    if (actor.state === 'paused') {
      actor.overdue.push(event)
      return
    }
    this.elapsedMs = Math.max(this.elapsedMs, event.at)
    await this.act(actor, event.act)
    this.steps++
    this.#hash.update(`${actor.name} ${event.label} ${event.at}\n`)
    this.onStep()
  }

  /** Microtasks and ticks run before an immediate of Node does. */
  async #drain(): Promise<void> {
    for (let round = 0; round < ROUNDS_MAX; round++) {
      await new Promise(resolve => real.setImmediate(resolve))
      const immediates = this.#immediates
      if (immediates.length === 0) return
      this.#immediates = []
      for (const { act, isCleared } of immediates) if (!isCleared) act()
    }
    throw new Error('The event loop is never idle.')
  }

  #push(event: ScheduledEvent): void {
    const heap = this.#heap
    let at = heap.push(event) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!isBefore(event, heap[parent] as ScheduledEvent)) break
      heap[at] = heap[parent] as ScheduledEvent
      at = parent
    }
    heap[at] = event
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop() as ScheduledEvent
    if (heap.length === 0) return
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      if (
        child + 1 < heap.length &&
        isBefore(heap[child + 1] as ScheduledEvent, heap[child] as ScheduledEvent)
      )
        child++
      if (!isBefore(heap[child] as ScheduledEvent, last)) break
      heap[at] = heap[child] as ScheduledEvent
      at = child
    }
    heap[at] = last
  }
}

function isBefore(a: ScheduledEvent, b: ScheduledEvent): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order)
}
