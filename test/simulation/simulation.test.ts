/** Runs random schedules of archivers, a queue and a store with faults. Each run has new seeds. */
import { randomBytes } from 'node:crypto'
import { availableParallelism } from 'node:os'
import t from 'tap'
import { countsText, findingText, runFleet } from './fleet.ts'

const SCHEDULES = 10_000
const SECONDS_MAX = 20

t.setTimeout(300_000)

t.test('each event is archived once, and its object is readable before it is acknowledged', async t => {
  const result = await runFleet({
    seed: randomBytes(4).toString('hex'),
    schedules: SCHEDULES,
    seconds: SECONDS_MAX,
    workers: availableParallelism(),
    findingsMax: 1,
  })
  t.comment(countsText(result))
  for (const finding of result.findings) t.fail(findingText(finding))
  t.ok(result.counts.schedules > 0)
})
