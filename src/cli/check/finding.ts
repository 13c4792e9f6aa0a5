import { withTimeLimit } from '../../process/time-limit.ts'

/** The result of one test: one line of `frequency check`. */
export interface Finding {
  readonly name: string
  /**
   * - ok: it works.
   * - warning: it works, but a person should look at it.
   * - trouble: events would be lost, refused or not archived.
   * - skipped: not tested, because an earlier test failed or the settings do not use it.
   */
  readonly result: 'ok' | 'warning' | 'trouble' | 'skipped'
  /** One line for people. It has no secrets. */
  readonly detail: string
}

/** Yields each finding as soon as it is made. */
export type Findings = AsyncGenerator<Finding, void, void>

const STEP_MS_MAX = 15_000

export class StepOverdue extends Error {}

/** Settles like `work`. @throws StepOverdue after 15 seconds; `work` itself continues */
export async function inTime<T>(work: Promise<T>): Promise<T> {
  return withTimeLimit(work, STEP_MS_MAX, () => {
    throw new StepOverdue(`no answer within ${STEP_MS_MAX / 1000} s`)
  })
}

/** @returns the message of an error on one line. */
export function messageOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error)
  return message.replace(/\s+/g, ' ')
}

/** @returns the size in its largest unit: `3.2 GiB`. */
export function inUnits(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB']
  let value = bytes
  while (value >= 1024 && units.length > 1) {
    value /= 1024
    units.shift()
  }
  return `${value < 10 && units[0] !== 'bytes' ? value.toFixed(1) : Math.round(value)} ${units[0]}`
}
