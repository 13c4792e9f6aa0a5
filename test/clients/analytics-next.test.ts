import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import type { Config } from '../../src/config/config.ts'
import { archivedObjects } from '../bin/archived.ts'
import { buildProgram, startProgram } from '../bin/program.ts'
import { configOf, temporaryDirectory } from '../helpers/helper.ts'
import { openNetwork, uniqueQueueName } from '../helpers/queue-helper.ts'
import { serveApp } from '../plugins/served-app.ts'
import { openBrowser } from '../services/chromium.ts'
import { freePort } from '../services/ports.ts'
import { until } from '../services/wait.ts'
import { type Archived, hasEachOnce, hasNoKey, onlyOne, parsed } from './believed.ts'
import { openPage, serveSite } from './site.ts'

const WRITE_KEY = 'a-key-that-is-secret'
const OUTAGE_MS_MAX = 120_000
const STANDARD = '{}'
const BATCHING = `{
  integrations: { 'Segment.io': { deliveryStrategy: { strategy: 'batching', config: { size: 10, timeout: 500 } } } },
}`

const site = await serveSite(t, '<!doctype html><title>A page</title>')
const browser = await openBrowser(t)

interface Opened {
  readonly page: Page
  /** Status of each answer to a POST. */
  readonly statuses: number[]
  /** Events that were answered with 200, as the library sent them, by id. */
  readonly taken: Map<string, Archived>
  /** Origins to which the page has sent requests. */
  readonly origins: Set<string>
  /** Tracks `count` events. Resolves to their ids when the library has resolved each call. */
  track(count: number): Promise<string[]>
}

/** Opens a page that loads analytics-next with `url` as its only host. */
async function open(t: Test, url: string, options: string): Promise<Opened> {
  const page = await openPage(t, browser, `${site.origin}/a/page?q=1`)
  t.teardown(() => page.close())
  const statuses: number[] = []
  const origins = new Set<string>()
  page.on('request', request => origins.add(new URL(request.url()).origin))
  const taken = new Map<string, Archived>()
  page.on('response', response => {
    const request = response.request()
    if (request.method() !== 'POST') return
    statuses.push(response.status())
    const body = request.postDataJSON() as Archived & { batch?: Archived[] }
    if (response.ok()) for (const call of body.batch ?? [body]) taken.set(call.messageId, call)
  })
  await page.addScriptTag({ url: `${site.origin}/bundles/index.js` })
  await page.evaluate(`
    window.analytics = AnalyticsNext.AnalyticsBrowser.load(
      { writeKey: '${WRITE_KEY}', cdnURL: '${url}' }, ${options})
    analytics.ready().then(() => undefined)`)
  const track = (count: number) =>
    page.evaluate<string[]>(`Promise.all(Array.from({ length: ${count} }, (_, n) =>
      analytics.track('Counted', { n }).then(({ event }) => event.messageId)))`)
  return { page, statuses, taken, origins, track }
}

async function archivedIn(config: Config): Promise<Archived[]> {
  return parsed((await archivedObjects(config)).flatMap(({ lines }) => lines))
}

async function isArchived(t: Test, archived: Archived[], ids: string[]): Promise<void> {
  t.equal(archived.length, ids.length)
  hasEachOnce(t, archived, ids)
}

t.test('every call', async t => {
  const served = await serveApp(t, { CORS_ORIGINS: site.origin })
  const { page, origins, taken } = await open(t, served.url, STANDARD)
  const ids = await page.evaluate<string[]>(`(async () => {
    const contexts = [
      await analytics.identify('u1', { plan: 'pro' }),
      await analytics.track('Signed Up', { seats: 3 }),
      await analytics.page('Docs', 'Start', { extra: true }),
      await analytics.screen('Home'),
      await analytics.group('g1', { name: 'Acme' }),
      await analytics.alias('u2', 'u1'),
    ]
    return contexts.map(({ event }) => event.messageId)
  })()`)
  await until('all are answered', OUTAGE_MS_MAX, () => taken.size === 6)
  t.strictSame([...origins].sort(), [site.origin, served.url].sort(), 'no request goes to another origin')

  const lines = await served.archivedLines()
  const archived = parsed(lines)
  await isArchived(t, archived, ids)
  hasNoKey(t, lines, WRITE_KEY)
  t.match(onlyOne(t, archived, 'identify'), { userId: 'u1', traits: { plan: 'pro' } })
  t.match(onlyOne(t, archived, 'page'), { name: 'Start', properties: { extra: true, path: '/a/page' } })
  t.match(onlyOne(t, archived, 'screen'), { name: 'Home' })
  t.match(onlyOne(t, archived, 'group'), { groupId: 'g1', traits: { name: 'Acme' } })
  t.match(onlyOne(t, archived, 'alias'), { previousId: 'u1' })
  const track = onlyOne(t, archived, 'track')
  t.match(track, {
    event: 'Signed Up',
    userId: 'u1',
    anonymousId: String,
    properties: { seats: 3 },
    context: { page: { path: '/a/page', search: '?q=1' }, library: { name: 'analytics.js' } },
    originalTimestamp: String,
    sentAt: String,
  })
  const { timestamp, originalTimestamp, receivedAt, sentAt } = track
  t.equal(
    at(timestamp),
    at(receivedAt) - (at(sentAt) - at(originalTimestamp)),
    'the error of the client clock is corrected',
  )
  for (const event of archived) {
    const { receivedAt, timestamp, originalTimestamp, ...rest } = event
    const { timestamp: sent, writeKey, ...asSent } = taken.get(event.messageId) as Archived
    const context = { ...(asSent.context as object), ip: '127.0.0.1' }
    t.strictSame({ ...rest, originalTimestamp }, { ...asSent, context, originalTimestamp: sent }, event.type)
  }
})

function at(time: unknown): number {
  return Date.parse(String(time))
}

t.test('the snippet, with calls before the library is loaded', async t => {
  const served = await serveApp(t, { CORS_ORIGINS: site.origin })
  const page = await openPage(t, browser, site.origin)
  await page.evaluate(`
    window.analytics = Object.assign([], { _writeKey: '${WRITE_KEY}', _cdn: '${served.url}', _loadOptions: {} })
    analytics.push(['track', 'Early'], ['page'])
    document.head.append(Object.assign(document.createElement('script'), { src: '/bundles/standalone.js' }))`)
  await page.waitForFunction('window.analytics.initialized === true')
  await page.evaluate(`window.analytics.track('Late').then(() => undefined)`)
  await page.waitForFunction(`performance.getEntriesByType('resource')
    .filter(({ name }) => name.startsWith('${served.url}/v1/') && !name.endsWith('/settings')).length === 3`)
  await page.close()

  const archived = parsed(await served.archivedLines())
  t.strictSame(archived.map(({ type, event }) => event ?? type).sort(), ['Early', 'Late', 'page'])
})

t.test('events in batches, and the last batch when the page is left', async t => {
  const DATA_DIR = temporaryDirectory(t)
  const served = await serveApp(t, { DATA_DIR, BATCH_AGE_MS_MAX: '200', CORS_ORIGINS: site.origin })
  const { page, track, taken } = await open(t, served.url, BATCHING)
  const ids = await track(95)
  await until('all are taken', OUTAGE_MS_MAX, () => taken.size === ids.length)
  const [last] = await page.evaluate<string[]>(`(async () => {
    const { event } = await analytics.track('Last')
    setTimeout(() => { location.href = 'about:blank' })
    return [event.messageId]
  })()`)
  await page.waitForURL('about:blank')
  const config = configOf({ DATA_DIR })
  await until('all are archived', OUTAGE_MS_MAX, async () => (await archivedIn(config)).length > ids.length)

  const archived = parsed(await served.archivedLines())
  await isArchived(t, archived, [...ids, String(last)])
  t.ok(
    archived.every(({ sentAt }) => typeof sentAt === 'string'),
    'each event has the sentAt of its batch',
  )
})

t.test('an event that is too large is not sent again', async t => {
  const served = await serveApp(t, { CORS_ORIGINS: site.origin })
  const { page, statuses } = await open(t, served.url, STANDARD)
  const failure = await page.evaluate<string>(`(async () => {
    const context = await analytics.track('Large', { text: 'x'.repeat(40_000) })
    return String(context.failedDelivery()?.reason.message)
  })()`)
  t.equal(failure, 'Non-retryable error: 413')
  await page.evaluate(`analytics.track('Small').then(() => undefined)`)
  await until('both are answered', OUTAGE_MS_MAX, () => statuses.length === 2)
  t.strictSame(statuses, [413, 200])
  t.strictSame(
    parsed(await served.archivedLines()).map(({ event }) => event),
    ['Small'],
  )
})

for (const [strategy, options] of Object.entries({ 'one by one': STANDARD, 'in batches': BATCHING })) {
  t.test(`events are sent again after an outage with 503, ${strategy}`, async t => {
    const network = await openNetwork(t)
    const served = await serveApp(t, {
      AMQP_URL: network.url,
      AMQP_QUEUE: uniqueQueueName(t),
      SPOOL: 'off',
      CORS_ORIGINS: site.origin,
    })
    const { track, statuses, taken } = await open(t, served.url, options)
    const before = await track(20)
    await until('the first are taken', OUTAGE_MS_MAX, () => taken.size === before.length)

    await network.refuse()
    network.cut()
    const during = await track(30)
    await until('some events are answered with 503', OUTAGE_MS_MAX, () => {
      return statuses.filter(status => status === 503).length >= 2
    })
    await network.accept()
    const after = await track(20)
    const ids = [...before, ...during, ...after]
    await until('all are taken', OUTAGE_MS_MAX, () => taken.size === ids.length)
    await isArchived(t, parsed(await served.archivedLines()), ids)
  })
}

t.test('events are sent again after the server was killed and started again', async t => {
  const path = await buildProgram(t)
  const cwd = temporaryDirectory(t)
  const config = configOf({ DATA_DIR: `${cwd}/data` })
  const env = { PORT: String(await freePort()), BATCH_AGE_MS_MAX: '200', CORS_ORIGINS: site.origin }
  const start = () => startProgram(t, path, { cwd, env })

  const first = start()
  const { track } = await open(t, await first.listening(), STANDARD)
  const ids = await track(20)
  const cut = track(50)
  await first.kill('SIGKILL').ended
  ids.push(...(await cut), ...(await track(30)))
  const second = start()
  await second.listening()
  await until('all are archived', OUTAGE_MS_MAX, async () => (await archivedIn(config)).length >= ids.length)
  await second.stop()
  await isArchived(t, await archivedIn(config), ids)
})
