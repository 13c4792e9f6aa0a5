import { runSeed } from './run-seed.ts'
import type { Outcome } from './world.ts'

const RUNS_MAX = 400

/** A failing schedule that no longer fails if any more of it is left out. */
export interface Shrunk {
  readonly leftOut: ReadonlySet<string>
  readonly outcome: Outcome
  readonly runs: number
}

/** Leaves out messages, processes and faults while the schedule fails in the same way: many at once, then one by one. */
export async function shrink(failed: Outcome, leftOut: ReadonlySet<string> = new Set()): Promise<Shrunk> {
  const kind = failed.findings[0]?.kind
  let best: Shrunk = { leftOut, outcome: failed, runs: 0 }
  let runs = 0
  for (
    let size = Math.ceil(failed.happened.size / 2);
    size >= 1;
    size = size === 1 ? 0 : Math.ceil(size / 2)
  ) {
    for (let at = 0; ; ) {
      const names = [...best.outcome.happened.keys()]
      if (at >= names.length || runs >= RUNS_MAX) break
      const without = new Set([...best.leftOut, ...names.slice(at, at + size)])
      const outcome = await runSeed(failed.seed, { leftOut: without })
      runs++
      if (outcome.findings[0]?.kind === kind) best = { leftOut: without, outcome, runs }
      else at += size
    }
  }
  return { ...best, runs }
}
