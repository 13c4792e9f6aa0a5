/** Operators that stop all archivers and build the log again. When one dies, the next one starts. */

import { setTimeout as delay } from 'node:timers/promises'
import { LogBuilder } from '../../src/cli/log/build-log.ts'
import type { Chaos } from './chaos.ts'
import type { BuilderPlan } from './lost-log-plan.ts'
import type { WriterPlan } from './plan.ts'
import { openStoreOf } from './product.ts'
import { Actor, type Simulation } from './simulation.ts'

const AGAIN_MS = 2_000
/** Small, so that the log gets several records. */
const LIMITS = { recordEventsMax: 8, recordObjectsMax: 2 }
const LIST_MAX = 10
/** The error if an earlier operator died after its last request. */
const IS_BUILT = /The archive has a log/
/** The error if the archive has no objects. Then the first archiver creates the log. */
const IS_EMPTY = /The archive has no objects/

export interface BuildersParts {
  readonly sim: Simulation
  readonly chaos: Chaos
  readonly director: Actor
  readonly prefix: string
  /** Operators open the store with the settings of this archiver. */
  readonly like: WriterPlan
  /** Counts an event by its text. */
  saw(what: string): void
  /** Called if a build lists duplicates or damaged objects, which no fault here causes. */
  found(text: string): void
  /** The log is built. Archivers may start. */
  built(): void
}

/** @param plans the last operator does not die */
export function buildLog(plans: readonly BuilderPlan[], parts: BuildersParts): void {
  const [plan, ...others] = plans
  if (plan === undefined) return
  const { sim, chaos, director } = parts
  const { startMs, diesAfterMs } = plan
  const actor = new Actor(`builder ${others.length}`, sim.seed)
  let isDone = false
  sim.after(startMs, actor, actor.name, () => {
    void build(actor, parts).then(() => {
      isDone = true
      parts.built()
    })
  })
  if (diesAfterMs === undefined) return
  sim.after(startMs + diesAfterMs, director, `${actor.name} dies`, () => {
    if (isDone || !chaos.happens(`${actor.name} dies`, `${diesAfterMs} ms after its start`)) return
    sim.note(`** ${actor.name} dies`)
    parts.saw('** a builder of a log dies')
    sim.end(actor)
    buildLog(others, parts)
  })
}

async function build(actor: Actor, { sim, prefix, like, saw, found }: BuildersParts): Promise<void> {
  for (;;) {
    try {
      const store = await openStoreOf(like, prefix)
      const built = await new LogBuilder(store, { prefix, listMax: LIST_MAX, limits: LIMITS }).run()
      sim.note(
        `** ${actor.name} has built the log ${built.id}: ${built.objects} objects, to ${built.position}`,
      )
      saw('** a log is built')
      if (built.duplicates.events > 0 || built.damaged.objects > 0)
        found(`A build lists ${JSON.stringify([built.duplicates, built.damaged])}`)
      return
    } catch (error) {
      const { message } = error as Error
      sim.note(`** ${actor.name}: ${message}`)
      if (IS_BUILT.test(message) || IS_EMPTY.test(message)) return
      await delay(AGAIN_MS)
    }
  }
}
