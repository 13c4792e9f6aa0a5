/** Runs schedules in a child process, and reports to the parent. */

import './virtual-time.ts'
import { runSeed } from './run-seed.ts'
import { shrink } from './shrink.ts'
import { real } from './virtual-time.ts'
import type { Outcome } from './world.ts'

export interface WorkerOrder {
  readonly seed: string
  /** The number of the first seed. `step` is the distance to the next. */
  readonly first: number
  readonly step: number
  readonly schedules: number
  readonly seconds: number
  readonly findingsMax: number
}

export interface WorkerCounts {
  schedules: number
  steps: number
  requests: number
  events: number
  objects: number
  virtualMs: number
}

export interface WorkerFinding {
  readonly seed: string
  readonly texts: readonly string[]
  /** How many schedules this worker had run before the finding. */
  readonly after: number
  readonly leftOut: readonly string[]
  readonly left: readonly string[]
}

export type WorkerMessage =
  | { counts: WorkerCounts; seen: [what: string, times: number][] }
  | { finding: WorkerFinding }
  | { isDone: true }

async function work({ seed, first, step, schedules, seconds, findingsMax }: WorkerOrder): Promise<void> {
  const until = real.now() + seconds * 1000
  let found = 0
  for (let n = first; n < schedules && real.now() < until && found < findingsMax; n += step) {
    const outcome = await runSeed(`${seed}-${n}`)
    const { steps, requests, events, objects, virtualMs } = outcome
    const counts = { schedules: 1, steps, requests, events, objects, virtualMs }
    send({ counts, seen: [...outcome.seen] })
    if (outcome.findings.length === 0) continue
    found++
    send({ finding: await explained(outcome, Math.floor((n - first) / step) + 1) })
  }
  send({ isDone: true })
}

async function explained(failed: Outcome, after: number): Promise<WorkerFinding> {
  const { leftOut, outcome } = await shrink(failed)
  return {
    seed: failed.seed,
    texts: outcome.findings.map(({ kind, text }) => `${kind}: ${text}`),
    after,
    leftOut: [...leftOut],
    left: [...outcome.happened].map(([name, what]) => `${name}: ${what}`),
  }
}

function send(message: WorkerMessage): void {
  process.send?.(message)
}

process.once('message', (order: WorkerOrder) => {
  work(order).then(
    () => process.disconnect(),
    error => {
      process.stderr.write(`${error.stack}\n`)
      process.exit(1)
    },
  )
})
