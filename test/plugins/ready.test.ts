/** GET /readyz with a broker, a disk or a store that fails. */
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import type { ReadinessReport } from '../../src/observability/readiness.ts'
import { temporaryDirectory } from '../helpers/helper.ts'
import { brokerUrl, openNetwork, uniqueQueueName } from '../helpers/queue-helper.ts'
import { setEnvironment } from '../helpers/store-helper.ts'
import { rabbitmqctl, startRabbitmq } from '../services/rabbitmq.ts'
import { startS3Server } from '../services/s3-server.ts'
import { until } from '../services/wait.ts'
import { serveApp } from './served-app.ts'

const WAIT_MS_MAX = 60_000
/** Longer than the pause after which a spool tries the broker again. */
const LASTING_MS = 3_000

interface Ready extends ReadinessReport {
  readonly status: number
  readonly role: string
}

async function readyOf(url: string): Promise<Ready> {
  const response = await fetch(`${url}/readyz`)
  return { status: response.status, ...((await response.json()) as Omit<Ready, 'status'>) }
}

async function becomes(url: string, what: string, is: (ready: Ready) => boolean): Promise<Ready> {
  let ready = await readyOf(url)
  await until(what, WAIT_MS_MAX, async () => {
    ready = await readyOf(url)
    return is(ready)
  }).catch(error => {
    throw new Error(`${error.message}: ${JSON.stringify(ready)}`)
  })
  return ready
}

async function post(url: string, bytes = 10): Promise<number> {
  const headers = { 'content-type': 'application/json' }
  const body = JSON.stringify({ event: 'a', filler: 'x'.repeat(bytes) })
  const response = await fetch(`${url}/api/t`, { method: 'POST', headers, body })
  await response.text()
  return response.status
}

function partOf({ parts }: Ready, name: string) {
  return parts.find(({ part }) => part === name)
}

test('a process with all roles is ready, and names its parts', async t => {
  const { url } = await serveApp(t)
  const ready = await readyOf(url)
  t.match(ready, { status: 200, ready: true, role: 'all', takesEvents: true, archives: true })
  t.same(
    ready.parts.map(({ part, well }) => [part, well]),
    [
      ['queue', true],
      ['archive', true],
    ],
  )
})

test('an unreachable broker: ingest with a spool is ready; ingest without one and archivers are not', async t => {
  const network = await openNetwork(t)
  const env = { AMQP_URL: network.url, AMQP_QUEUE: uniqueQueueName(t) }
  const spooling = await serveApp(t, { ...env, ROLE: 'ingest' })
  const bare = await serveApp(t, { ...env, ROLE: 'ingest', SPOOL: 'off' })
  const archive = await serveApp(t, { ...env, ROLE: 'archive' })
  const all = [spooling, bare, archive]
  for (const { url } of all) await becomes(url, 'ready', ({ status }) => status === 200)

  const before = new Date()
  await network.refuse()
  network.cut()
  const spools = await becomes(spooling.url, 'the loss is noticed', ({ parts }) => !parts[0]?.well)
  t.match(spools, { status: 200, ready: true, takesEvents: true, archives: undefined })
  t.match(partOf(spools, 'spool'), { well: true })
  const broker = partOf(spools, 'broker')
  t.match(broker?.trouble, `127.0.0.1:${network.port}`)
  t.ok(new Date(broker?.since as string) >= before, 'since the connection was cut')
  t.equal(await post(spooling.url), 200)

  t.match(await becomes(bare.url, 'not ready', ({ status }) => status === 503), {
    ready: false,
    takesEvents: false,
  })
  t.equal(await post(bare.url), 503)
  const archiver = await becomes(archive.url, 'not ready', ({ status }) => status === 503)
  t.match(archiver, { ready: false, archives: false, takesEvents: undefined })
  t.match([partOf(archiver, 'consumer')?.well, partOf(archiver, 'archive')?.well], [false, true])

  await new Promise(resolve => setTimeout(resolve, 1_500))
  t.equal(
    partOf(await readyOf(spooling.url), 'broker')?.since,
    broker?.since,
    'since the first failure, not since the last request',
  )

  await network.accept()
  for (const { url } of all)
    await becomes(
      url,
      'ready again',
      ({ status, parts }) => status === 200 && parts.every(({ well }) => well),
    )
})

test('a broker that refuses: ingest without a spool is not ready until the broker takes events', async t => {
  const name = uniqueQueueName(t)
  const env = { AMQP_URL: brokerUrl(), AMQP_QUEUE: name, ROLE: 'ingest' }
  const bare = await serveApp(t, { ...env, SPOOL: 'off' })
  const spooling = await serveApp(t, env)
  await rabbitmqctl('set_policy', '--apply-to', 'queues', name, `^${name}$`, '{"max-length":1}')
  t.teardown(() => rabbitmqctl('clear_policy', name).catch(() => {}))
  await until('it refuses', WAIT_MS_MAX, async () => (await post(bare.url)) === 503)
  t.match(
    partOf(await becomes(bare.url, 'not ready', ({ status }) => status === 503), 'broker')?.trouble,
    /refuses/,
  )
  await until('it spools', WAIT_MS_MAX, async () => {
    t.equal(await post(spooling.url), 200)
    return partOf(await readyOf(spooling.url), 'broker')?.well === false
  })
  t.match(await readyOf(spooling.url), { status: 200, ready: true })
  const spoolsSince = performance.now()
  await until('the process had time to try again', WAIT_MS_MAX, async () => {
    t.match(await readyOf(spooling.url), {
      status: 200,
      parts: [{ part: 'broker', well: false }, { well: true }],
    })
    return performance.now() - spoolsSince > LASTING_MS
  })

  await rabbitmqctl('clear_policy', name)
  // No client sends to a process that is not ready, but the process must notice that the broker takes events again.
  await becomes(bare.url, 'ready again', ({ status }) => status === 200)
  await until('it takes events', WAIT_MS_MAX, async () => (await post(bare.url)) === 200)
  await becomes(spooling.url, 'well again', ({ parts }) => parts.every(({ well }) => well))
})

test('a process with a full spool is not ready, also if nobody sends', async t => {
  const network = await openNetwork(t)
  await network.refuse()
  const env = { AMQP_URL: network.url, AMQP_QUEUE: uniqueQueueName(t), ROLE: 'ingest' }
  const { url } = await serveApp(t, { ...env, SPOOL_BYTES_MAX: '1MiB' })
  t.match(await readyOf(url), { status: 200, ready: true })
  await until('it is full', WAIT_MS_MAX, async () => (await post(url, 50_000)) === 503)
  const full = await readyOf(url)
  t.match(full, { status: 503, ready: false, takesEvents: false })
  t.match(partOf(full, 'spool')?.trouble, /full .*SPOOL_BYTES_MAX/)
  await network.accept()
  await becomes(url, 'ready again', ({ status, parts }) => status === 200 && parts.every(({ well }) => well))
  t.equal(await post(url, 50_000), 200)
})

test('a broker that blocks publishers', async t => {
  const broker = await startRabbitmq()
  t.teardown(() => broker.close())
  const env = { AMQP_URL: broker.url, AMQP_QUEUE: 'blocked', PUBLISH_MS_MAX: '1000' }
  const bare = await serveApp(t, { ...env, ROLE: 'ingest', SPOOL: 'off' })
  const spooling = await serveApp(t, { ...env, ROLE: 'ingest' })
  const archive = await serveApp(t, { ...env, ROLE: 'archive' })
  await becomes(archive.url, 'ready', ({ status }) => status === 200)
  await broker.ctl('set_vm_memory_high_watermark', '0.0000001')
  t.equal(await post(bare.url), 503)
  t.match(
    partOf(await becomes(bare.url, 'not ready', ({ status }) => status === 503), 'broker')?.trouble,
    /blocks/,
  )
  t.equal(await post(spooling.url), 200)
  t.match(await readyOf(spooling.url), {
    status: 200,
    parts: [{ part: 'broker', well: false }, { well: true }],
  })
  t.match(await readyOf(archive.url), { status: 200 }, 'messages in the queue are archived meanwhile')
  await broker.ctl('set_vm_memory_high_watermark', '0.4')
  await becomes(bare.url, 'ready again', ({ status }) => status === 200)
})

test('a broker that confirms nothing', async t => {
  const network = await openNetwork(t)
  const env = { AMQP_URL: network.url, AMQP_QUEUE: uniqueQueueName(t), ROLE: 'ingest', PUBLISH_MS_MAX: '300' }
  const bare = await serveApp(t, { ...env, SPOOL: 'off' })
  await becomes(bare.url, 'ready', ({ status }) => status === 200)
  network.stall()
  t.equal(await post(bare.url), 503)
  t.match(partOf(await readyOf(bare.url), 'broker')?.trouble, /no confirm within/)
  t.match(await readyOf(bare.url), { status: 503 })
  network.resume()
  await becomes(bare.url, 'ready again', ({ status }) => status === 200)
})

test('an unreachable store: an archiver is not ready; a process that takes events is', async t => {
  const directory = temporaryDirectory(t)
  const ARCHIVE_URL = join(directory, 'archive')
  const broker = { AMQP_URL: brokerUrl(), AMQP_QUEUE: uniqueQueueName(t) }
  const archive = await serveApp(t, { ...broker, ROLE: 'archive', ARCHIVE_URL, BATCH_AGE_MS_MAX: '20' })
  const all = await serveApp(t, { ARCHIVE_URL, BATCH_AGE_MS_MAX: '20' })
  const ingest = await serveApp(t, { ...broker, ROLE: 'ingest' })
  await becomes(archive.url, 'ready', ({ status }) => status === 200)
  renameSync(ARCHIVE_URL, join(directory, 'elsewhere'))
  writeFileSync(ARCHIVE_URL, 'a file where the archive was')
  t.equal(await post(ingest.url), 200)
  t.equal(await post(all.url), 200)
  const away = await becomes(archive.url, 'not ready', ({ status }) => status === 503)
  t.match(partOf(away, 'archive')?.trouble, ARCHIVE_URL)
  t.match(await becomes(all.url, 'the failure is noticed', ({ archives }) => archives === false), {
    status: 200,
    ready: true,
  })

  rmSync(ARCHIVE_URL)
  await becomes(archive.url, 'ready again', ({ status }) => status === 200)
  await becomes(all.url, 'the archive works again', ({ archives }) => archives === true)
})

test('a store that answers but refuses writes does not count as working between two attempts', async t => {
  const server = await startS3Server()
  t.teardown(() => server.close())
  server.createBucket('bucket')
  setEnvironment(t, server.env())
  const { url } = await serveApp(t, {
    ARCHIVE_URL: 's3://bucket',
    S3_FORCE_PATH_STYLE: 'true',
    BATCH_AGE_MS_MAX: '20',
  })
  server.fault(({ operation, key }) =>
    operation === 'PutObject' && key.includes('batch_') ? { status: 403 } : undefined,
  )
  t.equal(await post(url), 200)
  const { parts } = await becomes(url, 'the failure is noticed', ({ archives }) => archives === false)
  const since = parts.find(({ part }) => part === 'archive')?.since
  const puts = () => server.requests.filter(({ key }) => key.includes('batch_')).length
  const before = puts()
  await until('the archiver has tried again twice', WAIT_MS_MAX, async () => {
    t.match(partOf(await readyOf(url), 'archive'), { well: false, since })
    return puts() >= before + 2
  })
  server.fault()
  await becomes(url, 'it archives', ({ archives }) => archives === true)
})

test('a process with a full embedded queue is not ready', async t => {
  const directory = temporaryDirectory(t)
  const archive = join(directory, 'archive')
  const { url } = await serveApp(t, { DATA_DIR: directory, SPOOL_BYTES_MAX: '1MiB' })
  rmSync(archive, { recursive: true })
  writeFileSync(archive, 'a file where the archive was')
  await until('the queue is full', WAIT_MS_MAX, async () => (await post(url, 50_000)) === 503)
  t.match(await readyOf(url), { status: 503, ready: false, takesEvents: false })
  t.match(partOf(await readyOf(url), 'queue')?.trouble, /full/)
})

test('a process that shuts down is not ready', async t => {
  const { app } = await serveApp(t)
  t.equal((await app.inject('/readyz')).statusCode, 200)
  app.readiness.end()
  t.equal((await app.inject('/readyz')).statusCode, 503)
})
