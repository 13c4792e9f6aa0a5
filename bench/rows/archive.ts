import { type EventCount, IDS_IN_WORDS, type Ids } from '../bodies.ts'
import type { BrokerQueue } from '../broker-queue.ts'
import { type Drained, drain, drainLine } from '../drain.ts'
import { fillThrough } from '../fill.ts'
import { ARCHIVE_EVENTS, BATCH_EVENTS } from '../options.ts'
import { progress } from '../progress.ts'
import { sampleEvents } from '../sample-events.ts'
import type { ServerProcess } from '../server-process.ts'
import type { Site } from '../site.ts'
import type { RowResult } from '../table.ts'

const BUCKET = 'bench'

interface Entrant {
  readonly name: string
  fill(): Promise<EventCount>
  start(): Started
  stop(): Promise<void>
}

interface Started {
  readonly server: ServerProcess
  /** Resolves to a sentence for each fault of the archive. */
  verify?(filling: EventCount): Promise<string[]>
}

/** Measures archiving from a full queue into a store, as NDJSON with gzip. */
export async function archive(site: Site, ids: Ids): Promise<RowResult> {
  const { rounds, archiveEvents = ARCHIVE_EVENTS, batchEvents = BATCH_EVENTS, connections } = site.options
  const entrants = [
    await archiver(site, 'frequency, into a directory', ids),
    await archiver(site, 'frequency, into S3 (radosgw)', ids, { toS3: true }),
    await archiver(site, 'frequency, one event a message', ids, { env: { PUBLISH_EVENTS_MAX: '1' } }),
    await bareConsumer(site, ids),
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
    title: `Archiving at least ${archiveEvents} events from a full queue, gzip, batches of ${batchEvents}; ${IDS_IN_WORDS[ids]}`,
    goal: '5 × the bare consumer',
    lines: results.map(({ entrant, drains, flaws }) => drainLine(entrant.name, drains, flaws)),
    notes: [
      `An ingest process of frequency fills its queue, on ${connections} connections, so a message has several events.`,
      'The bare consumer gets messages of one event without the fields that frequency adds.',
    ],
  }
}

async function archiver(
  site: Site,
  name: string,
  ids: Ids,
  { toS3 = false, env = {} }: { toS3?: boolean; env?: Record<string, string> } = {},
): Promise<Entrant> {
  const { archiveEvents = ARCHIVE_EVENTS, batchEvents = BATCH_EVENTS } = site.options
  const queue = site.queue()
  const amqp = { AMQP_URL: site.rabbitmq.url, AMQP_QUEUE: queue.name }
  const ingest = site.frequency(['--role=ingest'], { ...amqp, ...env })
  const bodies = site.bodies(ids)
  const url = `${await ingest.listening()}${bodies.path}`
  const s3 = toS3 ? await site.bucketEnv(BUCKET) : {}
  return {
    name,
    fill: () => fillThrough(site, url, bodies, archiveEvents),
    start: () => {
      const { name: prefix, path } = site.fresh('archive')
      const archiveUrl = toS3 ? `s3://${BUCKET}/${prefix}` : path
      const server = site.frequency(['--role=archive'], {
        ...amqp,
        ...s3,
        ARCHIVE_URL: archiveUrl,
        BATCH_EVENTS_MAX: String(batchEvents),
        BATCH_AGE_MS_MAX: String(site.options.batchAgeMs),
      })
      return { server, verify: filling => site.flawsOfArchive(archiveUrl, filling, s3) }
    },
    stop: async () => {
      await ingest.stop()
    },
  }
}

async function bareConsumer(site: Site, ids: Ids): Promise<Entrant> {
  const queue: BrokerQueue = site.queue()
  await queue.declare()
  const events = Math.ceil((site.options.archiveEvents ?? ARCHIVE_EVENTS) / 1_000) * 1_000
  return {
    name: 'bare rabbitmq-client consumer',
    fill: async () => {
      await queue.fill(sampleEvents(1_000, ids !== 'minted'), events)
      return { least: events, most: events }
    },
    start: () => ({
      server: site.program('bare-consumer', { AMQP_URL: site.rabbitmq.url, AMQP_QUEUE: queue.name }),
    }),
    stop: async () => {},
  }
}
