import { rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { temporaryDirectory } from '../helpers/helper.ts'
import { brokerUrl, openNetwork, uniqueQueueName } from '../helpers/queue-helper.ts'
import { until } from '../services/wait.ts'
import { serveApp } from './served-app.ts'

const RECOVERY_MS_MAX = 60_000

interface Health {
  status: string
  role: string
  waitingFor: string[]
}

async function healthOf(url: string): Promise<Health> {
  const response = await fetch(`${url}/healthz`)
  if (response.status !== 200) throw new Error(`/healthz answers ${response.status}`)
  return (await response.json()) as Health
}

async function isWell(url: string): Promise<void> {
  await until('/healthz says ok', RECOVERY_MS_MAX, async () => (await healthOf(url)).status === 'ok')
}

function post(url: string): Promise<Response> {
  const headers = { 'content-type': 'application/json' }
  return fetch(`${url}/api/t`, { method: 'POST', headers, body: '{"event":"a"}' })
}

t.test('/healthz of a process with all roles answers ok', async t => {
  const { url } = await serveApp(t)
  t.strictSame(await healthOf(url), { status: 'ok', role: 'all', waitingFor: [] })
})

t.test('each role answers /healthz; only ingest takes events', async t => {
  const env = { AMQP_URL: brokerUrl(), AMQP_QUEUE: uniqueQueueName(t) }
  const ingest = await serveApp(t, { ...env, ROLE: 'ingest' })
  const archive = await serveApp(t, { ...env, ROLE: 'archive' })
  await isWell(archive.url)
  t.strictSame(await healthOf(ingest.url), { status: 'ok', role: 'ingest', waitingFor: [] })
  t.strictSame(await healthOf(archive.url), { status: 'ok', role: 'archive', waitingFor: [] })

  const taken = await post(ingest.url)
  t.match({ status: taken.status, ack: taken.headers.get('frequency-ack') }, { status: 200, ack: 'broker' })
  t.equal((await post(archive.url)).status, 404)
})

for (const role of ['all', 'ingest', 'archive']) {
  t.test(`${role} waits for a broker that has not started yet`, async t => {
    const AMQP_QUEUE = uniqueQueueName(t)
    const network = await openNetwork(t)
    await network.refuse()
    const { url } = await serveApp(t, { ROLE: role, AMQP_URL: network.url, AMQP_QUEUE, SPOOL: 'off' })

    const { status, waitingFor } = await healthOf(url)
    t.equal(status, 'waiting')
    t.match(waitingFor.join(), `RabbitMQ at 127.0.0.1:${network.port}`, 'waitingFor names the broker')
    t.notMatch(waitingFor.join(), 'guest', 'without the login')
    if (role !== 'archive') {
      const refused = await post(url)
      t.match(await refused.json(), { statusCode: 503, code: 'FRQ_QUEUE_UNAVAILABLE' })
      t.match(refused.headers.get('retry-after'), /^\d+$/)
    }

    await network.accept()
    await isWell(url)
    t.strictSame(await healthOf(url), { status: 'ok', role, waitingFor: [] })
    if (role !== 'archive') t.equal((await post(url)).status, 200)
  })
}

t.test('/healthz reports an archive that cannot be written; its events are archived later', async t => {
  const directory = temporaryDirectory(t)
  const archive = join(directory, 'archive')
  const served = await serveApp(t, { ARCHIVE_URL: archive, BATCH_AGE_MS_MAX: '20' })
  await rename(archive, join(directory, 'elsewhere'))
  await writeFile(archive, 'a file where the archive was')

  t.equal((await post(served.url)).status, 200, 'the queue still takes events')
  await until(
    '/healthz says what is wrong',
    RECOVERY_MS_MAX,
    async () => (await healthOf(served.url)).status === 'waiting',
  )
  t.match((await healthOf(served.url)).waitingFor.join(), archive)

  await rm(archive)
  await isWell(served.url)
  t.equal((await served.archivedLines()).length, 1)
})
