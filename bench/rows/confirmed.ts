import { type Contender, contest } from '../contest.ts'
import type { Site } from '../site.ts'
import type { RowResult } from '../table.ts'

/** One event a request, answered when a quorum queue has confirmed it. */
export async function confirmed(site: Site): Promise<RowResult> {
  const { connections } = site.options
  const ours = ingest(site, 'frequency')
  const floor = peer(site, 'floor', 'floor: node:http + rabbitmq-client')
  const express = peer(site, 'express-amqplib', 'Express + amqplib')
  const results = await contest(site, [ours, floor, express])
  for (const { server } of [ours, floor, express]) await server.stop()
  return {
    title: `One event a request, confirmed by a quorum queue, ${connections} connections`,
    goal: '1.3 × the floor, 4 × Express, no more CPU than the floor',
    lines: results.map(({ line }) => line),
  }
}

export function ingest(site: Site, name: string): Contender {
  const queue = site.queue()
  const env = { AMQP_URL: site.rabbitmq.url, AMQP_QUEUE: queue.name }
  const server = site.frequency(['--role=ingest'], env)
  return contender(site, name, server, () => queue.readGroups())
}

export function peer(site: Site, program: string, name: string): Contender {
  const queue = site.queue()
  const server = site.program(program, { AMQP_URL: site.rabbitmq.url, AMQP_QUEUE: queue.name })
  return contender(site, name, server, () => queue.purgeSingles())
}

function contender(
  { singles, options: { connections } }: Site,
  name: string,
  server: Contender['server'],
  count: NonNullable<Contender['count']>,
): Contender {
  return { name, server, path: '/api/t', bodies: singles, eventsPerRequest: 1, connections, count }
}
