import './virtual-time.ts'
import { planOf } from './plan.ts'
import { patchClients } from './product.ts'
import { type Outcome, World } from './world.ts'

export interface SeedOptions {
  /** Names of what is left out of the schedule: see chaos.ts. */
  readonly leftOut?: ReadonlySet<string>
  readonly keepsTrace?: boolean
}

let isPatched = false

/** Runs the schedule of a seed. One at a time in a process. */
export async function runSeed(seed: string, options: SeedOptions = {}): Promise<Outcome> {
  if (!isPatched) await patchClients()
  isPatched = true
  return new World(planOf(seed), options).run()
}
