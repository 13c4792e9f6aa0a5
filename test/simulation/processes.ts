/** The archivers of a schedule: simulated processes that can be paused, stopped, killed and started again. */

import type { Archiver } from '../../src/archive/archiver.ts'
import type { Logger } from '../../src/process/logger.ts'
import type { ObjectStore } from '../../src/store/store.ts'
import type { Chaos } from './chaos.ts'
import type { Finding } from './judge.ts'
import { EMPTY_DISK, type IndexDisk, MemoryIndex } from './memory-index.ts'
import type { Plan, WriterPlan } from './plan.ts'
import { openStoreOf, startArchiver } from './product.ts'
import type { SimulatedConsumer, SimulatedQueue } from './simulated-queue.ts'
import { Actor, type Simulation } from './simulation.ts'

const STOP_MS_MAX = 60_000
const NOTICED_MS_MAX = 5_000
const BACK_MS_MAX = 1_000

/** The part of its disk that a killed process loses: a number of its last additions, all, or all since an older copy. */
export type Loss = number | 'all' | 'stale'

/** An archiver. It is started again each time that its process has ended. */
export class Writer {
  readonly plan: WriterPlan
  starts = 0
  actor: Actor | undefined
  archiver: Archiver | undefined
  /** Kept over restarts, so that the checks of the store are done once. */
  store: ObjectStore | undefined
  index: MemoryIndex | undefined
  disk: IndexDisk = EMPTY_DISK
  /** An older copy of its disk. */
  stale: IndexDisk = EMPTY_DISK

  constructor(plan: WriterPlan) {
    this.plan = plan
  }
}

export interface ProcessesParts {
  readonly plan: Plan
  readonly sim: Simulation
  readonly chaos: Chaos
  /** By the index of the log. */
  readonly queues: readonly SimulatedQueue[]
  readonly director: Actor
  prefixOf(log: number): string
  /** Whether a record was folded so long ago that every process has read the watermark since. */
  isFolded(prefix: string, record: number): boolean
  logOf(name: string): Logger
  found(kind: Finding['kind'], text: string): void
}

export class Processes {
  readonly all: readonly Writer[]
  readonly #parts: ProcessesParts
  /** Processes that have ended are not started again. */
  #isEnding = false
  /** No process is started while an operator builds the log. */
  #areHeld = false

  constructor(parts: ProcessesParts) {
    const { plan, chaos } = parts
    this.#parts = parts
    this.all = plan.writers
      .filter(({ name }, n) => n < plan.logs || chaos.has(`writer ${name}`, 'is there'))
      .map(each => new Writer(each))
  }

  of(actor: Actor): Writer | undefined {
    return this.all.find(each => each.actor === actor)
  }

  named(name: string): Writer | undefined {
    return this.all.find(each => each.plan.name === name)
  }

  queueOf({ plan }: Writer): SimulatedQueue {
    return this.#parts.queues[plan.log] as SimulatedQueue
  }

  consumersOf(writer: Writer): SimulatedConsumer[] {
    return writer.actor === undefined ? [] : this.queueOf(writer).consumersOf(writer.actor)
  }

  start(writer: Writer): void {
    if (writer.actor !== undefined || this.#isEnding || this.#areHeld) return
    const { sim, found } = this.#parts
    const { plan } = writer
    const name = `${plan.name}${++writer.starts}`
    const actor = new Actor(name, sim.seed, plan.clockMs)
    writer.actor = actor
    sim.after(0, actor, `start ${name}`, () => {
      sim.note(`${name} starts`)
      this.#live(writer, actor).catch(error =>
        found('crash', `${name} does not start: ${(error as Error).message}`),
      )
    })
  }

  pause(writer: Writer, ms: number): void {
    const { actor } = writer
    if (actor === undefined) return
    const { sim, director } = this.#parts
    sim.pause(actor)
    sim.after(ms, director, `wake ${actor.name}`, () => this.#wake(actor))
  }

  kill(writer: Writer, loses: Loss): void {
    const { actor, index } = writer
    if (actor === undefined) return
    const { sim, director } = this.#parts
    const queue = this.queueOf(writer)
    const consumers = this.consumersOf(writer)
    sim.end(actor)
    writer.actor = undefined
    writer.archiver = undefined
    if (loses === 'all') writer.disk = EMPTY_DISK
    else if (loses === 'stale') writer.disk = writer.stale
    else if (index !== undefined) writer.disk = index.disk(loses)
    writer.stale = index?.disk() ?? EMPTY_DISK
    for (const each of consumers)
      sim.after(director.random.between(0, NOTICED_MS_MAX), director, 'noticed', () => queue.remove(each))
  }

  /** Kills all processes. None is started until `release`. */
  hold(): void {
    this.#areHeld = true
    for (const writer of this.all) this.kill(writer, 0)
  }

  release(): void {
    this.#areHeld = false
    for (const writer of this.all) this.restartIn(writer, this.#parts.director.random.between(0, BACK_MS_MAX))
  }

  restartIn(writer: Writer, ms: number): void {
    const { sim, chaos, director } = this.#parts
    // A process that ends after the faults are over starts again soon.
    const inMs = chaos.isOver ? Math.min(ms, BACK_MS_MAX) : ms
    sim.after(inMs, director, `start ${writer.plan.name}`, () => this.start(writer))
  }

  /** Stops a process like SIGTERM. It is killed if that takes too long. @param backMs undefined: it is not started again */
  stop(writer: Writer, backMs: number | undefined): void {
    const { sim, chaos, director, found } = this.#parts
    const { actor, archiver } = writer
    if (actor === undefined) return
    const end = (how: string) => {
      if (writer.actor !== actor) return
      sim.note(`${actor.name} ${how}`)
      this.kill(writer, 0)
      if (backMs !== undefined) this.restartIn(writer, backMs)
    }
    if (archiver === undefined) {
      end('is ended at its start')
      return
    }
    sim.after(0, actor, 'stop', () => {
      sim.note(`${actor.name} is to stop`)
      archiver.stop().then(
        () => end('has stopped'),
        error => found('crash', `${actor.name} does not stop: ${(error as Error).message}`),
      )
    })
    sim.after(STOP_MS_MAX, director, 'stop', () => {
      if (writer.actor === actor && backMs === undefined && chaos.isOver)
        found('stuck', `${actor.name} does not stop`)
      end('is ended: it took too long to stop')
    })
  }

  /** Starts or wakes all processes, and activates their consumers. To be called when faults are over. */
  calm(): void {
    for (const writer of this.all) {
      if (writer.actor === undefined) this.start(writer)
      else this.#wake(writer.actor)
      for (const each of this.consumersOf(writer))
        if (!each.isActive && each.knownChannel === each.channel) this.queueOf(writer).activate(each)
    }
  }

  /** Stops all processes for good. */
  async stopAll(isOver: () => boolean): Promise<void> {
    const { sim, director } = this.#parts
    this.#isEnding = true
    await sim.act(director, () => {
      for (const writer of this.all) this.stop(writer, undefined)
    })
    await sim.run(
      sim.elapsedMs + 2 * STOP_MS_MAX,
      () => isOver() || this.all.every(({ actor }) => actor === undefined),
    )
  }

  async #live(writer: Writer, actor: Actor): Promise<void> {
    const { prefixOf, isFolded, logOf } = this.#parts
    const { dedupeWindowMs } = this.#parts.plan
    const { plan } = writer
    const prefix = prefixOf(plan.log)
    const queue = this.queueOf(writer).connection(actor, plan.prefetch, plan.priority)
    const index = new MemoryIndex(writer.disk, {
      rangesMax: plan.rangesMax,
      windowMs: dedupeWindowMs,
      mayForget: record => isFolded(prefix, record),
    })
    writer.index = index
    writer.store ??= await openStoreOf(plan, prefix)
    const log = logOf(actor.name)
    writer.archiver = await startArchiver({ plan, dedupeWindowMs, prefix, queue, index, log }, writer.store)
  }

  #wake(actor: Actor): void {
    if (actor.state !== 'paused') return
    const { sim } = this.#parts
    sim.note(`** ${actor.name} wakes`)
    sim.wake(actor)
  }
}
