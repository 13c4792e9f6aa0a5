import { join } from 'node:path'
import { freePort } from '../../test/services/ports.ts'
import { s3Environment } from '../../test/services/s3-environment.ts'
import { type Contender, type ContestResult, contest } from '../contest.ts'
import { takeAll } from '../drain.ts'
import type { ServerProcess } from '../server-process.ts'
import type { Site } from '../site.ts'
import { type Line, type RowResult, ratio } from '../table.ts'

/**
 * One event a request, answered when it is fsynced in the embedded queue. A process with such a queue
 * archives as well; so that the queue can be seen alone, another one has a store that is away, and
 * archives in the end.
 */
export async function embedded(site: Site): Promise<RowResult> {
  const { connections } = site.options
  const [whole, alone] = [embeddedEnv(site), embeddedEnv(site)]
  const contender = (name: string, server: ServerProcess): Contender => ({
    name,
    server,
    path: '/api/t',
    bodies: site.singles,
    eventsPerRequest: 1,
    connections,
  })
  const contenders = [
    contender('frequency, archiving meanwhile', site.frequency([], whole)),
    contender('frequency, its store away', site.frequency([], { ...alone, ...(await storeAway()) })),
    contender('bare Fastify, no queue', site.program('bare-fastify')),
  ]
  const [both, queue, fastify] = (await contest(site, contenders)) as [
    ContestResult,
    ContestResult,
    ContestResult,
  ]
  await site.settle(...contenders.map(({ server }) => server))
  for (const { server } of contenders) await server.stop()

  await takeAll(site, site.frequency([], whole), 0)
  await takeAll(site, site.frequency([], alone), queue.answered)
  return {
    title: `One event a request, fsynced in the embedded queue, ${connections} connections`,
    goal: '0.9 × bare Fastify',
    lines: [await counted(site, both, whole), await counted(site, queue, alone), fastify.line],
    notes: [`The queue alone, with no archiving: ${ratio(queue.line, fastify.line)} bare Fastify.`],
  }
}

/** Nothing listens there. */
async function storeAway(): Promise<Record<string, string>> {
  return {
    ...s3Environment({
      endpoint: `http://127.0.0.1:${await freePort()}`,
      accessKeyId: 'none',
      secretAccessKey: 'none',
      region: 'us-east-1',
    }),
    ARCHIVE_URL: 's3://away',
  }
}

interface EmbeddedEnv extends Record<string, string> {
  readonly DATA_DIR: string
}

function embeddedEnv(site: Site): EmbeddedEnv {
  const { path } = site.fresh('embedded')
  return {
    DATA_DIR: path,
    BATCH_EVENTS_MAX: String(site.options.batchEvents),
    BATCH_AGE_MS_MAX: String(site.options.batchAgeMs),
  }
}

async function counted(
  site: Site,
  { line, answered }: ContestResult,
  { DATA_DIR }: EmbeddedEnv,
): Promise<Line> {
  const { events, doubled } = await site.verify(join(DATA_DIR, 'archive'))
  const { rounds, connections } = site.options
  // With the warm-up.
  const most = answered + (rounds + 1) * connections
  const flaws = [...line.flaws]
  if (events < answered || events > most) flaws.push(`${answered} events answered, ${events} in the archive`)
  if (doubled > 0) flaws.push(`${doubled} events are doubled in the archive`)
  return { ...line, counted: `${answered} answered, ${events} archived`, flaws }
}
