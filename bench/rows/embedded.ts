import { join } from 'node:path'
import { IDS_IN_WORDS, type Ids } from '../bodies.ts'
import { type Contender, type ContestResult, contest } from '../contest.ts'
import { takeAll } from '../drain.ts'
import { storeAway } from '../fill.ts'
import { BATCH_EVENTS } from '../options.ts'
import type { ServerProcess } from '../server-process.ts'
import type { Site } from '../site.ts'
import { type Line, type RowResult, ratio } from '../table.ts'

/**
 * Measures requests with one event, answered after the fsync of the embedded queue. A process with an embedded queue
 * also archives. To measure the queue alone, the store of a second process is unreachable. It archives at the end.
 */
export async function embedded(site: Site, ids: Ids): Promise<RowResult> {
  const { connections } = site.options
  const [whole, alone] = [embeddedEnv(site), embeddedEnv(site)]
  const contender = (name: string, server: ServerProcess): Contender => ({
    name,
    server,
    bodies: site.bodies(ids),
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
  await takeAll(site, site.frequency([], alone), queue.answered.least)
  return {
    title: `Events fsynced in the embedded queue, ${connections} connections; ${IDS_IN_WORDS[ids]}`,
    goal: '0.75 × bare Fastify',
    lines: [await counted(site, both, whole), await counted(site, queue, alone), fastify.line],
    notes: [`The queue alone, with no archiving: ${ratio(queue.line, fastify.line)} bare Fastify.`],
  }
}

interface EmbeddedEnv extends Record<string, string> {
  readonly DATA_DIR: string
}

function embeddedEnv(site: Site): EmbeddedEnv {
  const { path } = site.fresh('embedded')
  return {
    DATA_DIR: path,
    BATCH_EVENTS_MAX: String(site.options.batchEvents ?? BATCH_EVENTS),
    BATCH_AGE_MS_MAX: String(site.options.batchAgeMs),
  }
}

async function counted(
  site: Site,
  { line, answered }: ContestResult,
  { DATA_DIR }: EmbeddedEnv,
): Promise<Line> {
  const { events, doubled } = await site.verify(join(DATA_DIR, 'archive'))
  const { least, most } = answered
  const flaws = [...line.flaws]
  if (events < least || events > most) flaws.push(`${least} events answered, ${events} in the archive`)
  if (doubled > 0) flaws.push(`${doubled} events are in the archive more than once`)
  return { ...line, counted: `${least} answered, ${events} archived`, flaws }
}
