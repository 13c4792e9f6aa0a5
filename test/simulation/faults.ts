/** Causes the faults of the plan at their times. */

import { buildLog } from './builders.ts'
import type { Chaos } from './chaos.ts'
import { Damage } from './damage.ts'
import { isDamage } from './damage-plan.ts'
import type { Finding, Judge } from './judge.ts'
import type { BuilderPlan } from './lost-log-plan.ts'
import { Operators } from './operators.ts'
import type { FaultAct, FaultPlan } from './plan.ts'
import type { Processes, Writer } from './processes.ts'
import type { SimulatedS3 } from './simulated-s3.ts'
import type { Actor, Simulation } from './simulation.ts'

export interface FaultsParts {
  readonly sim: Simulation
  readonly chaos: Chaos
  readonly s3: SimulatedS3
  readonly judges: readonly Judge[]
  readonly processes: Processes
  readonly director: Actor
  /** The prefix of the first log. */
  readonly prefix: string
  found(kind: Finding['kind'], text: string): void
  /** Counts a fault by its text. */
  saw(what: string): void
}

export class Faults {
  readonly #parts: FaultsParts
  readonly #foldsWanted = new Set<Actor>()
  #snapshot: ReturnType<SimulatedS3['snapshot']> | undefined
  #isRestored = false
  /** Process starts before the bucket was restored: what they archived may be lost. */
  readonly #undone = new Set<string>()

  #hasLostLog = false
  readonly #damage: Damage
  readonly #operators: Operators

  constructor(parts: FaultsParts) {
    this.#parts = parts
    this.#operators = new Operators(parts)
    this.#damage = new Damage({ ...parts, operators: this.#operators })
    parts.s3.forceFault = (sender, operation, key) => this.#damage.forcedFault(sender.name, operation, key)
  }

  /** Whether the bucket was restored from a snapshot. */
  get isRestored(): boolean {
    return this.#isRestored
  }

  /** Whether archivers may refuse to go on with a message. */
  get mayRefuse(): boolean {
    return this.#isRestored || this.#damage.hasDamagedRecord
  }

  calm(): void {
    this.#operators.calm()
  }

  /** Reads the log once more if it was repaired or built. @param damaged called for each problem of the log */
  audit(prefix: string, damaged: (message: string) => void): void {
    const [first] = this.#parts.processes.all
    if (!this.#hasLostLog && !this.#damage.hasDamagedRecord) return
    const mayBeUnnamed = (key: string) => this.#damage.mayBeUnnamed(key)
    if (first !== undefined) this.#operators.audit(prefix, first.plan, mayBeUnnamed, damaged)
  }

  /** Whether the process was started before the bucket was restored. @param process its name, with the number of its start */
  isUndone(process: string): boolean {
    return this.#undone.has(process)
  }

  /** Whether the process folds now, even if no fold is due. */
  takesFold(actor: Actor): boolean {
    return this.#foldsWanted.delete(actor)
  }

  /** To be called for each change of an object, before any reader sees it. @param by the request that made it */
  changed(key: string, by: string): void {
    this.#damage.changed(key, by)
  }

  schedule(faults: readonly FaultPlan[]): void {
    const { sim, chaos, s3, director } = this.#parts
    for (const planned of faults) {
      const { name, atMs, writer, fault } = planned
      if (fault.act === 'restore')
        sim.after(fault.fromMs, director, 'snapshot', () => {
          this.#snapshot = s3.snapshot()
        })
      sim.after(atMs, director, name, () => {
        if (isDamage(fault)) this.#damage.arm(name, fault)
        else if (chaos.happens(name, `${JSON.stringify(fault)} ${writer}`))
          this.#strike({ ...planned, fault })
      })
    }
  }

  #strike({ writer: name, fault }: FaultPlan & { fault: FaultAct }): void {
    const { sim, processes, saw } = this.#parts
    if (fault.act === 'restore') {
      this.#restore(fault.backMs)
      return
    }
    if (fault.act === 'lose log') {
      this.#loseLog(fault.builders)
      return
    }
    const writer = processes.named(name)
    if (writer === undefined) return
    sim.note(`** ${name}${writer.starts}: ${JSON.stringify(fault)}`)
    if (writer.actor === undefined) return
    saw(`** ${fault.act}`)
    switch (fault.act) {
      case 'kill':
        processes.kill(writer, fault.loses)
        processes.restartIn(writer, fault.backMs)
        return
      case 'pause':
        processes.pause(writer, fault.ms)
        return
      case 'stop':
        processes.stop(writer, fault.backMs)
        return
      case 'fold':
        this.#foldsWanted.add(writer.actor)
        return
      default:
        this.#disturbQueue(writer, fault)
    }
  }

  #disturbQueue(writer: Writer, fault: FaultAct): void {
    const { sim, processes, director } = this.#parts
    const queue = processes.queueOf(writer)
    for (const each of processes.consumersOf(writer)) {
      if (fault.act === 'lose') queue.lose(each, fault.noticedMs)
      else if (fault.act === 'requeue') queue.requeue(each, fault.isAll)
      else if (fault.act === 'deactivate') {
        queue.deactivate(each)
        sim.after(fault.ms, director, 'activate', () => queue.activate(each))
      }
    }
  }

  /** For schedules with one log. Requests that are under way fail before operators build the log. */
  #loseLog(builders: readonly BuilderPlan[]): void {
    const { sim, chaos, s3, prefix, processes, director, saw, found } = this.#parts
    const [like] = processes.all
    if (like === undefined) return
    sim.note('** the log is lost')
    saw('** lose log')
    this.#hasLostLog = true
    processes.hold()
    const left = [...s3.snapshot()].filter(([key]) => !key.startsWith(`${prefix}/_frequency/`))
    s3.restore(new Map(left))
    buildLog(builders, {
      sim,
      chaos,
      director,
      prefix,
      like: like.plan,
      saw,
      found: text => found('refused', text),
      built: () => processes.release(),
    })
  }

  /** Restores the bucket as an operator does: with all archivers stopped. */
  #restore(backMs: number): void {
    const { sim, s3, judges, processes, saw } = this.#parts
    if (this.#snapshot === undefined) return
    sim.note('** the bucket is restored')
    saw('** restore')
    this.#isRestored = true
    for (const writer of processes.all) {
      for (let n = 1; n <= writer.starts; n++) this.#undone.add(`${writer.plan.name}${n}`)
      processes.kill(writer, 0)
      processes.restartIn(writer, backMs)
    }
    const before = [...s3.bucket.objects.keys()]
    s3.restore(this.#snapshot)
    this.#damage.restored()
    for (const judge of judges) judge.restored([...before, ...this.#snapshot.keys()])
  }
}
