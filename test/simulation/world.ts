/** Runs one schedule: archivers, a queue for each log, a store, and faults. */

import './virtual-time.ts'
import type { Logger } from '../../src/process/logger.ts'
import { excessOf, slownessOf } from './bounds.ts'
import { Chaos } from './chaos.ts'
import { Faults } from './faults.ts'
import { type Finding, Judge } from './judge.ts'
import type { Plan } from './plan.ts'
import { Processes } from './processes.ts'
import { messageOf, serveStore } from './product.ts'
import { type QueueMessage, SimulatedQueue } from './simulated-queue.ts'
import { SimulatedS3 } from './simulated-s3.ts'
import { Actor, Simulation } from './simulation.ts'
import { currentActor } from './virtual-time.ts'

/** All events have to be archived this long after the last fault. */
const CALM_MS_MAX = 180_000
/** Longer than the latest effect of a request. */
const LATE_MS_MAX = 3 * 60 * 60 * 1000
const STEPS_MAX = 50_000
const REFUSALS = new Set(['FRQ_LOG_REFUSED', 'FRQ_LOG_DAMAGED'])
const FOLDED_MS_MIN = 45 * 60 * 1000
const PART_BYTES = 5 * 1024 * 1024

export interface Outcome {
  readonly seed: string
  readonly findings: readonly Finding[]
  /** The parts of the schedule that happened, by name, with a description. Each can be left out. */
  readonly happened: ReadonlyMap<string, string>
  /** How often each fault struck, and how often the product logged each sentence. */
  readonly seen: ReadonlyMap<string, number>
  readonly traceHash: string
  readonly trace: readonly string[]
  readonly steps: number
  readonly requests: number
  readonly events: number
  readonly objects: number
  readonly virtualMs: number
}

export class World {
  readonly #plan: Plan
  readonly #sim: Simulation
  readonly #chaos: Chaos
  readonly #s3: SimulatedS3
  readonly #judges: Judge[] = []
  readonly #queues: SimulatedQueue[] = []
  readonly #processes: Processes
  readonly #faults: Faults
  readonly #director: Actor
  readonly #published = new Map<string, QueueMessage>()
  readonly #extra: Finding[] = []
  readonly #seen = new Map<string, number>()
  /** Whether an archiver has refused to go on. */
  #hasRefused = false

  constructor(plan: Plan, options: { leftOut?: ReadonlySet<string>; keepsTrace?: boolean } = {}) {
    this.#plan = plan
    this.#sim = new Simulation(plan.seed, options.keepsTrace)
    this.#chaos = new Chaos(options.leftOut)
    this.#director = new Actor('director', plan.seed)
    this.#s3 = new SimulatedS3(this.#sim, this.#chaos, plan.store)
    for (let n = 0; n < plan.logs; n++) this.#addLog(n)
    this.#processes = new Processes({
      plan,
      sim: this.#sim,
      chaos: this.#chaos,
      queues: this.#queues,
      director: this.#director,
      prefixOf,
      isFolded: (prefix, record) => this.#isFolded(prefix, record),
      logOf: name => this.#logOf(name),
      found: (kind, text) => this.#find(kind, text),
    })
    this.#faults = new Faults({
      sim: this.#sim,
      chaos: this.#chaos,
      s3: this.#s3,
      judges: this.#judges,
      processes: this.#processes,
      director: this.#director,
      prefix: prefixOf(0),
      found: (kind, text) => this.#find(kind, text),
      saw: what => this.#saw(what),
    })
    this.#s3.onChange = (key, by) => {
      this.#faults.changed(key, by)
      for (const judge of this.#judges) judge.changed(key)
    }
  }

  async run(): Promise<Outcome> {
    serveStore(this.#s3, {
      partBytes: () => this.#processes.of(currentActor())?.plan.partBytes ?? PART_BYTES,
      takesFold: () => this.#faults.takesFold(currentActor()),
    })
    await this.#sim.enter(() => this.#play())
    return {
      seed: this.#plan.seed,
      findings: this.#findings,
      happened: this.#chaos.happened,
      seen: this.#seen,
      traceHash: this.#sim.traceHash,
      trace: this.#sim.lines ?? [],
      steps: this.#sim.steps,
      requests: this.#s3.requests.length,
      events: this.#judges.reduce((sum, { archivedCount }) => sum + archivedCount, 0),
      objects: this.#objectCount,
      virtualMs: this.#sim.elapsedMs,
    }
  }

  get #findings(): Finding[] {
    const crashes = this.#sim.crashes.map(({ actor, error }) => ({
      kind: 'crash' as const,
      text: `${actor}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
    }))
    return [...this.#judges.flatMap(({ findings }) => findings), ...this.#extra, ...crashes]
  }

  get #isFound(): boolean {
    return (
      this.#extra.length > 0 ||
      this.#sim.crashes.length > 0 ||
      this.#judges.some(({ findings }) => findings.length > 0)
    )
  }

  get #unsettled(): string[] {
    return this.#queues.flatMap(({ unsettled }) => unsettled)
  }

  get #objectCount(): number {
    return this.#judges.reduce((sum, { objectCount }) => sum + objectCount, 0)
  }

  #addLog(n: number): void {
    const judge = new Judge(
      prefixOf(n),
      key => this.#s3.readable(key),
      what => this.#saw(what),
    )
    this.#judges.push(judge)
    this.#queues.push(
      new SimulatedQueue(`queue ${n}`, this.#sim, this.#plan.queue, {
        acknowledged: (message, by, heldMs) => {
          if (!this.#faults.isUndone(by)) judge.acknowledged(message, by)
          const slowness = slownessOf(this.#plan, message.name, by, heldMs)
          if (slowness !== undefined) this.#find('slow', slowness)
        },
        deadLettered: (message, by) => judge.deadLettered(message, by),
      }),
    )
  }

  async #play(): Promise<void> {
    const { messages, faults, calmMs } = this.#plan
    const sim = this.#sim
    for (const message of messages) {
      if (!this.#chaos.has(message.name, message.kind)) continue
      sim.after(message.atMs, this.#director, message.name, () => this.#publish(message))
    }
    for (const writer of this.#processes.all)
      sim.after(writer.plan.startMs, this.#director, `start ${writer.plan.name}`, () =>
        this.#processes.start(writer),
      )
    this.#faults.schedule(faults)
    const isOver = () => this.#isFound || sim.steps > STEPS_MAX
    await sim.run(calmMs, isOver)
    await sim.act(this.#director, () => this.#calm())
    await sim.run(calmMs + CALM_MS_MAX, () => isOver() || this.#unsettled.length === 0)
    if (this.#isFound) return
    if (!(this.#faults.isRestored && this.#hasRefused))
      for (const [n, judge] of this.#judges.entries()) judge.end(this.#queues[n]?.unsettled ?? [])
    const excess = excessOf(this.#plan, this.#s3.requests, this.#objectCount)
    if (excess !== undefined) this.#find('requests', excess)
    await this.#processes.stopAll(() => this.#isFound)
    // Requests that are under way still take effect.
    await sim.run(sim.elapsedMs + LATE_MS_MAX, isOver)
    await sim.act(this.#director, () => {
      for (let n = 0; n < this.#plan.logs; n++)
        this.#faults.audit(prefixOf(n), message => this.#find('refused', `When all is over: ${message}`))
    })
    await sim.run(sim.elapsedMs + CALM_MS_MAX, isOver)
    if (sim.steps > STEPS_MAX) this.#find('stuck', `${STEPS_MAX} events, and no end`)
  }

  #publish(plan: Plan['messages'][number]): void {
    const copied = plan.copyOf === undefined ? undefined : this.#published.get(plan.copyOf)
    const message = copied === undefined ? messageOf(plan, this.#sim.epochMs) : { ...copied, name: plan.name }
    this.#published.set(plan.name, message)
    this.#judges[plan.log]?.published(message)
    this.#queues[plan.log]?.publish(message)
  }

  #isFolded(prefix: string, record: number): boolean {
    const before = this.#sim.wallClock(this.#s3.actor) - FOLDED_MS_MIN
    for (const [key, { body, lastModified }] of this.#s3.bucket.objects) {
      if (!key.startsWith(`${prefix}/_frequency/manifests/`) || lastModified.getTime() > before) continue
      if (JSON.parse(body.toString()).through >= record) return true
    }
    return false
  }

  #logOf(name: string): Logger {
    const write = (first: unknown, second?: string) => {
      const { err, ...fields } = typeof first === 'string' ? { err: undefined } : (first as { err?: Error })
      const reason = err === undefined ? '' : ` (${err.message})`
      if (REFUSALS.has((err as NodeJS.ErrnoException | undefined)?.code ?? '')) this.#refused(name, reason)
      const text = `${second ?? first}`
      this.#saw(text)
      this.#sim.note(
        `  ${name}: ${text}${reason} ${Object.keys(fields).length > 0 ? JSON.stringify(fields) : ''}`,
      )
    }
    return {
      fatal: write,
      error: write,
      warn: write,
      info: write,
      debug: write,
      trace: write,
    } as unknown as Logger
  }

  #refused(name: string, reason: string): void {
    this.#hasRefused = true
    if (!this.#faults.mayRefuse) this.#find('refused', `${name} does not go on${reason}`)
  }

  /** Ends all faults. */
  #calm(): void {
    this.#sim.note('** faults are over')
    this.#chaos.isOver = true
    this.#processes.calm()
    this.#faults.calm()
  }

  #saw(what: string): void {
    this.#seen.set(what, (this.#seen.get(what) ?? 0) + 1)
  }

  #find(kind: Finding['kind'], text: string): void {
    this.#extra.push({ kind, text })
  }
}

function prefixOf(log: number): string {
  return `archive-${log}`
}
