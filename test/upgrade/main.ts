/**
 * `npm run test:upgrade`: runs frequency 0.1.0 first, then this version on what it has left, step by step as
 * docs/upgrading.md says. Takes the former version from the history of the checkout.
 */
import t from 'tap'
import { buildProgram } from '../bin/program.ts'
import { range } from '../helpers/helper.ts'
import { documentedChanges } from './documented-changes.ts'
import { buildFormerVersion } from './former-version.ts'
import { rabbitmqAndS3 } from './rabbitmq-and-s3.ts'
import { Site, type Versions } from './site.ts'

const SUITE_MS_MAX = 600_000
/** Large enough that a kill finds a batch open, and small enough that one is archived before. */
const OPEN_BATCH = { BATCH_EVENTS_MAX: '100', BATCH_AGE_MS_MAX: '60000' }
const SHORT_BATCH = { BATCH_AGE_MS_MAX: '500' }
const REFUSAL = /data\/queue: frequency 0\.1 wrote the file \S+\.mdb there, and events may be in it/

t.setTimeout(SUITE_MS_MAX)
const versions: Versions = { former: buildFormerVersion(), present: await buildProgram(t) }

for (const ending of ['SIGTERM', 'SIGKILL'] as const)
  t.test(`the embedded queue and a directory, after ${ending}`, async t => {
    const site = new Site(t, versions, {})
    const first = site.serve('former', OPEN_BATCH)
    await site.send(first, 250)
    await first.kill(ending).ended

    const early = site.serve('present')
    t.match(await early.ended, { code: 1 }, 'this version refuses to start')
    t.match(early.output, REFUSAL)
    t.match(await site.command('present', ['check']), { code: 1, output: /^FAIL {2}queue on disk/m })

    const again = site.serve('former', SHORT_BATCH)
    await site.hasArchivedAll('former', [again])
    t.equal((await again.stop()).code, 0)
    site.deleteFormerFiles()

    t.match(await site.command('present', ['check']), { code: 1, output: /^FAIL {2}log .* no log/m })
    const waiting = site.serve('present', SHORT_BATCH)
    await site.send(waiting, 50)
    await site.resend(waiting, range(20))
    await waiting.says(/The archive has objects \(\S+\) but no log\. Stop all archivers, and run/)
    if (ending === 'SIGKILL') await waiting.kill('SIGKILL').ended

    t.match(await site.command('present', ['log', 'build']), { code: 0, output: '250 events' })
    t.equal((await site.command('present', ['check'])).code, 0, 'check has no complaint')
    const last = waiting.isRunning ? waiting : site.serve('present', SHORT_BATCH)
    await site.resend(last, range(270))
    await site.send(last, 50)
    await site.hasArchivedAll('present', [last])
    t.equal((await last.stop()).code, 0)
    await site.isExact()
  })

t.test('back to 0.1, and forward again', async t => {
  const site = new Site(t, versions, {})
  const first = site.serve('present', SHORT_BATCH)
  await site.send(first, 100)
  await site.hasArchivedAll('present', [first])
  t.equal((await first.stop()).code, 0)

  const back = site.serve('former', SHORT_BATCH)
  await site.send(back, 50)
  await site.resend(back, range(120))
  await site.hasArchivedAll('former', [back])
  t.equal((await back.stop()).code, 0)
  const verified = await site.command('former', ['verify'])
  t.match(verified, { code: 0, output: /^ {2}Events +150 /m }, 'the former version reads the archive')

  t.match(
    await site.command('present', ['verify']),
    { code: 1, output: /^ {2}Unknown objects +\d+ +the log does not name them/m },
    'the log does not name what 0.1 has archived',
  )
  t.match(await site.command('present', ['log', 'build']), { code: 2, output: 'The archive has a log.' })
  site.deleteFormerFiles()
  site.deleteLog()
  t.match(await site.command('present', ['log', 'build']), { code: 0, output: '150 events' })
  const last = site.serve('present', SHORT_BATCH)
  await site.resend(last, range(150))
  await site.send(last, 20)
  await site.hasArchivedAll('present', [last])
  t.equal((await last.stop()).code, 0)
  await site.isExact()
})

t.test('settings of 0.1', async t => {
  const site = new Site(t, versions, {})
  for (const [settings, words] of [
    [{ AMQP_URL: 'amqp://127.0.0.1:1' }, /ARCHIVE_URL: AMQP_URL needs it\./],
    [{ BATCH_EVENTS_MAX: '2000000' }, /BATCH_EVENTS_MAX must be a whole number from 1 to 1000000/],
  ] as const) {
    t.match(await site.command('present', ['serve'], settings), { code: 1, output: words })
  }
})

await documentedChanges(t, versions)
await rabbitmqAndS3(t, versions)
