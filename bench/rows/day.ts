import { readConfig } from '../../src/config/config.ts'
import { openStore } from '../../src/store/open-store.ts'
import { BUILT_PROGRAM, Program } from '../../test/services/program.ts'
import { lineOf, timing } from '../lake-site.ts'
import { makeArchive } from '../made-archive.ts'
import { progress } from '../progress.ts'
import type { Site } from '../site.ts'
import { openStoreLink } from '../store-link.ts'
import type { RowResult } from '../table.ts'

const BUCKET = 'day'
const DAYS = 365
const EVENTS = 2_000_000
const BATCH_EVENTS = 20
const USERS = 200_000
const START_MS = Date.UTC(2025, 10, 24)
const DAY = ['--since=2026-06-15', '--until=2026-06-16']
const DELAY_MS = 60
const QUERY = 'select count(*) as events from events'
const COMMAND_MS_MAX = 600_000

/** Counts what a query of one day in a year reads from S3. */
export async function day(site: Site): Promise<RowResult> {
  const { archiveEvents: events = EVENTS, rounds } = site.options
  const s3 = await site.bucketEnv(BUCKET)
  const env = { ...s3, ARCHIVE_URL: `s3://${BUCKET}/year` }
  const config = readConfig({}, env)
  // The AWS SDK reads them from the environment of this process.
  Object.assign(process.env, s3)
  const store = await openStore(config)
  const objects = events / BATCH_EVENTS
  await makeArchive(store, config.archive.prefix, {
    ...{ events, batchEvents: BATCH_EVENTS, hours: 24 * DAYS, users: USERS, startMs: START_MS },
  })
  await store.close()
  for (const name of Object.keys(s3)) delete process.env[name]
  progress(`  made an archive of ${objects} objects`)
  const first = timing('frequency query, one day of 365')
  const notes: string[] = []
  for (let round = 1; round <= rounds; round++) {
    const link = await openStoreLink(s3.AWS_ENDPOINT_URL_S3 as string, { delayMs: DELAY_MS })
    const { name, path: cwd } = site.fresh('day')
    const startedAt = performance.now()
    const program = new Program(BUILT_PROGRAM, {
      ...{ name, cwd, workspace: site.workspace, args: ['query', QUERY, ...DAY, '--format=json'] },
      env: { ...env, AWS_ENDPOINT_URL_S3: link.endpoint },
    })
    const { code } = await program.endsWithin(COMMAND_MS_MAX)
    first.ms.push(Math.round(performance.now() - startedAt))
    if (code !== 0) throw new Error(`frequency query failed: ${program.output}`)
    const requests = Array.from(link.traffic, ([kind, traffic]) => `${traffic.requests} ${kind}`)
    const [{ events: found }] = JSON.parse(program.stdout)
    notes.push(`round ${round}: ${found} events; ${requests.join(', ')}`)
    await link.close()
    progress(`  round ${round} of ${rounds}, ${first.ms.at(-1)} ms`)
  }
  return {
    title: `One day of 365, of ${objects} objects in S3 (radosgw) with ${DELAY_MS} ms a request`,
    goal: 'the objects of that day alone',
    lines: [lineOf(first)],
    notes,
  }
}
