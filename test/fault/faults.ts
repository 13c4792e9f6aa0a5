/** What is done to the processes and to the network between them. Each fault heals what it has broken. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Rabbitmq } from '../services/rabbitmq.ts'
import type { Radosgw } from '../services/radosgw.ts'
import type { Link } from './link.ts'
import type { Program } from './program.ts'
import type { Random } from './random.ts'
import { batchSettings, type Stage } from './stage.ts'

/** Longer than a broker and a client wait for each other's heartbeats, at the default interval of main.ts. */
const BEYOND_HEARTBEAT_MS = [6_500, 11_000] as const
const MOMENT_MS = [20, 700] as const
const DOWN_MS = [0, 4_000] as const
const LOST_DATA_SHARE = 0.3

export interface Fault {
  readonly name: string
  readonly weight: number
  /** What it is done to: nothing else is done to that meanwhile. */
  readonly on: readonly object[]
  strike(random: Random): Promise<void>
}

type Range = readonly [min: number, max: number]

const wait = (random: Random, [min, max]: Range) => sleep(random.between(min, max))

/** All that can happen on a stage. */
export function faultsOf(stage: Stage): Fault[] {
  return [
    ...stage.ingests.flatMap(faultsOfIngest),
    ...stage.archivers.flatMap(faultsOfArchiver),
    ...stage.programs.flatMap(program => faultsOfLink('broker link', program.name, program.brokerLink)),
    ...stage.archivers.flatMap(({ name, storeLink }) =>
      storeLink === undefined ? [] : faultsOfLink('store link', name, storeLink),
    ),
    ...stage.brokers.flatMap(broker => faultsOfBroker(broker, stage.brokers.length)),
    ...faultsOfStore(stage.store),
    rollingRestart(stage.programs),
  ]
}

function faultsOfIngest(ingest: Program): Fault[] {
  const on = [ingest]
  return [
    { name: 'SIGKILL ingest', weight: 3, on, strike: random => killed(ingest, random) },
    { name: 'SIGTERM ingest', weight: 1, on, strike: random => stopped(ingest, random) },
    { name: 'SIGSTOP ingest', weight: 1, on, strike: random => paused(ingest, random) },
    {
      // Its last bytes reach the broker after it is back, and has sent from its spool what it was not sure of.
      name: 'SIGKILL ingest, its bytes late',
      weight: 1,
      on: [ingest, ingest.brokerLink],
      strike: async random => {
        const release = ingest.brokerLink.hold()
        await wait(random, [500, 2_500])
        await killed(ingest, random, MOMENT_MS)
        await ingest.ready()
        await wait(random, MOMENT_MS)
        release()
      },
    },
  ]
}

function faultsOfArchiver(archiver: Program): Fault[] {
  const on = [archiver]
  const storeLink = archiver.storeLink as Link
  return [
    { name: 'SIGKILL archiver', weight: 4, on, strike: random => killed(archiver, random) },
    { name: 'SIGTERM archiver', weight: 1, on, strike: random => stopped(archiver, random) },
    { name: 'SIGSTOP archiver', weight: 3, on, strike: random => paused(archiver, random) },
    {
      // Its last objects are written while another archives the same events.
      name: 'SIGKILL archiver, its bytes late',
      weight: 2,
      on: [archiver, storeLink],
      strike: async random => {
        const release = storeLink.hold()
        await wait(random, [0, 1_500])
        await killed(archiver, random)
        await wait(random, [0, 6_000])
        release()
      },
    },
    {
      // What it was writing is never written.
      name: 'SIGKILL archiver, its bytes lost',
      weight: 2,
      on: [archiver, storeLink],
      strike: async random => {
        const resume = storeLink.stall()
        await wait(random, [500, 4_000])
        await archiver.kill()
        storeLink.cut()
        resume()
        await wait(random, DOWN_MS)
        startAgain(archiver, random)
      },
    },
    {
      // Cut off from the broker, and not from the store.
      name: 'archiver cut off, writing on',
      weight: 2,
      on: [archiver.brokerLink, storeLink],
      strike: async random => {
        storeLink.throttle(random.between(20_000, 200_000))
        const resume = archiver.brokerLink.stall()
        await wait(random, BEYOND_HEARTBEAT_MS)
        storeLink.throttle(Number.POSITIVE_INFINITY)
        await wait(random, MOMENT_MS)
        resume()
      },
    },
  ]
}

function faultsOfLink(kind: string, owner: string, link: Link): Fault[] {
  const on = [link]
  return [
    {
      name: `${kind} cut`,
      weight: 1,
      on,
      strike: async random => {
        for (let times = random.between(1, 4); times > 0; times--) {
          link.cut()
          await wait(random, MOMENT_MS)
        }
      },
    },
    {
      name: `${kind} stalled`,
      weight: 1,
      on,
      strike: async random => {
        const resume = link.stall()
        await wait(random, random.chance(0.5) ? MOMENT_MS : BEYOND_HEARTBEAT_MS)
        resume()
      },
    },
    {
      name: `${kind}: old connections held`,
      weight: owner.startsWith('archive') ? 1 : 0.5,
      on,
      strike: async random => {
        const release = link.hold()
        await wait(random, BEYOND_HEARTBEAT_MS)
        release()
      },
    },
    {
      name: `${kind} throttled`,
      weight: 0.5,
      on,
      strike: async random => {
        link.throttle(random.between(20_000, 200_000))
        await wait(random, [2_000, 8_000])
        link.throttle(Number.POSITIVE_INFINITY)
      },
    },
  ]
}

function faultsOfBroker(broker: Rabbitmq, nodes: number): Fault[] {
  const on = [broker]
  return [
    {
      name: 'SIGKILL broker',
      weight: 4 / nodes,
      on,
      strike: async random => {
        await broker.kill()
        await wait(random, DOWN_MS)
        await broker.start()
      },
    },
    {
      name: 'SIGSTOP broker',
      weight: 1 / nodes,
      on,
      strike: async random => {
        broker.pause()
        await wait(random, random.chance(0.5) ? MOMENT_MS : BEYOND_HEARTBEAT_MS)
        broker.resume()
      },
    },
    {
      name: 'memory alarm',
      weight: 2 / nodes,
      on,
      strike: async random => {
        await broker.ctl('set_vm_memory_high_watermark', '0.0001')
        await wait(random, [500, 5_000])
        await broker.ctl('set_vm_memory_high_watermark', '0.4')
      },
    },
  ]
}

function faultsOfStore(store: Radosgw): Fault[] {
  return [
    {
      name: 'SIGKILL store',
      weight: 4,
      on: [store],
      strike: async random => {
        await store.killGateway()
        await wait(random, DOWN_MS)
        await store.startGateway()
      },
    },
    {
      name: 'SIGSTOP store',
      weight: 1,
      on: [store],
      strike: async random => {
        store.pauseGateway()
        await wait(random, random.chance(0.5) ? MOMENT_MS : BEYOND_HEARTBEAT_MS)
        store.resumeGateway()
      },
    },
  ]
}

function rollingRestart(programs: readonly Program[]): Fault {
  return {
    name: 'rolling restart',
    weight: 2,
    on: programs,
    strike: async random => {
      for (const program of programs) {
        await program.stop()
        startAgain(program, random)
        await program.ready()
      }
    },
  }
}

async function killed(program: Program, random: Random, down: Range = DOWN_MS): Promise<void> {
  await program.kill()
  await wait(random, down)
  startAgain(program, random)
}

async function stopped(program: Program, random: Random): Promise<void> {
  await program.stop()
  await wait(random, DOWN_MS)
  startAgain(program, random)
}

async function paused(program: Program, random: Random): Promise<void> {
  program.pause()
  await wait(random, random.chance(0.3) ? MOMENT_MS : BEYOND_HEARTBEAT_MS)
  program.resume()
}

/** An archiver comes back with other settings, and sometimes on another machine. */
function startAgain(program: Program, random: Random): void {
  if (program.role === 'archive' && random.chance(LOST_DATA_SHARE)) program.loseData()
  program.start(program.role === 'archive' ? batchSettings(random) : {})
}
