import { type Bodies, IDS_IN_WORDS, type Ids } from '../bodies.ts'
import { type Contender, contest } from '../contest.ts'
import type { Site } from '../site.ts'
import type { RowResult } from '../table.ts'

/** Measures requests with one event, answered after the publisher confirm of a quorum queue. */
export async function confirmed(site: Site, ids: Ids): Promise<RowResult> {
  const { connections } = site.options
  const bodies = site.bodies(ids)
  const ours = ingest(site, 'frequency', bodies)
  const floor = peer(site, 'floor', 'floor: node:http + rabbitmq-client', bodies)
  const express = peer(site, 'express-amqplib', 'Express + amqplib', bodies)
  const results = await contest(site, [ours, floor, express])
  for (const { server } of [ours, floor, express]) await server.stop()
  return {
    title: `Events confirmed by a quorum queue, ${connections} connections; ${IDS_IN_WORDS[ids]}`,
    goal: '1.3 × the floor, 4 × Express, no more CPU than the floor',
    lines: results.map(({ line }) => line),
  }
}

/** Starts frequency as an ingest process with a new queue. */
export function ingest(site: Site, name: string, bodies: Bodies): Contender {
  const queue = site.queue()
  const env = { AMQP_URL: site.rabbitmq.url, AMQP_QUEUE: queue.name }
  const { connections } = site.options
  const server = site.frequency(['--role=ingest'], env)
  return { name, server, bodies, connections, count: () => queue.readGroups() }
}

/** Starts a program of bench/programs with a new queue. */
export function peer(site: Site, program: string, name: string, bodies: Bodies): Contender {
  const queue = site.queue()
  const server = site.program(program, { AMQP_URL: site.rabbitmq.url, AMQP_QUEUE: queue.name })
  const { connections } = site.options
  const isOneEach = bodies.eventsPerRequest === 1
  const count = () => (isOneEach ? queue.purgeSingles() : queue.readBodies())
  return { name, server, bodies, connections, count }
}
