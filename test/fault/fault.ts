/** The contract of a fault, and the durations of faults. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Random } from './random.ts'

export interface Fault {
  readonly name: string
  readonly weight: number
  /** The parts that it affects. No other fault affects them at the same time. */
  readonly on: readonly object[]
  /** Whether the fault is chosen only if `--only` names it. */
  readonly isOptional?: boolean
  /**
   * Causes the fault, and repairs it.
   *
   * @throws Missed if the fault had no effect. Everything is repaired then, too
   */
  inject(random: Random): Promise<void>
}

/** A fault without effect, which proves nothing. It is counted separately. */
export class Missed extends Error {}

export type Range = readonly [min: number, max: number]

/** In seconds. Short, so that a stall beyond it fits into a round. */
export const NET_TICKTIME = 8
export const MOMENT_MS = [20, 700] as const
export const DOWN_MS = [0, 4_000] as const
/** Longer than broker and client wait for a heartbeat, at the default interval of main.ts. */
export const BEYOND_HEARTBEAT_MS = [6_500, 11_000] as const
/** Longer than a broker of a cluster waits for another one: at most 1.25 times NET_TICKTIME. */
export const BEYOND_TICK_MS = [(NET_TICKTIME * 1.25 + 0.5) * 1_000, NET_TICKTIME * 2_000] as const

export const wait = (random: Random, [min, max]: Range) => sleep(random.between(min, max))

/** Waits for the duration of a silence. @param hasTicks whether it may exceed the tick time of a cluster */
export function silence(random: Random, hasTicks: boolean): Promise<void> {
  return wait(random, random.pick([MOMENT_MS, BEYOND_HEARTBEAT_MS, hasTicks ? BEYOND_TICK_MS : MOMENT_MS]))
}
