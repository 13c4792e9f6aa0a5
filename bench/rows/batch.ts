import { range } from '../../test/helper.ts'
import { contest } from '../contest.ts'
import type { Site } from '../site.ts'
import type { RowResult } from '../table.ts'
import { ingest, peer } from './confirmed.ts'

const EVENTS_PER_REQUEST = 100
/** Bodies are large: few connections are enough to keep a server busy. */
const CONNECTIONS_MAX = 32

/** Batches of events, answered when a quorum queue has confirmed them, beside the floor's single events. */
export async function batch(site: Site): Promise<RowResult> {
  const connections = Math.min(CONNECTIONS_MAX, site.options.connections)
  const ours = {
    ...ingest(site, `frequency, batches of ${EVENTS_PER_REQUEST}`),
    path: '/api/t/batch',
    bodies: site.file('batches.ndjson', batchesOf(site.events)),
    eventsPerRequest: EVENTS_PER_REQUEST,
    connections,
  }
  const floor = peer(site, 'floor', 'floor, single events')
  const results = await contest(site, [ours, floor])
  for (const { server } of [ours, floor]) await server.stop()
  return {
    title: `${EVENTS_PER_REQUEST} events a request, confirmed by a quorum queue, ${connections} connections`,
    goal: "8 × the floor's events a second",
    lines: results.map(({ line }) => line),
    notes: [`The floor has ${site.options.connections} connections.`],
  }
}

function batchesOf(events: readonly string[]): string[] {
  return range(events.length / EVENTS_PER_REQUEST).map(n => {
    const from = n * EVENTS_PER_REQUEST
    return `[${events.slice(from, from + EVENTS_PER_REQUEST).join(',')}]`
  })
}
