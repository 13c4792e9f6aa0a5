import { existsSync, readdirSync } from 'node:fs'
import { cp } from 'node:fs/promises'
import { join } from 'node:path'
import { until } from '../../test/services/wait.ts'
import { eventCount } from '../bodies.ts'
import { LakeSite } from '../lake-site.ts'
import { sendLoad } from '../load.ts'
import { BATCH_EVENTS } from '../options.ts'
import { cpuUs } from '../process-figures.ts'
import { progress } from '../progress.ts'
import type { Site } from '../site.ts'
import type { Line, RowResult } from '../table.ts'

/** About as many as are taken in a round. */
const EVENTS = 200_000
/** Made in DATA_DIR before a compaction. */
const COMPACTION_LOCK = 'table-keeper'
const COMPACTION_MS_MAX = 60_000

interface Entrant {
  readonly name: string
  readonly env: Record<string, string>
  readonly isCompacting: boolean
  readonly eventsPerSecond: number[]
  readonly cpuUs: number[]
  readonly flaws: string[]
}

/** Measures taking in and archiving while as many older events are put into the table, and without. */
export async function beside(site: Site): Promise<RowResult> {
  const made = await LakeSite.make(site, site.options.archiveEvents ?? EVENTS, 1)
  const entrant = (name: string, isCompacting: boolean): Entrant => ({
    ...{ name, isCompacting, eventsPerSecond: [], cpuUs: [], flaws: [] },
    env: { TABLE: isCompacting ? 'on' : 'off' },
  })
  const entrants = [entrant('frequency, TABLE=on', true), entrant('frequency, TABLE=off', false)]
  for (let n = 1; n <= site.options.rounds; n++)
    for (const each of entrants) {
      await round(site, made, each)
      progress(
        `  ${each.name}: round ${n} of ${site.options.rounds}, ${Math.round(each.eventsPerSecond.at(-1) as number)} events a second`,
      )
    }
  await made.close()
  return {
    title: `Single events with clients' ids into the embedded queue and a directory with ${made.events} older events`,
    goal: '0.95 × without the table',
    lines: entrants.map(
      ({ name, eventsPerSecond, cpuUs, flaws }): Line => ({ name, eventsPerSecond, cpuUs, flaws }),
    ),
    notes: [
      'The older events are of one hour. Their compaction begins when the load begins, and ends before it.',
    ],
  }
}

async function round(site: Site, made: LakeSite, entrant: Entrant): Promise<void> {
  const { connections, seconds, batchEvents = BATCH_EVENTS } = site.options
  const { path } = site.fresh('beside')
  const archive = join(path, 'archive')
  await cp(made.archive, archive, { recursive: true })
  const server = site.frequency([], {
    ...entrant.env,
    DATA_DIR: path,
    ARCHIVE_URL: archive,
    BATCH_EVENTS_MAX: String(batchEvents),
    BATCH_AGE_MS_MAX: String(site.options.batchAgeMs),
  })
  const bodies = site.bodies('clients')
  const url = `${await server.listening()}${bodies.path}`
  if (entrant.isCompacting)
    await until('compaction has begun', COMPACTION_MS_MAX, () => existsSync(join(path, COMPACTION_LOCK)))
  const before = cpuUs(server.pid)
  const { answers, errors } = await sendLoad({ url, bodies: bodies.file, connections, seconds })
  entrant.cpuUs.push((cpuUs(server.pid) - before) / answers)
  entrant.eventsPerSecond.push(answers / seconds)
  if (entrant.isCompacting && !site.options.isSmoke && filesOfTable(archive) === 0)
    entrant.flaws.push('the load ended before the compaction')
  if (errors > 0) entrant.flaws.push(`${errors} requests were refused or failed`)
  await server.stop()
  const { least, most } = eventCount(bodies, answers, connections)
  const { events } = await site.verify(archive)
  if (events - made.events < least || events - made.events > most)
    entrant.flaws.push(`${least} events were answered, ${events - made.events} are in the archive`)
  await site.discard(path)
}

function filesOfTable(archive: string): number {
  return readdirSync(archive, { recursive: true }).filter(path => String(path).endsWith('.parquet')).length
}
