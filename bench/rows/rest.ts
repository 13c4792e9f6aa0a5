import { setTimeout as sleep } from 'node:timers/promises'
import { memory, residentMib, runNs } from '../process-figures.ts'
import { progress } from '../progress.ts'
import type { Site } from '../site.ts'
import type { RowResult } from '../table.ts'

const SECONDS = 60
const SECONDS_SMOKE = 2
/** A program still has work of its start when it listens. */
const AFTER_START_MS = 5_000

/** Measures memory and CPU time of processes without requests. */
export async function rest(site: Site): Promise<RowResult> {
  const { isSmoke } = site.options
  const seconds = isSmoke ? SECONDS_SMOKE : SECONDS
  const amqp = {
    AMQP_URL: site.rabbitmq.url,
    AMQP_QUEUE: site.queue().name,
    ARCHIVE_URL: site.fresh('archive').path,
  }
  const entrants = [
    { name: 'frequency, embedded queue', server: site.frequency([], {}) },
    { name: 'frequency, RabbitMQ', server: site.frequency([], amqp) },
    { name: 'Fastify, one route', server: site.program('minimal-fastify') },
  ]
  for (const { server } of entrants) await server.listening()
  await sleep(isSmoke ? 0 : AFTER_START_MS)
  const before = entrants.map(({ server }) => runNs(server.pid))
  await sleep(seconds * 1_000)
  const notes = entrants.map(({ name, server }, n) => {
    const share = (runNs(server.pid) - (before[n] as number)) / (seconds * 1e9)
    const resident = residentMib(server.pid)
    progress(`  ${name}: ${resident.toFixed(0)} MiB, ${(share * 100).toFixed(2)} % of a core`)
    return `${name}: ${resident.toFixed(0)} MiB resident, ${(share * 100).toFixed(2)} % of a core`
  })
  const lines = entrants.map(({ name, server }) => ({ name, memory: memory(server.pid), flaws: [] }))
  for (const { server } of entrants) await server.stop()
  return {
    title: `At rest for ${seconds} s, ROLE=all`,
    goal: 'at most 80 MiB resident, at most 0.2 % of a core',
    lines,
    notes,
  }
}
