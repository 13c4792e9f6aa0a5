import { contest, type Send } from '../contest.ts'
import { type LoadFigures, sendLoad, sendPaced } from '../load.ts'
import { progress } from '../progress.ts'
import type { Site } from '../site.ts'
import { median, type RowResult } from '../table.ts'
import { ingest, peer } from './confirmed.ts'

/** Share of the wanted rate below which the latencies say nothing. */
const RATE_SHARE_MIN = 0.95

/** Measures latencies at half of the peak rate of the floor. */
export async function latency(site: Site): Promise<RowResult> {
  const { connections, seconds, warmUpSeconds } = site.options
  // h2load sends the same body again and again, so events must not have an id.
  const bodies = site.bodies('minted')
  const ours = ingest(site, 'frequency', bodies)
  const floor = peer(site, 'floor', 'floor: node:http + rabbitmq-client', bodies)
  const url = `${await floor.server.listening()}${bodies.path}`
  const flatOut = (forSeconds: number): Promise<LoadFigures> =>
    sendLoad({ url, bodies: bodies.file, connections, seconds: forSeconds })
  if (warmUpSeconds > 0) await flatOut(warmUpSeconds)
  await site.settle(floor.server)
  const { answers, seconds: took } = await flatOut(seconds)
  await floor.count?.()
  const perSecond = Math.round(answers / took / 2)
  progress(`  ${perSecond} events a second are half of the peak rate of the floor`)

  const paced: Send = (_, to, forSeconds) =>
    sendPaced({ url: to, bodies: bodies.file, connections, seconds: forSeconds }, perSecond)
  const results = await contest(site, [ours, floor], paced)
  for (const { server } of [ours, floor]) await server.stop()
  const lines = results.map(({ line }) => line)
  const late = lines.filter(
    ({ eventsPerSecond }) => (median(eventsPerSecond) ?? 0) < perSecond * RATE_SHARE_MIN,
  )
  return {
    title: `Latency at ${perSecond} events a second, half of the floor's peak, ${connections} connections; ids minted here`,
    goal: "p50 and p99 no worse than the floor's",
    lines,
    notes: [
      `p50 ${times(lines, 'p50Ms')} and p99 ${times(lines, 'p99Ms')} the floor's.`,
      ...late.map(({ name }) => `${name} did not reach the rate: its latencies show an overload.`),
    ],
  }
}

function times([ours, floor]: RowResult['lines'], of: 'p50Ms' | 'p99Ms'): string {
  return `${((median(ours?.[of]) ?? Number.NaN) / (median(floor?.[of]) ?? Number.NaN)).toFixed(2)} ×`
}
