/** A bucket that loses its log but not its objects. Drawn from the seed by a generator of its own. */

import { Random } from '../fault/random.ts'
import type { FaultPlan, MessagePlan } from './plan.ts'

/** An operator that builds the log. Archivers start again when it is built. */
export interface BuilderPlan {
  /** Milliseconds after the operator before has died. */
  readonly startMs: number
  /** It dies this many milliseconds after its start, unless it is done. */
  readonly diesAfterMs?: number
}

export interface LostLog {
  readonly faults: readonly FaultPlan[]
  /** Copies of messages from before the loss, published after it. */
  readonly messages: readonly MessagePlan[]
  /** When faults stop. */
  readonly calmMs: number
}

const CHANCE = 0.08
const BUILD_MS_MAX = 20_000

export function lostLogOf(
  seed: string,
  messages: readonly MessagePlan[],
  calmMs: number,
): LostLog | undefined {
  const random = new Random(`lost log ${seed}`)
  if (!random.chance(CHANCE)) return undefined
  const atMs = random.between(2_000, calmMs)
  const former = messages.filter(each => each.atMs < atMs && each.kind !== 'garbage')
  const copies = former.length === 0 ? 0 : random.between(1, 4)
  const builders = Array.from({ length: random.between(0, 2) }, (): BuilderPlan => {
    return { startMs: random.between(0, 2_000), diesAfterMs: random.between(1, 1_000) }
  })
  const fault = { act: 'lose log', builders: [...builders, { startMs: random.between(0, 2_000) }] } as const
  return {
    faults: [{ name: 'lost log', atMs, writer: '', fault }],
    messages: Array.from({ length: copies }, (_, n) => {
      const copied = random.pick(former)
      const copyMs = atMs + random.between(0, BUILD_MS_MAX)
      return { ...copied, name: `late ${n}`, atMs: copyMs, copyOf: copied.copyOf ?? copied.name }
    }),
    calmMs: Math.max(calmMs, atMs + BUILD_MS_MAX),
  }
}
