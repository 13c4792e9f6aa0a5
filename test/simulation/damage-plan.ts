/** What the store does to what it holds, drawn from the seed by a chance of its own: without it a schedule is as it was. */

import { Random } from '../fault/random.ts'
import type { FaultPlan, WriterPlan } from './plan.ts'

/** It strikes at the first occasion after the time of the plan. Where `backMs` is given the writer is killed. */
export type DamageAct =
  /** A staged object is gone: as soon as it is there, or as soon as a record names it. */
  { readonly act: 'lose staged'; readonly when: 'staged' | 'named'; readonly backMs?: number }

export interface DamagePlan {
  readonly faults: readonly FaultPlan[]
  /** Of the writers, so that there is an occasion. */
  readonly change: Partial<WriterPlan>
}

const CHANCE = 0.2
const NONE: DamagePlan = { faults: [], change: {} }
const ACTS: ReadonlySet<string> = new Set<DamageAct['act']>(['lose staged'])

export function isDamage(fault: FaultPlan['fault']): fault is DamageAct {
  return ACTS.has(fault.act)
}

/** @param calmMs when faults stop */
export function damageOf(seed: string, calmMs: number): DamagePlan {
  const random = new Random(`damage ${seed}`)
  if (!random.chance(CHANCE)) return NONE
  return stagedLosses(random, calmMs)
}

function stagedLosses(random: Random, calmMs: number): DamagePlan {
  const faults = Array.from({ length: random.between(1, 3) }, (_, n) => {
    const when = random.pick(['staged', 'named'] as const)
    const backMs = random.pick([100, 2_000, 8_000])
    const fault: DamageAct = { act: 'lose staged', when, ...(random.chance(0.6) && { backMs }) }
    return { name: `damage ${n}`, atMs: random.between(0, calmMs >> 1), writer: '', fault }
  })
  return { faults, change: { inlineBytesMax: random.pick([0, 150]) } }
}
