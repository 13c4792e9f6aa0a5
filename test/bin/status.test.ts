/** Runs `frequency status` on running processes, also after a loss of events. */
import t, { type Test, test } from 'tap'
import { temporaryDirectory } from '../helpers/helper.ts'
import { brokerUrl, openChannel, openNetwork, uniqueQueueName } from '../helpers/queue-helper.ts'
import { freePort } from '../services/ports.ts'
import type { Program } from '../services/program.ts'
import { until } from '../services/wait.ts'
import { Posts } from './posts.ts'
import { buildProgram, startProgram } from './program.ts'

const WAIT_MS_MAX = 60_000
const path = await buildProgram(t)

interface Report {
  readonly processes: { role: string; ready: boolean; troubles: string[] }[]
  readonly ledger: {
    verdict: string
    words: string[]
    accepted: number
    archived: number
    copies: number
    disk: number
    unacknowledged: number
    dead: number
    difference: number
    fromOthers: number
    queue: { messages?: number; eventsByDifference: number }
  }
}

function run(t: Test, env: Record<string, string>): Program {
  return startProgram(t, path, {
    cwd: temporaryDirectory(t),
    args: ['serve'],
    env: { PORT: '0', LOG_LEVEL: 'warn', ...env },
  })
}

async function statusOf(
  t: Test,
  urls: string[],
  args: string[] = [],
): Promise<{ code: number | null; text: string; errors: string }> {
  const program = startProgram(t, path, {
    cwd: temporaryDirectory(t),
    args: ['status', ...urls.flatMap(url => ['--url', url]), ...args],
  })
  const { code } = await program.ended
  return { code, text: program.stdout, errors: program.stderr }
}

async function reportOf(t: Test, urls: string[]): Promise<Report & { code: number | null }> {
  const { code, text } = await statusOf(t, urls, ['--json'])
  return { code, ...JSON.parse(text) }
}

/** Resolves to the first report for which `is` holds. */
async function reports(
  t: Test,
  urls: string[],
  what: string,
  is: (report: Report) => boolean,
): Promise<Report & { code: number | null }> {
  let report = await reportOf(t, urls)
  await until(what, WAIT_MS_MAX, async () => {
    report = await reportOf(t, urls)
    return is(report)
  }).catch(error => {
    throw new Error(`${error.message}: ${JSON.stringify(report.ledger)}`)
  })
  return report
}

test('one process: waiting and archived events, and counts from before its restart', async t => {
  const env = { DATA_DIR: temporaryDirectory(t), BATCH_EVENTS_MAX: '100', BATCH_AGE_MS_MAX: '600000' }
  const first = run(t, env)
  const url = await first.listening()
  await new Posts(t, url).post(250)
  const before = await reports(t, [url], '200 are archived', ({ ledger }) => ledger.archived === 200)
  t.match(before, {
    code: 0,
    ledger: { verdict: 'adds-up', accepted: 250, disk: 50, dead: 0, difference: 0 },
  })

  t.match(await first.stop(), { code: 0 })
  const second = run(t, env)
  const again = await second.listening()
  const after = await reportOf(t, [again])
  t.match(after, {
    code: 0,
    ledger: { verdict: 'adds-up', accepted: 250, archived: 250, disk: 0, copies: 0 },
  })
  const { text } = await statusOf(t, [again])
  t.match(text, /all, ready.*accepted +250\n += archived +250\n.*It adds up\./s)
})

test('separate roles: the ledger through an outage, a killed archiver, and a loss', async t => {
  const AMQP_QUEUE = uniqueQueueName(t)
  const network = await openNetwork(t)
  const shared = {
    AMQP_QUEUE,
    ARCHIVE_URL: temporaryDirectory(t),
    BATCH_EVENTS_MAX: '100',
    BATCH_AGE_MS_MAX: '600000',
  }
  const ingest = [0, 1].map(() =>
    run(t, { ...shared, ROLE: 'ingest', AMQP_URL: network.url, DATA_DIR: temporaryDirectory(t) }),
  )
  const archiveEnv = { ...shared, ROLE: 'archive', AMQP_URL: brokerUrl(), DATA_DIR: temporaryDirectory(t) }
  const archive = run(t, archiveEnv)
  const ingestUrls = await Promise.all(ingest.map(program => program.listening()))
  const archiveUrl = await archive.listening()
  const urls = [...ingestUrls, archiveUrl]
  const posts = ingestUrls.map(url => new Posts(t, url))
  await Promise.all(posts.map(each => each.post(120)))
  t.match(await reports(t, urls, '200 are archived', ({ ledger }) => ledger.archived === 200), {
    code: 0,
    ledger: {
      verdict: 'adds-up',
      accepted: 240,
      unacknowledged: 40,
      disk: 0,
      queue: { messages: 0, eventsByDifference: 0 },
    },
  })
  t.match(
    await reportOf(t, ingestUrls),
    { code: 2, ledger: { verdict: 'unknown' } },
    'without the archiver nobody knows',
  )

  await network.refuse()
  network.cut()
  await Promise.all(posts.map(each => each.post(30)))
  const spooled = await reportOf(t, urls)
  t.match(spooled, { code: 0, ledger: { verdict: 'adds-up', accepted: 300, disk: 60, archived: 200 } })
  t.match(spooled.processes[0], { ready: true, troubles: [/since \d{4}-.*RabbitMQ/] })
  await network.accept()
  await reports(t, urls, 'the spool is drained', ({ ledger }) => ledger.disk === 0 && ledger.archived === 300)

  // Nothing is archived meanwhile, so its ledger entry misses no count.
  await new Promise(resolve => setTimeout(resolve, 1_500))
  await archive.kill('SIGKILL').ended
  await posts[0]?.post(50)
  const heir = run(t, archiveEnv)
  const now = [...ingestUrls, await heir.listening()]
  const taken = await reports(t, now, 'all is delivered', ({ ledger }) => ledger.unacknowledged === 50)
  t.match(taken, { code: 0, ledger: { verdict: 'adds-up', accepted: 350, archived: 300, copies: 0 } })

  await heir.stop()
  await posts[0]?.post(70)
  const channel = await openChannel(t)
  await channel.queuePurge({ queue: AMQP_QUEUE })
  const last = run(t, archiveEnv)
  const loss = [...ingestUrls, await last.listening()]
  const lost = await reports(t, loss, 'all is asked', ({ ledger }) => ledger.verdict !== 'unknown')
  t.match(lost, { code: 1, ledger: { verdict: 'missing', accepted: 420, archived: 350, difference: 70 } })
  const { text } = await statusOf(t, loss)
  t.match(
    text,
    /IT DOES NOT ADD UP\.\n70 accepted events are neither .*shutdown \(1 in all\).*frequency verify/s,
  )
})

test('the counts add up at any moment while events come', async t => {
  const AMQP_QUEUE = uniqueQueueName(t)
  const shared = {
    AMQP_URL: brokerUrl(),
    AMQP_QUEUE,
    ARCHIVE_URL: temporaryDirectory(t),
    BATCH_AGE_MS_MAX: '300',
  }
  const roles = ['ingest', 'archive'].map(ROLE =>
    run(t, { ...shared, ROLE, DATA_DIR: temporaryDirectory(t) }),
  )
  const urls = await Promise.all(roles.map(program => program.listening()))
  const clients = Array.from({ length: 16 }, () => new Posts(t, urls[0] as string))
  let isSending = true
  const sending = Promise.all(
    clients.map(async each => {
      while (isSending) await each.post(10)
    }),
  )
  for (let n = 0; n < 6; n++) {
    const report = await reportOf(t, urls)
    t.match(report, { code: 0, ledger: { verdict: 'adds-up' } }, JSON.stringify(report.ledger))
  }
  isSending = false
  await sending
  const sent = clients.reduce((sum, { taken }) => sum + taken.length, 0)
  const last = await reports(t, urls, 'all is archived', ({ ledger }) => ledger.archived === sent)
  t.match(last, { code: 0, ledger: { verdict: 'adds-up', accepted: sent, unacknowledged: 0, disk: 0 } })
})

test('events of other programs and dead letters are counted separately', async t => {
  const AMQP_QUEUE = uniqueQueueName(t)
  const program = run(t, {
    AMQP_URL: brokerUrl(),
    AMQP_QUEUE,
    ARCHIVE_URL: 'archive',
    DATA_DIR: temporaryDirectory(t),
    BATCH_AGE_MS_MAX: '50',
  })
  const url = await program.listening()
  await new Posts(t, url).post(5)
  const channel = await openChannel(t)
  await channel.basicPublish(
    { routingKey: AMQP_QUEUE, contentEncoding: 'utf-8' },
    Buffer.from('{"event":"theirs"}'),
  )
  await channel.basicPublish({ routingKey: AMQP_QUEUE }, Buffer.from('no event'))
  const report = await reports(
    t,
    [url],
    'all is settled',
    ({ ledger }) => ledger.archived === 6 && ledger.dead === 1,
  )
  t.match(report, { code: 0, ledger: { verdict: 'adds-up', accepted: 5, fromOthers: 2, difference: 0 } })
})

test('an address with no process, or with another program', async t => {
  const { code, errors } = await statusOf(t, ['http://127.0.0.1:1'])
  t.match(
    { code, errors },
    { code: 2, errors: /^frequency: http:\/\/127\.0\.0\.1:1 cannot be asked: .+--url/ },
  )
  t.match((await statusOf(t, ['localhost:1'])).errors, /^frequency: http:\/\/localhost:1 cannot be asked/)
  t.match((await statusOf(t, ['ftp://localhost'])).errors, /--url must be like http:/)
})

test('a server with ADMIN_PORT is asked on that port', async t => {
  const adminPort = String(await freePort())
  const program = run(t, { DATA_DIR: temporaryDirectory(t), ADMIN_PORT: adminPort })
  const { host } = new URL(await program.listening())
  const wrong = await statusOf(t, [host])
  t.equal(wrong.code, 2)
  t.match(wrong.errors, /has no \/status\. .*ADMIN_PORT/)
  t.match(await statusOf(t, [], ['--admin-port', adminPort]), { code: 0, text: /It adds up/ })
})
