/**
 * A night in which one archiver is paused with events in a batch, while another archives the same events and folds its
 * records. The paused archiver learns of them from a manifest, not from a record. Drawn from the seed by a generator of
 * its own.
 */

import { Random } from '../fault/random.ts'
import type { FaultPlan, MessagePlan, WriterPlan } from './plan.ts'

/** Chance in a schedule with a night and two archivers of one log. */
const CHANCE = 0.4
const MINUTE_MS = 60_000
/** Messages come at most this long before the pause: the batch is then open or being archived. */
const DUSK_MS_MAX = 1_200
/** The other archiver folds this long after the night began. */
const FOLD_MS_MIN = 8_000
const FOLD_MS_MAX = 60_000
const CALM_MS = 10_000

export interface OvertakenNight {
  readonly fromMs: number
  /** Longer than an answer is trusted without reading the watermark again. */
  readonly ms: number
  /** Replace the night faults of the plan for the two archivers of `changes`. */
  readonly faults: readonly FaultPlan[]
  /** Additional messages, published before the night. */
  readonly messages: readonly MessagePlan[]
  readonly changes: ReadonlyMap<string, Partial<WriterPlan>>
  /** When faults stop. */
  readonly calmMs: number
}

/** @param fromMs when the night begins */
export function overtakenNightOf(
  seed: string,
  writers: readonly WriterPlan[],
  fromMs: number,
): OvertakenNight | undefined {
  const random = new Random(`overtaken ${seed}`)
  const [sleeper] = writers
  const other = writers.find(each => each !== sleeper && each.log === sleeper?.log)
  if (!random.chance(CHANCE) || sleeper === undefined || other === undefined) return undefined
  const ms = random.pick([61, 75, 125]) * MINUTE_MS
  const { name } = sleeper
  const fault = (atMs: number, writer: string, fault: FaultPlan['fault']): FaultPlan => ({
    name: `night ${writer} ${fault.act}`,
    atMs,
    writer,
    fault,
  })
  return {
    fromMs,
    ms,
    faults: [
      fault(fromMs, name, { act: 'pause', ms }),
      // Its messages go to the other archiver. The paused archiver learns it when it wakes.
      fault(fromMs + 1, name, { act: 'lose', noticedMs: 0 }),
      fault(fromMs + random.between(FOLD_MS_MIN, FOLD_MS_MAX), other.name, { act: 'fold' }),
    ],
    messages: messagesOf(random, sleeper.log, fromMs),
    changes: new Map([
      [name, { batchAgeMsMax: 2_000, batchEventsMax: 20, priority: 2, prefetch: 8, startMs: 0 }],
      [other.name, { startMs: 0 }],
    ]),
    calmMs: fromMs + ms + CALM_MS,
  }
}

function messagesOf(random: Random, log: number, fromMs: number): MessagePlan[] {
  return Array.from({ length: random.between(1, 3) }, (_, n) => {
    const atMs = fromMs - random.between(1, DUSK_MS_MAX)
    const events = Array.from({ length: random.between(1, 4) }, (_, at) => ({
      id: `dusk-${n}-${at}`,
      source: undefined,
      receivedMs: atMs - random.between(1, 30),
      filler: random.between(0, 40),
    }))
    return { name: `dusk ${n}`, log, atMs, kind: 'ours', events }
  })
}
