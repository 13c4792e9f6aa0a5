import { batchesOfEvents, IDS_IN_WORDS, type Ids } from '../bodies.ts'
import { contest } from '../contest.ts'
import type { Site } from '../site.ts'
import type { RowResult } from '../table.ts'
import { ingest, peer } from './confirmed.ts'

const EVENTS_PER_REQUEST = 100
/** A few connections keep a server busy, since bodies are large. */
const CONNECTIONS_MAX = 32

/** Measures requests with batches of events, answered after the publisher confirms of a quorum queue, and single events to the floor. */
export async function batch(site: Site, ids: Exclude<Ids, 'mixed'>): Promise<RowResult> {
  const connections = Math.min(CONNECTIONS_MAX, site.options.connections)
  const bodies = batchesOfEvents(ids, EVENTS_PER_REQUEST, site.file)
  const ours = { ...ingest(site, `frequency, batches of ${EVENTS_PER_REQUEST}`, bodies), connections }
  const floor = peer(site, 'floor', 'floor, single events', site.bodies(ids))
  const results = await contest(site, [ours, floor])
  for (const { server } of [ours, floor]) await server.stop()
  return {
    title: `${EVENTS_PER_REQUEST} events a request, confirmed by a quorum queue, ${connections} connections; ${IDS_IN_WORDS[ids]}`,
    goal: "8 × the floor's events a second",
    lines: results.map(({ line }) => line),
    notes: [`The floor has ${site.options.connections} connections.`],
  }
}
