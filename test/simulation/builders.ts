/** Operators who stop all archivers and build the log of an archive anew, one after the other as long as they die. */

import { setTimeout as delay } from 'node:timers/promises'
import { LogBuilder } from '../../src/cli/log/build-log.ts'
import type { Chaos } from './chaos.ts'
import type { BuilderPlan } from './lost-log-plan.ts'
import type { WriterPlan } from './plan.ts'
import { openStoreOf } from './product.ts'
import { Actor, type Simulation } from './simulation.ts'

const AGAIN_MS = 2_000
/** So small that a log has several records. */
const LIMITS = { recordEventsMax: 8, recordObjectsMax: 2 }
const LIST_MAX = 10
/** Of one who died behind its last request. */
const IS_BUILT = /The archive has a log/
/** The first archiver begins a log where there is nothing to name. */
const IS_EMPTY = /The archive has no objects/

export interface BuildersParts {
  readonly sim: Simulation
  readonly chaos: Chaos
  readonly director: Actor
  readonly prefix: string
  /** Its store is opened as this archiver opens it. */
  readonly like: WriterPlan
  /** Counts what has happened. */
  saw(what: string): void
  /** Called for what a build lists, which nothing here should bring about. */
  found(text: string): void
  /** Archivers may be started. */
  built(): void
}

/** @param plans the last one does not die */
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
