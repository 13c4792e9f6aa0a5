import type { BrokerQueue } from '../broker-queue.ts'
import { type DrainFigures, drain } from '../drain.ts'
import { sendLoad } from '../load.ts'
import { progress } from '../progress.ts'
import type { ServerProcess } from '../server-process.ts'
import type { Site } from '../site.ts'
import type { Line, RowResult } from '../table.ts'

const BUCKET = 'bench'

/** Events that are known to be in a queue: requests that the end of a load cuts off may add to them. */
interface Filling {
  readonly least: number
  readonly most: number
}

interface Entrant {
  readonly name: string
  fill(): Promise<Filling>
  /** @param round names the archive */
  start(): Started
  stop(): Promise<void>
}

interface Drained extends DrainFigures {
  readonly filled: number
}

interface Started {
  readonly server: ServerProcess
  /** What is wrong with the archive, in words. */
  verify?(filling: Filling): Promise<string[]>
}

/** From a full queue into the store, NDJSON and gzip. */
export async function archive(site: Site): Promise<RowResult> {
  const { rounds, archiveEvents, batchEvents, connections } = site.options
  const entrants = [
    await archiver(site, 'frequency, into a directory'),
    await archiver(site, 'frequency, into S3 (radosgw)', { toS3: true }),
    await archiver(site, 'frequency, one event a message', { env: { PUBLISH_EVENTS_MAX: '1' } }),
    await bareConsumer(site),
  ]
  const results = entrants.map(entrant => ({ entrant, drains: [] as Drained[], flaws: [] as string[] }))
  for (let n = 1; n <= rounds; n++) {
    for (const { entrant, drains, flaws } of results) {
      const filling = await entrant.fill()
      await site.settle()
      const { server, verify } = entrant.start()
      const figures = await drain(site, server, filling.least)
      drains.push({ ...figures, filled: filling.least })
      flaws.push(...((await verify?.(filling)) ?? []).map(flaw => `round ${n}: ${flaw}`))
      progress(
        `  ${entrant.name}: round ${n} of ${rounds}, ${Math.round(figures.eventsPerSecond)} events a second`,
      )
    }
  }
  for (const entrant of entrants) await entrant.stop()
  return {
    title: `Archiving at least ${archiveEvents} events from a full queue, gzip, batches of ${batchEvents}`,
    goal: '5 × the bare consumer',
    lines: results.map(({ entrant, drains, flaws }) => lineOf(entrant.name, drains, flaws)),
    notes: [
      `Filled through our own ingest, one event a request on ${connections} connections, so messages hold groups;`,
      'the bare consumer has one-event messages, without our stamp.',
    ],
  }
}

function lineOf(name: string, drains: readonly Drained[], flaws: readonly string[]): Line {
  const peaks = drains.map(({ memory }) => memory)
  return {
    name,
    eventsPerSecond: drains.map(({ eventsPerSecond }) => eventsPerSecond),
    cpuUs: drains.map(({ cpuUs }) => cpuUs),
    brokerCpuUs: drains.map(({ brokerCpuUs }) => brokerCpuUs),
    memory: {
      peakMib: Math.max(...peaks.map(({ peakMib }) => peakMib)),
      anonMib: Math.max(...peaks.map(({ anonMib }) => anonMib)),
    },
    counted: `${total(drains, 'filled')} filled, ${total(drains, 'events')} taken`,
    flaws,
  }
}

function total(drains: readonly Drained[], of: 'filled' | 'events'): number {
  return drains.reduce((sum, drained) => sum + drained[of], 0)
}

async function archiver(
  site: Site,
  name: string,
  { toS3 = false, env = {} }: { toS3?: boolean; env?: Record<string, string> } = {},
): Promise<Entrant> {
  const queue = site.queue()
  const amqp = { AMQP_URL: site.rabbitmq.url, AMQP_QUEUE: queue.name }
  const ingest = site.frequency(['--role=ingest'], { ...amqp, ...env })
  const url = `${await ingest.listening()}/api/t`
  const s3 = toS3 ? await bucketEnv(site) : {}
  return {
    name,
    fill: () => fill(site, url),
    start: () => {
      const { name: prefix, path } = site.fresh('archive')
      const archiveUrl = toS3 ? `s3://${BUCKET}/${prefix}` : path
      const server = site.frequency(['--role=archive'], {
        ...amqp,
        ...s3,
        ARCHIVE_URL: archiveUrl,
        BATCH_EVENTS_MAX: String(site.options.batchEvents),
        BATCH_AGE_MS_MAX: String(site.options.batchAgeMs),
      })
      return { server, verify: filling => flawsOf(site, archiveUrl, s3, filling) }
    },
    stop: () => ingest.stop(),
  }
}

async function bucketEnv(site: Site): Promise<Record<string, string>> {
  const radosgw = await site.radosgw()
  await radosgw.createBucket(BUCKET)
  return radosgw.env()
}

async function fill({ singles, options }: Site, url: string): Promise<Filling> {
  const { archiveEvents, connections } = options
  let [least, most] = [0, 0]
  while (least < archiveEvents) {
    const { answers } = await sendLoad({ url, bodies: singles, connections, seconds: options.seconds })
    least += answers
    most += answers + connections
  }
  return { least, most }
}

async function flawsOf(
  site: Site,
  archiveUrl: string,
  env: Record<string, string>,
  filling: Filling,
): Promise<string[]> {
  const { events, doubled } = await site.verify(archiveUrl, env)
  const flaws: string[] = []
  if (events < filling.least || events > filling.most)
    flaws.push(`${filling.least} events were answered, ${events} are in the archive`)
  if (doubled > 0) flaws.push(`${doubled} events are doubled in the archive`)
  return flaws
}

async function bareConsumer(site: Site): Promise<Entrant> {
  const queue: BrokerQueue = site.queue()
  await queue.declare()
  const events = Math.ceil(site.options.archiveEvents / 1_000) * 1_000
  return {
    name: 'bare rabbitmq-client consumer',
    fill: async () => {
      await queue.fill(site.events, events)
      return { least: events, most: events }
    },
    start: () => ({
      server: site.program('bare-consumer', { AMQP_URL: site.rabbitmq.url, AMQP_QUEUE: queue.name }),
    }),
    stop: async () => {},
  }
}
