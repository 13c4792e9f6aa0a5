import { range } from '../../test/helpers/helper.ts'
import { batchesOfEvents } from '../bodies.ts'
import { fillThrough } from '../fill.ts'
import { Fleet, type FleetFigures } from '../fleet.ts'
import { ARCHIVE_EVENTS } from '../options.ts'
import { progress } from '../progress.ts'
import type { Site } from '../site.ts'
import { openStoreLink, type StoreLink, type Traffic } from '../store-link.ts'
import { median, type RowResult } from '../table.ts'

const BUCKET = 'spread'
const LINK_BYTES_PER_SECOND = 2_000_000
const ARCHIVERS = 4
const EVENTS_PER_REQUEST = 100
const FILL_CONNECTIONS = 16
/** Small, since an archiver holds about 18 batches unacknowledged: with large ones the first archiver would hold all events. */
const BATCH_EVENTS = 1_000

interface Entrant {
  readonly name: string
  readonly archivers: number
  readonly bytesPerSecond: number
  readonly runs: FleetFigures[]
  readonly flaws: string[]
}

/** Measures several archivers on one queue: whether each uses its own link fully, and how much they delay each other. */
export async function spread(site: Site): Promise<RowResult[]> {
  const throttled = entrantsOf('on a link of 2 MB a second', LINK_BYTES_PER_SECOND)
  const free = entrantsOf('on a link without a limit', Number.POSITIVE_INFINITY)
  const env = await site.bucketEnv(BUCKET)
  const amqp = { AMQP_URL: site.rabbitmq.url, AMQP_QUEUE: site.queue().name }
  const ingest = site.frequency(['--role=ingest'], amqp)
  const bodies = batchesOfEvents('clients', EVENTS_PER_REQUEST, site.file)
  const url = `${await ingest.listening()}${bodies.path}`
  const { rounds, archiveEvents = ARCHIVE_EVENTS } = site.options
  for (let n = 1; n <= rounds; n++) {
    for (const entrant of [...throttled, ...free]) {
      const filled = await fillThrough(site, url, bodies, archiveEvents, FILL_CONNECTIONS)
      await site.settle(ingest)
      const archiveUrl = `s3://${BUCKET}/${site.fresh('archive').name}`
      const figures = await runFleet(
        site,
        entrant,
        { ...amqp, ...env, ARCHIVE_URL: archiveUrl },
        filled.least,
      )
      entrant.runs.push(figures)
      const flaws = await site.flawsOfArchive(archiveUrl, filled, env)
      entrant.flaws.push(...flaws.map(flaw => `round ${n}: ${flaw}`))
      progress(
        `  ${entrant.name}: round ${n} of ${rounds}, ${Math.round(figures.eventsPerSecond)} events a second; ${figures.shares.join(' + ')} events`,
      )
    }
  }
  await ingest.stop()
  return [
    resultOf(site, throttled, '4 archivers at least 3.5 × one'),
    resultOf(site, free, '4 archivers at least 0.9 × one'),
  ]
}

function entrantsOf(words: string, bytesPerSecond: number): Entrant[] {
  return [ARCHIVERS, 1].map(archivers => ({
    name: `${archivers} ${archivers === 1 ? 'archiver' : 'archivers'}, each ${words}`,
    archivers,
    bytesPerSecond,
    runs: [],
    flaws: [],
  }))
}

async function runFleet(
  site: Site,
  { archivers, bytesPerSecond }: Entrant,
  env: Readonly<Record<string, string>>,
  expected: number,
): Promise<FleetFigures> {
  const endpoint = env.AWS_ENDPOINT_URL_S3 as string
  const links = await Promise.all(range(archivers).map(() => openStoreLink(endpoint, { bytesPerSecond })))
  const { batchEvents = BATCH_EVENTS, batchAgeMs } = site.options
  const servers = links.map(link =>
    site.frequency(['--role=archive'], {
      ...env,
      AWS_ENDPOINT_URL_S3: link.endpoint,
      BATCH_EVENTS_MAX: String(batchEvents),
      BATCH_AGE_MS_MAX: String(batchAgeMs),
    }),
  )
  const fleet = new Fleet(servers)
  await fleet.whenArchived(expected, batchAgeMs)
  const figures = await fleet.end()
  for (const link of links) await link.close()
  progress(`    ${trafficLine(links)}`)
  return figures
}

function resultOf({ options }: Site, entrants: readonly Entrant[], goal: string): RowResult {
  const { archiveEvents = ARCHIVE_EVENTS, batchEvents = BATCH_EVENTS } = options
  return {
    title: `Archivers of one queue, at least ${archiveEvents} events with clients' ids into S3 (radosgw), batches of ${batchEvents}`,
    goal,
    lines: entrants.map(({ name, runs, flaws }) => ({
      name,
      eventsPerSecond: runs.map(({ eventsPerSecond }) => eventsPerSecond),
      cpuUs: runs.map(({ cpuUs }) => cpuUs),
      memory: {
        peakMib: Math.max(...runs.map(({ memory }) => memory.peakMib)),
        anonMib: Math.max(...runs.map(({ memory }) => memory.anonMib)),
      },
      counted: `${runs.reduce((sum, { events }) => sum + events, 0)} archived`,
      flaws,
    })),
    notes: entrants.map(({ name, runs }) => {
      const of = (value: (figures: FleetFigures) => number) => median(runs.map(value)) ?? Number.NaN
      return `${name}: ${of(each => each.commits)} commits, ${of(each => each.commitsPerSecond).toFixed(1)} a second, ${of(each => each.conflicts)} conflicts; events of each in the last round: ${runs.at(-1)?.shares.join(', ')}`
    }),
  }
}

/** Returns the traffic on the links by kind of request. */
function trafficLine(links: readonly StoreLink[]): string {
  const sums = new Map<string, Traffic>()
  for (const { traffic } of links)
    for (const [kind, { requests, bytesUp, bytesDown }] of traffic) {
      const sum = sums.get(kind) ?? { requests: 0, bytesUp: 0, bytesDown: 0 }
      sums.set(kind, {
        requests: sum.requests + requests,
        bytesUp: sum.bytesUp + bytesUp,
        bytesDown: sum.bytesDown + bytesDown,
      })
    }
  const kib = (bytes: number) => Math.round(bytes / 1024)
  return [...sums]
    .sort(([, a], [, b]) => b.bytesUp + b.bytesDown - a.bytesUp - a.bytesDown)
    .map(([kind, sum]) => `${kind}: ${sum.requests} (${kib(sum.bytesUp)} up, ${kib(sum.bytesDown)} down KiB)`)
    .join('; ')
}
