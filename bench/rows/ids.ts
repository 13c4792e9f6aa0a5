import { join } from 'node:path'
import { type Drained, drain, drainLine } from '../drain.ts'
import { type FullQueue, fillEmbedded } from '../fill.ts'
import { progress } from '../progress.ts'
import type { Site } from '../site.ts'
import type { RowResult } from '../table.ts'

const EVENTS = 3_000_000
const BATCH_EVENTS = 20_000

/** Measures archiving from a full embedded queue into a directory, with random UUIDs of clients and with ids of frequency. */
export async function ids(site: Site): Promise<RowResult> {
  const { rounds, archiveEvents = EVENTS, batchEvents = BATCH_EVENTS } = site.options
  const entrants = [
    { name: "clients' UUIDs", queue: await fillEmbedded(site, 'clients', archiveEvents) },
    { name: 'ids minted here', queue: await fillEmbedded(site, 'minted', archiveEvents) },
  ]
  const results = entrants.map(entrant => ({ ...entrant, drains: [] as Drained[], flaws: [] as string[] }))
  for (let n = 1; n <= rounds; n++) {
    for (const { name, queue, drains, flaws } of results) {
      const { drained, flaws: found } = await archiveOnce(site, queue, batchEvents)
      drains.push(drained)
      flaws.push(...found.map(flaw => `round ${n}: ${flaw}`))
      progress(
        `  ${name}: round ${n} of ${rounds}, ${Math.round(drained.eventsPerSecond)} events a second, ${Math.round(drained.memory.peakMib)} MiB`,
      )
    }
  }
  return {
    title: `Archiving at least ${archiveEvents} events from a full embedded queue into a directory, gzip, batches of ${batchEvents}`,
    goal: "clients' UUIDs at least 0.7 × ids minted here",
    lines: results.map(({ name, drains, flaws }) => drainLine(name, drains, flaws)),
    notes: ['Filled by /api/t/batch, 100 events a request; each round begins with a copy of the same queue.'],
  }
}

async function archiveOnce(
  site: Site,
  queue: FullQueue,
  batchEvents: number,
): Promise<{ drained: Drained; flaws: string[] }> {
  const { path } = site.fresh('ids')
  await queue.copyTo(path)
  await site.settle()
  const server = site.frequency([], {
    DATA_DIR: path,
    BATCH_EVENTS_MAX: String(batchEvents),
    BATCH_AGE_MS_MAX: String(site.options.batchAgeMs),
  })
  const { least } = queue.filled
  const drained = { ...(await drain(site, server, least)), filled: least }
  const flaws = await site.flawsOfArchive(join(path, 'archive'), queue.filled)
  await site.discard(path)
  return { drained, flaws }
}
