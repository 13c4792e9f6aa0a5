/** Faults of the program's processes. */
import { setTimeout as sleep } from 'node:timers/promises'
import { until } from '../services/wait.ts'
import {
  BEYOND_HEARTBEAT_MS,
  DOWN_MS,
  type Fault,
  Missed,
  MOMENT_MS,
  type Range,
  silence,
  wait,
} from './fault.ts'
import type { Link } from './link.ts'
import type { Program } from './program.ts'
import type { Random } from './random.ts'
import type { Stage } from './stage.ts'

const LOST_DATA_SHARE = 0.3
/** Time from holding the link of an ingest process until its events are in its spool. */
const SPOOLED_MS_MAX = 20_000

export function ingestFaults(stage: Stage, ingest: Program): Fault[] {
  const on = [ingest]
  return [
    { name: 'SIGKILL ingest', weight: 3, on, inject: random => killed(stage, ingest, random) },
    { name: 'SIGTERM ingest', weight: 1, on, inject: random => stopped(stage, ingest, random) },
    { name: 'SIGSTOP ingest', weight: 1, on, inject: random => paused(stage, ingest, random) },
    {
      // Its last bytes reach the broker after it has restarted, and has published the unconfirmed events from its spool.
      name: 'SIGKILL ingest, its bytes late',
      weight: 1,
      on: [ingest, ingest.brokerLink],
      inject: async random => {
        const release = ingest.brokerLink.hold()
        await wait(random, [500, 2_500])
        await killed(stage, ingest, random, MOMENT_MS)
        await ingest.ready()
        await wait(random, MOMENT_MS)
        release()
      },
    },
  ]
}

export function archiverFaults(stage: Stage, archiver: Program): Fault[] {
  const on = [archiver]
  const storeLink = archiver.storeLink as Link
  return [
    { name: 'SIGKILL archiver', weight: 4, on, inject: random => killed(stage, archiver, random) },
    { name: 'SIGTERM archiver', weight: 1, on, inject: random => stopped(stage, archiver, random) },
    { name: 'SIGSTOP archiver', weight: 3, on, inject: random => paused(stage, archiver, random) },
    {
      // Its last objects are written while another archiver archives the same events.
      name: 'SIGKILL archiver, its bytes late',
      weight: 2,
      on: [archiver, storeLink],
      inject: async random => {
        const release = storeLink.hold()
        await wait(random, [0, 1_500])
        await killed(stage, archiver, random)
        await wait(random, [0, 6_000])
        release()
      },
    },
    {
      // The objects that it was writing are never written.
      name: 'SIGKILL archiver, its bytes lost',
      weight: 2,
      on: [archiver, storeLink],
      inject: async random => {
        const resume = storeLink.stall()
        await wait(random, [500, 4_000])
        await archiver.kill()
        storeLink.cut()
        resume()
        await wait(random, DOWN_MS)
        startAgain(stage, archiver, random)
      },
    },
    {
      // The archiver loses the broker, and keeps the store.
      name: 'archiver cut off, writing on',
      weight: 2,
      on: [archiver.brokerLink, storeLink],
      inject: async random => {
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

export function rollingRestart(stage: Stage): Fault {
  return {
    name: 'rolling restart',
    weight: 2,
    on: stage.programs,
    inject: async random => {
      for (const program of stage.programs) {
        await program.stop()
        startAgain(stage, program, random)
        await program.ready()
      }
    },
  }
}

/**
 * An ingest process sends events and, without a confirm, also writes them to its spool. The sent events arrive
 * while the process is down. It restarts with its spool after more than two dedupe windows.
 */
export function windowFault(stage: Stage, ingest: Program): Fault {
  return {
    name: 'spool outlives the window',
    weight: 2,
    // No other fault may affect the other ingests: without new events the archivers forget no ids.
    on: [...stage.ingests, ingest.brokerLink],
    inject: async random => {
      const release = ingest.brokerLink.hold()
      const spooled = async () => (await stage.spooled(ingest)) > 0
      const isSpooled = await until('spooled', SPOOLED_MS_MAX, spooled).then(
        () => true,
        () => false,
      )
      // Kills the process before it reconnects, which it does after two missed heartbeats.
      await wait(random, MOMENT_MS)
      await ingest.kill()
      release()
      if (isSpooled) await sleep((stage.window as number) * 2.1)
      startAgain(stage, ingest, random)
      if (!isSpooled) throw new Missed(`${ingest.name} wrote nothing to its spool`)
    },
  }
}

async function killed(stage: Stage, program: Program, random: Random, down: Range = DOWN_MS): Promise<void> {
  await program.kill()
  await wait(random, down)
  startAgain(stage, program, random)
}

async function stopped(stage: Stage, program: Program, random: Random): Promise<void> {
  await program.stop()
  await wait(random, DOWN_MS)
  startAgain(stage, program, random)
}

async function paused(stage: Stage, program: Program, random: Random): Promise<void> {
  program.pause()
  await silence(random, stage.brokers.peerLinks.length > 0)
  program.resume()
}

/** Restarts a process with other settings. An archiver sometimes loses its data, as on another machine. */
function startAgain(stage: Stage, program: Program, random: Random): void {
  if (program.role === 'archive' && random.chance(LOST_DATA_SHARE)) program.loseData()
  stage.start(program, random)
}
