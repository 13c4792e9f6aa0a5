/** Operators that repair a log while archivers run. A repair may be paused in the middle for a long time. */

import { setTimeout as delay } from 'node:timers/promises'
import { LogRepair } from '../../src/cli/log/repair-log.ts'
import { logKeys } from '../../src/log/log-keys.ts'
import { LogReader } from '../../src/log/log-reader.ts'
import { walkLog } from '../../src/log/log-walk.ts'
import type { Chaos } from './chaos.ts'
import type { WriterPlan } from './plan.ts'
import { openStoreOf } from './product.ts'
import { Actor, type Simulation } from './simulation.ts'

const AGAIN_MS = 2_000
/** Errors if another operator has repaired the record, or if a restored bucket does not have it. */
const IS_REPAIRED = /can be read: there is nothing to repair|is folded|nothing is missing there|has no log/

export interface OperatorPlan {
  /** Milliseconds after the damage. */
  readonly startMs: number
  /** It is paused this many milliseconds after its start. */
  readonly sleepsAfterMs?: number
  readonly sleepMs: number
}

export interface OperatorsParts {
  readonly sim: Simulation
  readonly chaos: Chaos
  readonly director: Actor
  /** Counts an event by its text. */
  saw(what: string): void
}

export class Operators {
  readonly #parts: OperatorsParts
  readonly #actors: Actor[] = []

  constructor(parts: OperatorsParts) {
    this.#parts = parts
  }

  /** Starts operators that repair a record. The first one cannot be left out. */
  repair(number: number, prefix: string, like: WriterPlan, plans: readonly OperatorPlan[]): void {
    const { sim, chaos, director } = this.#parts
    for (const [n, { startMs, sleepsAfterMs, sleepMs }] of plans.entries()) {
      const name = `operator ${this.#actors.length}`
      if (n > 0 && !chaos.happens(name, `repairs record ${number} after ${startMs} ms`)) continue
      const actor = new Actor(name, sim.seed)
      this.#actors.push(actor)
      sim.after(startMs, actor, name, () => void this.#repair(actor, number, prefix, like))
      const sleep = `${name} sleeps`
      if (sleepsAfterMs === undefined) continue
      sim.after(startMs + sleepsAfterMs, director, sleep, () => {
        if (!chaos.happens(sleep, `for ${sleepMs} ms`)) return
        sim.note(`** ${sleep}`)
        sim.pause(actor)
        sim.after(sleepMs, director, `wake ${name}`, () => sim.wake(actor))
      })
    }
  }

  calm(): void {
    // The others go on when their own pause ends. The repair needs only one.
    const [first] = this.#actors
    if (first !== undefined) this.#parts.sim.wake(first)
  }

  /**
   * Reads the log at the end, from its first record to its last.
   *
   * @param mayBeUnnamed whether an object is allowed to be named by no record
   * @param damaged called for each record that cannot be used, and each object that no record names
   */
  audit(
    prefix: string,
    like: WriterPlan,
    mayBeUnnamed: (key: string) => boolean,
    damaged: (message: string) => void,
  ): void {
    const { sim } = this.#parts
    const actor = new Actor('auditor', sim.seed)
    const keys = logKeys(prefix)
    const read = async () => {
      const store = await openStoreOf(like, prefix)
      const steps = walkLog({ store, reader: new LogReader(store, keys), keys })
      const named = new Set<string>()
      for await (const step of steps) {
        if (step.kind === 'damaged') damaged(step.message)
        else if (step.kind !== 'manifest') for (const { key } of step.record.batches) named.add(key)
      }
      for await (const key of store.list(`${prefix}/dt=`)) {
        if (named.has(key)) continue
        if (mayBeUnnamed(key)) this.#parts.saw('excused: a cut object that the repaired record does not name')
        else damaged(`No record names ${key}.`)
      }
    }
    sim.after(0, actor, 'audit', () => void read())
  }

  async #repair(actor: Actor, number: number, prefix: string, like: WriterPlan): Promise<void> {
    const { sim, saw } = this.#parts
    for (;;) {
      try {
        const repair = new LogRepair(await openStoreOf(like, prefix), prefix, number)
        const planned = await repair.plan()
        const { batches } = await repair.run(planned)
        sim.note(`** ${actor.name} has repaired record ${number}: it names ${batches.length} objects`)
        saw('** a record is repaired')
        return
      } catch (error) {
        const { message } = error as Error
        sim.note(`** ${actor.name}: ${message}`)
        if (IS_REPAIRED.test(message)) return
        await delay(AGAIN_MS)
      }
    }
  }
}
