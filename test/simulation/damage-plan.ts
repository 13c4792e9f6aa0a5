/** Damage to stored objects. Drawn from the seed by a generator of its own, so it does not change the rest of a schedule. */

import { Random } from '../fault/random.ts'
import type { OperatorPlan } from './operators.ts'
import type { FaultPlan, MessagePlan, WriterPlan } from './plan.ts'

/** Strikes at the first occasion after the planned time. With `backMs` the writer is killed, and starts again after that. */
export type DamageAct =
  /** Removes a staged object as soon as it is stored, or as soon as a record names it. */
  | { readonly act: 'lose staged'; readonly when: 'staged' | 'named'; readonly backMs?: number }
  /** Removes an archived object or cuts it short. Strikes at once, if there is an object. */
  | { readonly act: 'lose object'; readonly isCut: boolean }
  /** When a batch is rebuilt from its staged object, this many of the requests that stage it again fail. */
  | { readonly act: 'fail staging'; readonly requests: number }
  /**
   * Changes bytes of an inline batch: as soon as the record is created, with its writer killed before it stores the
   * object from its own copy; or as soon as the object is stored.
   */
  | { readonly act: 'garble body'; readonly when: 'recorded' | 'stored'; readonly backMs?: number }
  /** Garbles the head of a settled record, or cuts it short. Operators repair it. Strikes at once. */
  | { readonly act: 'damage record'; readonly isCut: boolean; readonly operators: readonly OperatorPlan[] }

export interface DamagePlan {
  readonly faults: readonly FaultPlan[]
  /** Changes to all writers that make an occasion likely. */
  readonly change: Partial<WriterPlan>
  /** How many messages are published twice at about the same time. */
  readonly echoes: number
}

const CHANCE = 0.35
/** Chance of a short dedupe window in a schedule with a night. */
const WINDOW_CHANCE = 0.6
const LATE_MS_MAX = 15_000
const ECHO_MS_MAX = 600
const MINUTE_MS = 60_000
export const NO_DAMAGE: DamagePlan = { faults: [], change: {}, echoes: 0 }
const ACTS: ReadonlySet<string> = new Set<DamageAct['act']>([
  'lose staged',
  'lose object',
  'fail staging',
  'garble body',
  'damage record',
])

export function isDamage(fault: FaultPlan['fault']): fault is DamageAct {
  return ACTS.has(fault.act)
}

/** @param calmMs when faults stop */
export function damageOf(seed: string, calmMs: number): DamagePlan {
  const random = new Random(`damage ${seed}`)
  if (!random.chance(CHANCE)) return NO_DAMAGE
  const draw = random.pick([stagedLosses, stagingFailures, garbledBodies, damagedRecord])
  return draw(random, calmMs)
}

/** Makes the index forget ids, and archivers look them up: a short dedupe window, late copies of messages, lost objects. */
export interface ShortWindow {
  readonly dedupeWindowMs: number
  readonly messages: readonly MessagePlan[]
  readonly faults: readonly FaultPlan[]
  /** When faults stop. */
  readonly calmMs: number
}

/** Numbers of objects that are lost or cut short, to draw from. */
const LOSSES = [0, 0, 1, 2]

/**
 * @param messages the messages that are published without it
 * @param nightMs the times when the night begins and ends
 */
export function shortWindowOf(
  seed: string,
  messages: readonly MessagePlan[],
  [duskMs, dawnMs]: readonly [number, number],
): ShortWindow | undefined {
  const random = new Random(`window ${seed}`)
  const former = messages.filter(({ atMs, kind }) => atMs < duskMs && kind !== 'garbage')
  if (!random.chance(WINDOW_CHANCE) || former.length === 0) return undefined
  const copies = Array.from({ length: random.between(1, 4) }, (_, n) => {
    const copied = random.pick(former)
    const atMs = dawnMs + random.between(0, LATE_MS_MAX)
    return { ...copied, name: `late ${n}`, atMs, copyOf: copied.copyOf ?? copied.name }
  })
  // New records make the index forget older ones.
  const news = Array.from({ length: random.between(1, 3) }, (_, n): MessagePlan => {
    const atMs = dawnMs + random.between(0, LATE_MS_MAX / 3)
    const event = { id: `news-${n}`, source: undefined, receivedMs: atMs - 1, filler: random.between(0, 40) }
    return { name: `news ${n}`, log: random.pick(former).log, atMs, kind: 'ours', events: [event] }
  })
  const faults = Array.from({ length: random.pick(LOSSES) }, (_, n) => {
    const atMs = random.chance(0.5) ? random.between(1_000, duskMs) : dawnMs + random.between(0, LATE_MS_MAX)
    const fault: DamageAct = { act: 'lose object', isCut: random.chance(0.5) }
    return { name: `loss ${n}`, atMs, writer: '', fault }
  })
  return {
    dedupeWindowMs: random.pick([1, 2]) * MINUTE_MS,
    messages: [...news, ...copies],
    faults,
    calmMs: dawnMs + LATE_MS_MAX,
  }
}

function stagedLosses(random: Random, calmMs: number): DamagePlan {
  const faults = Array.from({ length: random.between(1, 3) }, (_, n) => {
    const when = random.pick(['staged', 'named'] as const)
    const backMs = random.pick([100, 2_000, 8_000])
    const fault: DamageAct = { act: 'lose staged', when, ...(random.chance(0.6) && { backMs }) }
    return { name: `damage ${n}`, atMs: random.between(0, calmMs >> 1), writer: '', fault }
  })
  return { faults, change: { inlineBytesMax: random.pick([0, 150]) }, echoes: 0 }
}

/** Makes two writers stage batches with the same events more often than by chance, so that one batch is rebuilt. */
function stagingFailures(random: Random, calmMs: number): DamagePlan {
  const faults = Array.from({ length: random.between(1, 3) }, (_, n) => {
    const fault: DamageAct = { act: 'fail staging', requests: random.pick([4, 10, 30]) }
    return { name: `damage ${n}`, atMs: random.between(0, calmMs >> 2), writer: '', fault }
  })
  const batchAgeMsMax = random.pick([500, 2_000])
  const change = { inlineBytesMax: 0, batchAgeMsMax, batchEventsMax: 20, priority: 0, prefetch: 8 }
  return { faults, change, echoes: random.between(2, 6) }
}

function garbledBodies(random: Random, calmMs: number): DamagePlan {
  const faults = Array.from({ length: random.between(1, 3) }, (_, n) => {
    const when = random.pick(['recorded', 'stored'] as const)
    const backMs = random.pick([100, 2_000, 8_000])
    const isKilling = when === 'recorded' || random.chance(0.5)
    const fault: DamageAct = { act: 'garble body', when, ...(isKilling && { backMs }) }
    return { name: `damage ${n}`, atMs: random.between(0, calmMs >> 1), writer: '', fault }
  })
  return { faults, change: { inlineBytesMax: 1_048_576 }, echoes: 0 }
}

function damagedRecord(random: Random, calmMs: number): DamagePlan {
  const operators = Array.from({ length: random.between(1, 2) }, (): OperatorPlan => {
    const sleepsAfterMs = random.pick([undefined, random.between(1, 400), random.between(1, 2_000)])
    const sleepMs = random.pick([1_000, 20_000, 3_600_000])
    return {
      startMs: random.between(0, 6_000),
      ...(sleepsAfterMs !== undefined && { sleepsAfterMs }),
      sleepMs,
    }
  })
  const fault: DamageAct = { act: 'damage record', isCut: random.chance(0.3), operators }
  const atMs = random.between(1_000, calmMs)
  return { faults: [{ name: 'damage 0', atMs, writer: '', fault }], change: {}, echoes: 0 }
}

/** Messages with the events of other messages and one new event, published at about the same time. */
export function echoesOf(seed: string, messages: readonly MessagePlan[], count: number): MessagePlan[] {
  const random = new Random(`echoes ${seed}`)
  const former = messages.filter(({ kind, copyOf }) => kind === 'ours' && copyOf === undefined)
  if (former.length === 0) return []
  return Array.from({ length: count }, (_, n) => {
    const { log, atMs, kind, events } = random.pick(former)
    const one = { id: `echo-${n}`, source: undefined, receivedMs: atMs - 1, filler: random.between(0, 40) }
    return {
      name: `echo ${n}`,
      log,
      atMs: atMs + random.between(0, ECHO_MS_MAX),
      kind,
      events: [...events, one],
    }
  })
}
