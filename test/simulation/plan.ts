/** Draws a schedule from its seed: the store, the queue, the archivers, the messages and the faults. */

import { Random } from '../fault/random.ts'
import { type DamageAct, damageOf, echoesOf, NO_DAMAGE, shortWindowOf } from './damage-plan.ts'
import { type BuilderPlan, lostLogOf } from './lost-log-plan.ts'
import { overtakenNightOf } from './overtaken-plan.ts'
import type { S3Traits } from './request-fate.ts'
import type { QueueTraits } from './simulated-queue.ts'

export interface WriterPlan {
  readonly name: string
  /** The index of its log and queue. */
  readonly log: number
  readonly clockMs: number
  readonly startMs: number
  readonly format: 'ndjson' | 'json'
  readonly batchEventsMax: number
  readonly batchAgeMsMax: number
  readonly prefetch: number
  readonly priority: number
  /** Larger objects are staged. */
  readonly inlineBytesMax: number
  readonly partBytes: number
  /** Bound on the additions whose ids its index remembers. */
  readonly rangesMax: number
}

export interface EventPlan {
  readonly id: string
  readonly source: string | undefined
  /** `receivedAt`, in milliseconds since the simulation began. */
  readonly receivedMs: number
  readonly filler: number
}

export interface MessagePlan {
  readonly name: string
  readonly log: number
  readonly atMs: number
  readonly kind: 'ours' | 'foreign' | 'garbage'
  readonly events: readonly EventPlan[]
  /** The name of a message with the same bytes: after a late confirm, or from a spool. */
  readonly copyOf?: string
}

export type FaultAct =
  | { readonly act: 'kill'; readonly loses: number | 'all' | 'stale'; readonly backMs: number }
  | { readonly act: 'pause'; readonly ms: number }
  | { readonly act: 'stop'; readonly backMs: number }
  | { readonly act: 'lose'; readonly noticedMs: number }
  | { readonly act: 'deactivate'; readonly ms: number }
  | { readonly act: 'requeue'; readonly isAll: boolean }
  | { readonly act: 'fold' }
  | { readonly act: 'restore'; readonly fromMs: number; readonly backMs: number }
  /** All archivers are killed, everything below `_frequency/` is removed, and operators build the log before they restart. */
  | { readonly act: 'lose log'; readonly builders: readonly BuilderPlan[] }

export interface FaultPlan {
  readonly name: string
  readonly atMs: number
  readonly writer: string
  readonly fault: FaultAct | DamageAct
}

export interface Plan {
  readonly seed: string
  readonly logs: number
  readonly store: S3Traits
  readonly queue: QueueTraits
  readonly writers: readonly WriterPlan[]
  readonly messages: readonly MessagePlan[]
  readonly faults: readonly FaultPlan[]
  /** Of all archivers. */
  readonly dedupeWindowMs: number
  /** When faults stop. */
  readonly calmMs: number
  /** Without faults. Then the times and requests of the writers are checked (bounds.ts). */
  readonly isQuiet: boolean
}

const MINUTE_MS = 60_000
const DAY_MS = 24 * 60 * 60 * 1000
const HOUR_MS = 60 * 60 * 1000
const YEAR_MS = 365 * DAY_MS

export function planOf(seed: string): Plan {
  const random = new Random(`plan ${seed}`)
  const isQuiet = random.chance(0.1)
  const logs = random.chance(0.1) ? 2 : 1
  const drawnNight = !isQuiet && random.chance(0.15) ? nightOf(random) : undefined
  const calmMs = random.between(4_000, 15_000)
  const writers = writersOf(random, logs)
  const overtaken = drawnNight && overtakenNightOf(seed, writers, drawnNight.fromMs)
  const night: Night | undefined = overtaken ?? drawnNight
  const messages = messagesOf(random, logs, calmMs, night)
  const faults = isQuiet ? [] : faultsOf(random, writers, calmMs)
  if (!isQuiet && random.chance(0.05)) faults.push(restoreOf(random, calmMs))
  const damage = isQuiet ? undefined : damageOf(seed, calmMs)
  const short =
    night === undefined || overtaken !== undefined
      ? undefined
      : shortWindowOf(seed, messages, [night.fromMs, night.fromMs + night.ms])
  const isApart = isQuiet || logs > 1 || night !== undefined || faults.some(isRestore) || damage !== NO_DAMAGE
  const lost = isApart ? undefined : lostLogOf(seed, messages, calmMs)
  return {
    seed,
    logs,
    store: storeOf(random, isQuiet),
    queue: { latencyMsMax: random.pick([2, 40, 400]), isOrdered: random.chance(0.5) },
    writers: withSecond(writers, damage?.echoes ?? 0).map(each => ({
      ...each,
      ...damage?.change,
      ...overtaken?.changes.get(each.name),
    })),
    messages: [
      ...messages,
      ...echoesOf(seed, messages, damage?.echoes ?? 0),
      ...((short ?? overtaken ?? lost)?.messages ?? []),
    ],
    faults: [
      ...[...faults, ...(damage?.faults ?? [])].map(each => ({
        ...each,
        atMs: afterNight(each.atMs, night),
      })),
      ...(night === undefined ? [] : nightFaultsOf(random, writers, night)).filter(
        each => overtaken?.changes.has(each.writer) !== true,
      ),
      ...((short ?? overtaken ?? lost)?.faults ?? []),
    ],
    dedupeWindowMs: short?.dedupeWindowMs ?? DAY_MS,
    calmMs: (short ?? overtaken ?? lost)?.calmMs ?? afterNight(calmMs, night),
    isQuiet,
  }
}

function isRestore({ fault }: FaultPlan): boolean {
  return fault.act === 'restore'
}

/** Adds a second writer if messages are published twice. */
function withSecond(writers: readonly WriterPlan[], echoes: number): readonly WriterPlan[] {
  const [first] = writers
  const isAlone = echoes > 0 && writers.length === 1 && first !== undefined
  return isAlone ? [first, { ...first, name: 'B' }] : writers
}

/** Minutes to hours without messages, in which most processes are stopped or paused. */
interface Night {
  readonly fromMs: number
  readonly ms: number
}

function nightOf(random: Random): Night {
  const minutes = random.pick([3, 12, 25, 61, 75, 125])
  return { fromMs: random.between(4_000, 14_000), ms: minutes * MINUTE_MS }
}

function afterNight(atMs: number, night: Night | undefined): number {
  return night === undefined || atMs <= night.fromMs ? atMs : atMs + night.ms
}

/** Before the night each writer may fold. Then most writers are killed, stopped or paused, each for a time of its own. */
function nightFaultsOf(random: Random, writers: readonly WriterPlan[], { fromMs, ms }: Night): FaultPlan[] {
  return writers.flatMap(({ name: writer }) => {
    const atMs = fromMs - random.between(0, 1_500)
    const awayMs = ms + random.between(0, 6_000)
    const kill: FaultAct = { act: 'kill', loses: random.pick([0, 1, 'all'] as const), backMs: awayMs }
    const pause: FaultAct = { act: 'pause', ms: awayMs }
    const stop: FaultAct = { act: 'stop', backMs: awayMs }
    const fault = random.pick<FaultAct>([kill, kill, pause, pause, pause, pause, stop, stop, { act: 'fold' }])
    const fold: FaultPlan = {
      name: `dusk ${writer}`,
      atMs: random.between(1_000, atMs),
      writer,
      fault: { act: 'fold' },
    }
    return [fold, { name: `night ${writer}`, atMs, writer, fault }]
  })
}

function restoreOf(random: Random, calmMs: number): FaultPlan {
  const atMs = random.between(2_000, calmMs)
  return {
    name: 'restore',
    atMs,
    writer: '',
    fault: { act: 'restore', fromMs: random.between(0, atMs), backMs: 500 },
  }
}

function clockOf(random: Random): number {
  return random.chance(0.9) ? random.between(-50, 50) : random.pick([-DAY_MS, -HOUR_MS, HOUR_MS, DAY_MS])
}

function storeOf(random: Random, isQuiet: boolean): S3Traits {
  return {
    clockMs: clockOf(random),
    ignoresConditionOnComplete: random.chance(0.3),
    abortDestroys: random.chance(0.3),
    latencyMsMax: random.pick([8, 60, 400]),
    faultChance: isQuiet ? 0 : random.pick([0, 0.02, 0.08, 0.25]),
    idleMs: random.pick([1_000, 4_000]),
  }
}

function writersOf(random: Random, logs: number): WriterPlan[] {
  const count = Math.max(logs, random.between(1, 10) === 1 ? 4 : random.between(1, 3))
  const isStaging = random.chance(0.4)
  return Array.from({ length: count }, (_, n) => {
    const batchEventsMax = random.pick([1, 2, 3, 5, 20])
    return {
      name: String.fromCharCode(65 + n),
      log: n % logs,
      clockMs: clockOf(random),
      startMs: random.chance(0.7) ? random.between(0, 50) : random.between(0, 5_000),
      format: random.pick(['ndjson', 'json']),
      batchEventsMax,
      batchAgeMsMax: random.pick([50, 500, 2_000]),
      prefetch: random.between(1, 8),
      priority: random.between(0, 1),
      inlineBytesMax: isStaging ? random.pick([0, 150, 400]) : 1_048_576,
      partBytes: random.pick([64, 256, 5_242_880]),
      rangesMax: random.chance(0.2) ? random.between(1, 3) : 1_000,
    }
  })
}

function messagesOf(random: Random, logs: number, calmMs: number, night: Night | undefined): MessagePlan[] {
  const messages: MessagePlan[] = []
  const events: EventPlan[] = []
  const count = random.between(2, 8)
  for (let n = 0; n < count; n++) {
    const name = `message ${n}`
    const log = random.between(0, logs - 1)
    const dayMs = random.chance(0.3) ? random.between(0, 20) : random.between(0, Math.floor(calmMs * 0.9))
    const atMs = afterNight(dayMs, night)
    const former = messages.filter(each => each.log === log && each.kind !== 'garbage')
    if (former.length > 0 && random.chance(0.15)) {
      const copied = random.pick(former)
      messages.push({ ...copied, name, atMs, copyOf: copied.copyOf ?? copied.name })
      continue
    }
    const kind = random.pickWeighted([
      { kind: 'ours', weight: 16 },
      { kind: 'foreign', weight: 3 },
      { kind: 'garbage', weight: 1 },
    ] as const).kind
    const size = random.between(1, 6)
    const own = Array.from({ length: size }, () =>
      eventOf(random, events, { isForeign: kind === 'foreign', isCopying: night !== undefined }, atMs),
    )
    messages.push({ name, log, atMs, kind, events: own })
  }
  return messages
}

/** A new event, a retry of another event, or an event of another source with the same id. */
function eventOf(
  random: Random,
  events: EventPlan[],
  { isForeign, isCopying }: { isForeign: boolean; isCopying: boolean },
  atMs: number,
): EventPlan {
  const agoMs = isForeign ? random.pick([1, DAY_MS, YEAR_MS, 5 * YEAR_MS]) : random.between(1, 30)
  const receivedMs = atMs - agoMs
  const filler = random.chance(0.1) ? random.between(0, 400) : random.between(0, 40)
  const source = random.pick([undefined, undefined, 'web', 'backend'])
  const former = events.length > 0 && random.chance(0.25) ? random.pick(events) : undefined
  const id = random.chance(0.5) ? `order-${events.length}` : uuidOf(random)
  const isOtherSource = random.chance(0.2)
  const isCopy = random.chance(0.5)
  const event = former === undefined ? { id, source, receivedMs, filler } : retryOf(former)
  events.push(event)
  return event

  function retryOf(of: EventPlan): EventPlan {
    const same = isCopying && events.find(each => each.id === of.id && each.source === source)
    if (isOtherSource) return same || { ...of, source, receivedMs }
    // A client's retry has a new `receivedAt`. It is recognised only while the index has its id.
    return isCopy || isCopying ? of : { ...of, receivedMs }
  }
}

function uuidOf(random: Random): string {
  const digits = (count: number) =>
    Array.from({ length: count }, () => random.between(0, 15).toString(16)).join('')
  return `${digits(8)}-${digits(4)}-7${digits(3)}-8${digits(3)}-${digits(12)}`
}

function faultsOf(random: Random, writers: readonly WriterPlan[], calmMs: number): FaultPlan[] {
  const count = random.pick([0, 1, 2, 3, 5, 8])
  return Array.from({ length: count }, (_, n) => ({
    name: `fault ${n}`,
    atMs: random.between(20, calmMs),
    writer: random.pick(writers).name,
    fault: faultOf(random, calmMs),
  }))
}

function faultOf(random: Random, calmMs: number): FaultAct {
  const backMs = random.pick([100, 1_000, 5_000])
  switch (random.between(0, 14)) {
    case 0:
    case 1:
    case 2:
      return { act: 'kill', loses: random.pick([0, 0, 1, 2, 'all', 'stale'] as const), backMs }
    case 3:
    case 4:
      return { act: 'pause', ms: random.pick([300, 3_000, calmMs]) }
    case 5:
      return { act: 'stop', backMs }
    case 6:
    case 7:
      return { act: 'lose', noticedMs: random.pick([0, 50, 3_000]) }
    case 8:
    case 9:
      return { act: 'deactivate', ms: random.pick([100, 2_000, calmMs]) }
    case 10:
    case 11:
      return { act: 'fold' }
    default:
      return { act: 'requeue', isAll: random.chance(0.5) }
  }
}
