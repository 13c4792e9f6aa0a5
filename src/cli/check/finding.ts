import { withTimeLimit } from '../../process/time-limit.ts'

/** What a check has found: one line of `frequency check`. */
export interface Finding {
  readonly name: string
  /**
   * - ok: it works.
   * - warning: it works, and somebody should know this.
   * - trouble: events would be lost, refused or not archived.
   * - skipped: something before it failed, or it is not used.
   */
  readonly result: 'ok' | 'warning' | 'trouble' | 'skipped'
  /** One line for a person, without secrets. */
  readonly detail: string
}

/** Findings come one after the other, as they are made. */
export type Findings = AsyncGenerator<Finding, void, void>

const STEP_MS_MAX = 15_000

export class Overdue extends Error {}

/** Settles like `work`. @throws Overdue if that takes longer than 15 seconds; `work` itself goes on */
export async function inTime<T>(work: Promise<T>): Promise<T> {
  return withTimeLimit(work, STEP_MS_MAX, () => {
    throw new Overdue(`no answer within ${STEP_MS_MAX / 1000} s`)
  })
}

export function messageOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error)
  return message.replace(/\s+/g, ' ')
}

/** 3.2 GiB */
export function inUnits(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB']
  let value = bytes
  while (value >= 1024 && units.length > 1) {
    value /= 1024
    units.shift()
  }
  return `${value < 10 && units[0] !== 'bytes' ? value.toFixed(1) : Math.round(value)} ${units[0]}`
}
