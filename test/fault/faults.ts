/** The list of all faults, and the choice among them. */
import { dataFaults } from './data-faults.ts'
import type { Fault } from './fault.ts'
import { linkFaults } from './link-faults.ts'
import { archiverFaults, ingestFaults, rollingRestart, windowFault } from './program-faults.ts'
import type { Random } from './random.ts'
import { brokerFaults, peerFaults, storeFaults } from './server-faults.ts'
import type { Stage } from './stage.ts'

export function faultsOf(stage: Stage): Fault[] {
  const { nodes, peerLinks } = stage.brokers
  return [
    ...stage.ingests.flatMap(ingest => ingestFaults(stage, ingest)),
    ...stage.archivers.flatMap(archiver => archiverFaults(stage, archiver)),
    ...stage.programs.flatMap(({ role, brokerLink }) => linkFaults('broker link', brokerLink, role)),
    ...stage.archivers.flatMap(({ role, storeLink }) =>
      storeLink === undefined ? [] : linkFaults('store link', storeLink, role),
    ),
    ...nodes.flatMap(broker => brokerFaults(broker, nodes.length)),
    ...peerLinks.flatMap(link => peerFaults(stage, link)),
    ...storeFaults(stage.store),
    rollingRestart(stage),
    ...dataFaults(stage),
    ...(stage.window === undefined ? [] : stage.ingests.map(ingest => windowFault(stage, ingest))),
  ]
}

/** Chooses up to `max` faults that affect different parts. */
export function choose(random: Random, faults: readonly Fault[], max: number): Fault[] {
  const chosen: Fault[] = []
  const count = random.between(1, max)
  while (chosen.length < count) {
    const taken = new Set(chosen.flatMap(({ on }) => on))
    const free = faults.filter(({ on }) => !on.some(each => taken.has(each)))
    if (free.length === 0) break
    chosen.push(random.pickWeighted(free))
  }
  return chosen
}
