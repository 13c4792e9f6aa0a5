import { Analytics, type Context } from '@segment/analytics-node'
import t, { type Test } from 'tap'
import { archivedObjects } from '../bin/archived.ts'
import { buildProgram, startProgram } from '../bin/program.ts'
import { configOf, range, temporaryDirectory } from '../helpers/helper.ts'
import { openNetwork, uniqueQueueName } from '../helpers/queue-helper.ts'
import { serveApp } from '../plugins/served-app.ts'
import { freePort } from '../services/ports.ts'
import { until } from '../services/wait.ts'
import { hasEachOnce, hasNoKey, onlyOne, parsed } from './believed.ts'

const WRITE_KEY = 'a-key-that-is-secret'
const OUTAGE_MS_MAX = 60_000

interface Client {
  readonly analytics: Analytics
  /** Ids of events that the library has reported as delivered. */
  readonly delivered: string[]
  readonly failed: string[]
  /** Status of each answer. */
  readonly statuses: number[]
  track(n: number): void
}

function createClient(
  t: Test,
  host: string,
  options: { flushAt?: number; flushInterval?: number } = {},
): Client {
  const analytics = new Analytics({ writeKey: WRITE_KEY, host, flushInterval: 100, ...options })
  t.teardown(() => analytics.closeAndFlush({ timeout: 1000 }))
  const delivered: string[] = []
  const failed: string[] = []
  const statuses: number[] = []
  analytics.on('http_response', ({ status }) => statuses.push(status as number))
  // Without a listener the emitter would throw the error.
  analytics.on('error', () => {})
  const settle = (error: unknown, context?: Context) => {
    const id = String(context?.event.messageId)
    if (error === undefined && context?.failedDelivery() === undefined) delivered.push(id)
    else failed.push(id)
  }
  return {
    analytics,
    delivered,
    failed,
    statuses,
    track: n => analytics.track({ userId: 'u1', event: 'Counted', properties: { n } }, settle),
  }
}

t.test('every call', async t => {
  const served = await serveApp(t)
  const { analytics, statuses } = createClient(t, served.url)
  const happened = new Date('2026-01-02T03:04:05.678Z')
  analytics.identify({ userId: 'u1', traits: { plan: 'pro' } })
  analytics.track({ userId: 'u1', event: 'Signed Up', properties: { seats: 3 }, timestamp: happened })
  analytics.page({ userId: 'u1', category: 'Docs', name: 'Start', properties: { path: '/' } })
  analytics.screen({ anonymousId: 'a1', name: 'Home' })
  analytics.group({ userId: 'u1', groupId: 'g1', traits: { name: 'Acme' } })
  analytics.alias({ userId: 'u1', previousId: 'a1' })
  await analytics.closeAndFlush()
  t.ok(statuses.length > 0 && statuses.every(status => status === 200))

  const lines = await served.archivedLines()
  const archived = parsed(lines)
  t.equal(archived.length, 6)
  hasNoKey(t, lines, WRITE_KEY)
  t.match(onlyOne(t, archived, 'identify'), { userId: 'u1', traits: { plan: 'pro' } })
  t.match(onlyOne(t, archived, 'page'), { category: 'Docs', name: 'Start', properties: { path: '/' } })
  t.match(onlyOne(t, archived, 'screen'), { anonymousId: 'a1', name: 'Home' })
  t.match(onlyOne(t, archived, 'group'), { userId: 'u1', groupId: 'g1', traits: { name: 'Acme' } })
  t.match(onlyOne(t, archived, 'alias'), { userId: 'u1', previousId: 'a1' })
  const track = onlyOne(t, archived, 'track')
  t.match(track, {
    event: 'Signed Up',
    properties: { seats: 3 },
    originalTimestamp: happened.toISOString(),
    context: { library: { name: '@segment/analytics-node' } },
    sentAt: String,
    receivedAt: String,
  })
  const latenessMs = Date.parse(String(track.receivedAt)) - Date.parse(String(track.sentAt))
  t.equal(
    Date.parse(String(track.timestamp)) - happened.getTime(),
    latenessMs,
    'the error of the client clock is corrected',
  )
})

t.test('500 events in batches', async t => {
  const served = await serveApp(t)
  const client = createClient(t, served.url, { flushAt: 40 })
  for (const n of range(500)) client.track(n)
  await client.analytics.closeAndFlush()

  t.equal(client.delivered.length, 500)
  t.ok(client.statuses.length < 50, 'the events came in batches')
  const archived = parsed(await served.archivedLines())
  t.equal(archived.length, 500)
  hasEachOnce(t, archived, client.delivered)
})

t.test('events are sent again after an outage with 503', async t => {
  const network = await openNetwork(t)
  const served = await serveApp(t, {
    AMQP_URL: network.url,
    AMQP_QUEUE: uniqueQueueName(t),
    SPOOL: 'off',
  })
  const client = createClient(t, served.url, { flushAt: 5 })
  for (const n of range(20)) client.track(n)
  await until('the first are sent', OUTAGE_MS_MAX, () => client.delivered.length === 20)

  await network.refuse()
  network.cut()
  for (const n of range(100)) client.track(20 + n)
  await until('some events are answered with 503', OUTAGE_MS_MAX, () => {
    return client.statuses.filter(status => status === 503).length >= 20
  })
  await network.accept()
  await client.analytics.closeAndFlush()

  t.equal(client.delivered.length, 120)
  t.strictSame(client.failed, [])
  const archived = parsed(await served.archivedLines())
  t.equal(archived.length, 120)
  hasEachOnce(t, archived, client.delivered)
})

t.test('events are sent again after the server was killed and started again', async t => {
  const path = await buildProgram(t)
  const cwd = temporaryDirectory(t)
  const PORT = String(await freePort())
  const start = () => startProgram(t, path, { cwd, env: { PORT, BATCH_AGE_MS_MAX: '200' } })
  const first = start()
  const client = createClient(t, await first.listening(), { flushAt: 5 })
  const numbers = range(400)
  const sending = setInterval(() => {
    for (const n of numbers.splice(0, 10)) client.track(n)
    if (numbers.length === 0) clearInterval(sending)
  }, 20)
  t.teardown(() => clearInterval(sending))
  await until('some are sent', OUTAGE_MS_MAX, () => client.delivered.length >= 50)
  await first.kill('SIGKILL').ended
  await until('all calls are made', OUTAGE_MS_MAX, () => numbers.length === 0)
  const second = start()
  await second.listening()
  await client.analytics.closeAndFlush()

  t.equal(client.delivered.length, 400)
  t.strictSame(client.failed, [])
  await second.stop()
  const objects = await archivedObjects(configOf({ DATA_DIR: `${cwd}/data` }))
  const archived = parsed(objects.flatMap(({ lines }) => lines))
  t.equal(archived.length, 400)
  hasEachOnce(t, archived, client.delivered)
})
