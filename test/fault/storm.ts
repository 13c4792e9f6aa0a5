/**
 * Measures how fast a backlog is archived, with and without a retry storm. In a storm one event in ten is on the queue
 * twice, in messages of two servers. Every archiver has to archive some of the events.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { until } from '../services/wait.ts'
import type { Load } from './load.ts'
import type { Program } from './program.ts'
import type { Random } from './random.ts'
import type { Stage } from './stage.ts'

const POLL_MS = 50
const ARCHIVED_MS_MAX = 120_000
const SIZES = { bytesMin: 20, bytesMax: 400 }
/** Each round measures both cases, so that other load on the machine affects both. */
const ROUNDS = 2
const RATIO_MIN = 0.5
/** With 10 events per message and a prefetch of 500, one archiver cannot hold the whole backlog. */
const MESSAGE_EVENTS_MAX = 10
const SETTINGS = {
  AMQP_PREFETCH: '500',
  BATCH_EVENTS_MAX: '500',
  BATCH_AGE_MS_MAX: '500',
  ARCHIVE_COMPRESSION: 'gzip',
}

/** Number of archived events by the name of the archiver. */
export type Shares = ReadonlyMap<string, number>

export interface StormResult {
  /** Events per second of all archivers together, without the storm; each event is counted once. */
  readonly calm: number
  /** The same with the storm. */
  readonly storm: number
  /** One entry per backlog. */
  readonly shares: readonly Shares[]
  readonly findings: readonly string[]
}

/** @param events size of each backlog. Queue and spools have to be empty, and the load stopped */
export async function measureStorm(
  stage: Stage,
  load: Load,
  random: Random,
  events: number,
): Promise<StormResult> {
  const rates: Record<'calm' | 'storm', number[]> = { calm: [], storm: [] }
  const shares: Shares[] = []
  const findings: string[] = []
  for (const ingest of stage.ingests) {
    await ingest.stop()
    stage.start(ingest, random, { PUBLISH_EVENTS_MAX: String(MESSAGE_EVENTS_MAX) })
  }
  await Promise.all(stage.ingests.map(ingest => ingest.ready()))
  try {
    for (let round = 0; round < ROUNDS; round++)
      for (const kind of ['calm', 'storm'] as const) {
        await Promise.all(stage.archivers.map(archiver => archiver.stop()))
        await load.burst(events, SIZES, kind === 'storm')
        const { perSecond, share } = await archiveAll(stage, random, events)
        rates[kind].push(perSecond)
        shares.push(share)
        for (const [name, count] of share)
          if (count === 0) findings.push(`stuck: ${name} has archived no event of a backlog`)
      }
  } catch (error) {
    findings.push(`stuck: ${(error as Error).message}`)
  }
  const [calm, storm] = [mean(rates.calm), mean(rates.storm)]
  if (storm < RATIO_MIN * calm)
    findings.push(`retry storm: ${Math.round(storm)} events per second, ${Math.round(calm)} without it`)
  return { calm, storm, shares, findings }
}

/** Starts the archivers, and waits until all events are archived. Measures from their first batch on. */
async function archiveAll(
  stage: Stage,
  random: Random,
  events: number,
): Promise<{ perSecond: number; share: Shares }> {
  for (const archiver of stage.archivers) stage.start(archiver, random, SETTINGS)
  await Promise.all(stage.archivers.map(archiver => archiver.ready()))
  const first = await reached(stage.archivers, 1)
  const last = await reached(stage.archivers, events)
  const perSecond = ((last.sum - first.sum) / Math.max(1, last.atMs - first.atMs)) * 1_000
  const share = new Map(stage.archivers.map(({ name }, index) => [name, last.counts[index] as number]))
  return { perSecond, share }
}

async function reached(archivers: readonly Program[], events: number) {
  const look = async () => {
    const counts = await Promise.all(archivers.map(archiver => archiver.archived()))
    const sum = counts.reduce((total, count) => total + count, 0)
    return { counts, sum, atMs: performance.now() }
  }
  let seen = await look()
  await until(`${events} events are archived`, ARCHIVED_MS_MAX, async () => {
    if (seen.sum >= events) return true
    await sleep(POLL_MS)
    seen = await look()
    return seen.sum >= events
  })
  return seen
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length)
}
