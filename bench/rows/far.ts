import type { EventCount } from '../bodies.ts'
import { type Drained, drain, drainLine } from '../drain.ts'
import { fillThrough } from '../fill.ts'
import { ARCHIVE_EVENTS } from '../options.ts'
import { progress } from '../progress.ts'
import type { Site } from '../site.ts'
import { openStoreLink } from '../store-link.ts'
import type { RowResult } from '../table.ts'

const BATCH_EVENTS = 1_000
const DELAY_MS = 60
const BUCKET = 'far'

/** Measures archiving from a full queue into a store that is slow to answer. */
export async function far(site: Site): Promise<RowResult> {
  const { rounds, archiveEvents = ARCHIVE_EVENTS, batchEvents = BATCH_EVENTS } = site.options
  const env = await site.bucketEnv(BUCKET)
  const entrants = [
    { name: `frequency, ${DELAY_MS} ms a request`, delayMs: DELAY_MS },
    { name: 'frequency, through the same proxy without delay', delayMs: 0 },
  ].map(entrant => ({ ...entrant, drains: [] as Drained[], flaws: [] as string[], requests: [] as string[] }))
  const queue = site.queue()
  const amqp = { AMQP_URL: site.rabbitmq.url, AMQP_QUEUE: queue.name }
  const ingest = site.frequency(['--role=ingest'], amqp)
  const bodies = site.bodies('clients')
  const url = `${await ingest.listening()}${bodies.path}`
  for (let n = 1; n <= rounds; n++) {
    for (const { name, delayMs, drains, flaws, requests } of entrants) {
      const filled: EventCount = await fillThrough(site, url, bodies, archiveEvents)
      await site.settle(ingest)
      const link = await openStoreLink(env.AWS_ENDPOINT_URL_S3 as string, { delayMs })
      const archiveUrl = `s3://${BUCKET}/${site.fresh('archive').name}`
      const server = site.frequency(['--role=archive'], {
        ...amqp,
        ...env,
        AWS_ENDPOINT_URL_S3: link.endpoint,
        ARCHIVE_URL: archiveUrl,
        BATCH_EVENTS_MAX: String(batchEvents),
        BATCH_AGE_MS_MAX: String(site.options.batchAgeMs),
      })
      const drained = await drain(site, server, filled.least)
      drains.push({ ...drained, filled: filled.least })
      requests.push((link.requests / (drained.events / batchEvents)).toFixed(1))
      await link.close()
      flaws.push(...(await site.flawsOfArchive(archiveUrl, filled, env)).map(flaw => `round ${n}: ${flaw}`))
      progress(`  ${name}: round ${n} of ${rounds}, ${Math.round(drained.eventsPerSecond)} events a second`)
    }
  }
  await ingest.stop()
  return {
    title: `Archiving at least ${archiveEvents} events with clients' ids into S3 (radosgw), one archiver, batches of ${batchEvents}`,
    goal: `60,000 events a second at ${DELAY_MS} ms a request`,
    lines: entrants.map(({ name, drains, flaws }) => drainLine(name, drains, flaws)),
    notes: [...entrants.map(({ name, requests }) => `${name}: ${requests.join(', ')} requests a batch`)],
  }
}
