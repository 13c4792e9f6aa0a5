/** What a fault is, and how long it may take. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Random } from './random.ts'

export interface Fault {
  readonly name: string
  readonly weight: number
  /** What it is done to: nothing else is done to that meanwhile. */
  readonly on: readonly object[]
  /** It is only chosen where `--only` names it. */
  readonly isOptional?: boolean
  /**
   * Does it, and heals what it has broken.
   * @throws Missed where there was nothing to strike; then everything is healed, too
   */
  strike(random: Random): Promise<void>
}

/** Counted apart: a fault that had no effect shows nothing. */
export class Missed extends Error {}

export type Range = readonly [min: number, max: number]

/** In seconds; short, so that a link that is stalled for longer than that fits into a round. */
export const NET_TICKTIME = 8
export const MOMENT_MS = [20, 700] as const
export const DOWN_MS = [0, 4_000] as const
/** Longer than a broker and a client wait for each other's heartbeats, at the default interval of main.ts. */
export const BEYOND_HEARTBEAT_MS = [6_500, 11_000] as const
/** Longer than one broker of a cluster waits for another: up to a quarter more than the time that is set. */
export const BEYOND_TICK_MS = [(NET_TICKTIME * 1.25 + 0.5) * 1_000, NET_TICKTIME * 2_000] as const

export const wait = (random: Random, [min, max]: Range) => sleep(random.between(min, max))

/** How long something is silent. @param hasTicks whether brokers of a cluster time each other out */
export function silence(random: Random, hasTicks: boolean): Promise<void> {
  return wait(random, random.pick([MOMENT_MS, BEYOND_HEARTBEAT_MS, hasTicks ? BEYOND_TICK_MS : MOMENT_MS]))
}
