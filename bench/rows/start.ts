import { setTimeout as sleep } from 'node:timers/promises'
import { post } from '../../test/helpers/post.ts'
import { freePort } from '../../test/services/ports.ts'
import { type MemoryFigures, memory } from '../process-figures.ts'
import { progress } from '../progress.ts'
import type { ServerProcess } from '../server-process.ts'
import type { Site } from '../site.ts'
import type { Line, RowResult } from '../table.ts'

const ASK_EVERY_MS = 1
const START_MS_MAX = 60_000

interface Starter {
  readonly name: string
  start(port: string): ServerProcess
}

interface Start {
  readonly ms: number
  readonly memory: MemoryFigures
}

/** Measures the time from the start of the process to its first `200`. */
export async function start(site: Site): Promise<RowResult> {
  const queue = site.queue()
  const amqp = { AMQP_URL: site.rabbitmq.url, AMQP_QUEUE: queue.name }
  const starters: Starter[] = [
    { name: 'frequency, embedded queue', start: PORT => site.frequency([], { PORT }) },
    { name: 'frequency, RabbitMQ', start: PORT => site.frequency(['--role=ingest'], { ...amqp, PORT }) },
    { name: 'Fastify, one route', start: PORT => site.program('minimal-fastify', { PORT }) },
  ]
  const results = starters.map(starter => ({ starter, starts: [] as Start[] }))
  // The first round does not count: it reads the programs from the disk.
  for (let n = 0; n <= site.options.starts; n++) {
    for (const { starter, starts } of results) {
      const started = await startOnce(site, starter, body(site))
      if (n > 0) starts.push(started)
    }
  }
  progress(`  ${results[0]?.starts.length} starts of each`)
  return {
    title: 'From the start of the process to its first 200',
    goal: '2 × Fastify with one route',
    lines: results.map(({ starter, starts }): Line => {
      const last = starts.at(-1)
      return {
        name: starter.name,
        ms: starts.map(({ ms }) => ms),
        flaws: [],
        ...(last !== undefined && { memory: last.memory }),
      }
    }),
  }
}

function body({ events }: Site): string {
  return events[0] as string
}

async function startOnce(site: Site, { start }: Starter, event: string): Promise<Start> {
  const port = await freePort()
  await site.settle()
  const startedAt = performance.now()
  const server = start(String(port))
  while (!(await isTaken(port, event))) {
    server.assertRunning()
    if (performance.now() - startedAt > START_MS_MAX) throw new Error(`${server.name} answers no 200`)
    await sleep(ASK_EVERY_MS)
  }
  const ms = performance.now() - startedAt
  const figures = memory(server.pid)
  await server.listening()
  await server.stop()
  return { ms, memory: figures }
}

/** Resolves to whether an event is answered with 200. It is not before the server listens. */
async function isTaken(port: number, event: string): Promise<boolean> {
  const sent = post(`http://127.0.0.1:${port}/api/t`, event, { contentType: 'application/json' })
  return (await sent.catch(() => undefined)) === 200
}
