/** The live page in a real browser. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { BrowserContext, Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { range } from '../helpers/helper.ts'
import { brokerUrl, openNetwork, uniqueQueueName } from '../helpers/queue-helper.ts'
import { openBrowser } from '../services/chromium.ts'
import { until } from '../services/wait.ts'
import { serveApp } from './served-app.ts'

const SHOWN_MS_MAX = 30_000
const TOKEN = 'a-token-of-some-length'

const browser = await openBrowser(t)

interface Visit {
  readonly page: Page
  /** Errors of the page, and its requests to other servers. */
  readonly complaints: string[]
}

async function visit(t: Test, context: BrowserContext, url: string): Promise<Visit> {
  const page = await context.newPage()
  t.teardown(() => page.close())
  page.setDefaultTimeout(SHOWN_MS_MAX)
  const complaints: string[] = []
  page.on('pageerror', error => complaints.push(error.message))
  page.on('console', message => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text())
  })
  page.on('request', request => {
    if (!request.url().startsWith(url)) complaints.push(`asks ${request.url()}`)
  })
  await page.goto(url)
  return { page, complaints }
}

async function post(url: string, body: object): Promise<void> {
  const headers = { 'content-type': 'application/json' }
  await fetch(`${url}/api/t`, { method: 'POST', headers, body: JSON.stringify(body) })
}

/** Resolves when the text of an element matches. */
async function shows(page: Page, selector: string, pattern: RegExp): Promise<void> {
  await page.locator(selector).filter({ hasText: pattern }).first().waitFor()
}

/** Resolves when the page reads the stream of this URL. */
async function filterBy(page: Page, filter: string, urlEnd: string): Promise<void> {
  const followed = page.waitForResponse(response => response.ok() && response.url().endsWith(urlEnd))
  await page.fill('#filter', filter)
  await page.keyboard.press('Enter')
  await followed
}

t.test('an empty system shows a command; after it was run, the page shows the event', async t => {
  const { url } = await serveApp(t)
  const { page, complaints } = await visit(t, browser, url)
  await shows(page, '#status', /^Takes and archives events$/)
  await shows(page, '#first', /No events yet/)
  const command = (await page.textContent('#curl')) ?? ''
  await promisify(execFile)('sh', ['-c', command])

  await shows(page, '.event-list li', /signed_up.*user_id: 42/)
  await page.locator('#first').waitFor({ state: 'hidden' })
  await shows(page, '#waiting', /^1$/)
  await shows(page, '#batch-events-text', /^1 of 1,000$/)
  t.ok(await page.locator('.chart canvas').isVisible())
  t.strictSame(complaints, [])
})

t.test('the dialog shows a whole event with all digits, and then gives the focus back', async t => {
  const { url } = await serveApp(t)
  const { page, complaints } = await visit(t, browser, url)
  await shows(page, '#status', /Takes/)
  const json =
    '{"event":"<img src=x onerror=alert(1)>","n":12345678901234567890,"list":[1,{},[]],"q":"a\\"b"}'
  await fetch(`${url}/api/t`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: json })
  await page.click('.event-list button')
  await shows(page, '#detail-title', /^<img src=x onerror=alert\(1\)>$/)
  const shown = (await page.textContent('#detail-body')) ?? ''
  t.match(shown, /\n {2}"n": 12345678901234567890,\n {2}"list": \[\n {4}1,\n {4}\{\},\n {4}\[\]\n {2}\],\n/)
  t.ok(shown.replace(/\n\s*/g, '').replaceAll('": ', '":').startsWith(json.slice(0, -1)), 'nothing is lost')
  await page.keyboard.press('Escape')
  await page.locator('#detail').waitFor({ state: 'hidden' })
  t.equal(await page.evaluate('document.activeElement.className + document.activeElement.tagName'), 'BUTTON')
  t.strictSame(complaints, [])
})

t.test("Segment's calls are named by their type, and control characters are escaped", async t => {
  const { url } = await serveApp(t)
  const { page } = await visit(t, browser, url)
  await shows(page, '#status', /Takes/)
  const call = (type: string, body: object) =>
    fetch(`${url}/v1/${type}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ userId: '42', ...body }),
    })
  await call('identify', { traits: { plan: 'pro' } })
  await call('page', { name: 'Home' })
  await call('track', { event: 'a\u202egnp.exe' })
  await shows(page, '.event-list li', /identify.*type: identify/)
  await shows(page, '.event-list li', /page Home/)
  await shows(page, '.event-list li', /a\\u202egnp\.exe/)
  t.notMatch(await page.textContent('.event-list'), /undefined|\u202e/)
})

t.test('it can be used with the keyboard alone', async t => {
  const { url } = await serveApp(t)
  const { page } = await visit(t, browser, url)
  await shows(page, '#status', /Takes/)
  for (const n of range(5)) await post(url, { event: `event_${n}` })
  await page.locator('.event-list li').nth(4).waitFor()
  await page.focus('#filter')
  for (const _ of range(3)) await page.keyboard.press('Tab')
  await page.keyboard.press('ArrowDown')
  await page.keyboard.press('ArrowDown')
  await post(url, { event: 'late' })
  await shows(page, '#events-note', /^1 more has arrived$/)
  await page.keyboard.press('Enter')
  await shows(page, '#detail-title', /^event_2$/)
  await page.keyboard.press('Escape')
  await page.keyboard.press('Escape')
  await shows(page, '.event-list li:first-child', /late/)
})

t.test('events can be filtered and paused', async t => {
  const { url } = await serveApp(t)
  const { page, complaints } = await visit(t, browser, url)
  await shows(page, '#status', /Takes/)
  await filterBy(page, 'properties.plan=pro', '?filter=properties.plan%3Dpro')
  await post(url, { event: 'first', properties: { plan: 'free' } })
  await post(url, { event: 'second', properties: { plan: 'pro' } })
  await shows(page, '.event-list li', /second.*plan: pro/)
  t.equal(await page.locator('.event-list li').count(), 1)

  await page.click('#pause')
  t.equal(await page.getAttribute('#pause', 'aria-pressed'), 'true')
  await post(url, { event: 'third', properties: { plan: 'pro' } })
  await shows(page, '#events-note', /^paused, 1 more/)
  t.equal(await page.locator('.event-list li').count(), 1)
  await page.click('#pause')
  await shows(page, '.event-list li:first-child', /third/)
  t.strictSame(complaints, [])

  await filterBy(page, '=pro', '?filter=properties.plan%3Dpro')
  await shows(page, '#filter-refused', /A filter is/)
  await post(url, { event: 'fourth', properties: { plan: 'pro' } })
  await shows(page, '.event-list li', /fourth/)
  await filterBy(page, '', '/ui/stream')
  t.notOk(await page.locator('#filter-refused').isVisible())
  await post(url, { event: 'fifth' })
  await shows(page, '.event-list li', /fifth/)
})

t.test('the page shows the events of an object, and the reasons of refusals', async t => {
  const { url } = await serveApp(t, { BATCH_EVENTS_MAX: '5', ARCHIVE_COMPRESSION: 'gzip' })
  const { page, complaints } = await visit(t, browser, url)
  for (const n of range(5)) await post(url, { event: 'counted', n })
  await post(url, { evnt: 'typo' })
  await post(url, { evnt: 'typo' })
  await shows(page, '#refused-list li', /event is required.*FRQ_EVENT_INVALID · 2 times/)
  await shows(page, '#object-list li', /5 events · .* unpacked.*closed by its number of events/)
  await page.click('#object-list a')
  await shows(page, '#detail-note', /: 5 events$/)
  t.equal(await page.locator('#detail-body > span').count(), 5)
  t.strictSame(complaints, [])
})

t.test('the page shows problems, and when the server stops and starts again', async t => {
  const network = await openNetwork(t)
  const env = { AMQP_URL: network.url, AMQP_QUEUE: uniqueQueueName(t) }
  const { app, url } = await serveApp(t, env)
  const { page } = await visit(t, browser, url)
  // A rate is shown for one second, and only of events that arrive after the page and the broker are connected.
  await until('it shows a rate', SHOWN_MS_MAX, async () => {
    await post(url, { event: 'a' })
    return /[1-9]/.test((await page.textContent('#rate-confirmed')) ?? '')
  })
  await page.locator('#troubles').waitFor({ state: 'hidden' })
  await network.refuse()
  network.cut()
  await shows(
    page,
    '#troubles li',
    new RegExp(`Since \\d\\d:\\d\\d:\\d\\d: RabbitMQ at 127.0.0.1:${network.port}`),
  )
  await shows(page, '#troubles li', /Events are still taken/)
  await post(url, { event: 'spooled' })
  await shows(page, '#spool-holds', /^1 event,/)
  await shows(page, '.event-list li', /spooled/)
  await network.accept()
  await page.locator('#troubles').waitFor({ state: 'hidden' })
  await shows(page, '#spool-share', /^empty$/)

  await app.close()
  await shows(page, '#status', /Trying again/)
  t.match(await page.getAttribute('#live', 'class'), /stale/)
})

t.test('the page explains what refused events mean', async t => {
  const network = await openNetwork(t)
  await network.refuse()
  const env = { ROLE: 'ingest', SPOOL: 'off', AMQP_URL: network.url, AMQP_QUEUE: uniqueQueueName(t) }
  const { url } = await serveApp(t, env)
  const { page } = await visit(t, browser, url)
  await shows(page, '#status', /^Cannot take events now$/)
  await shows(page, '#troubles li[data-tone=bad]', /Clients get 503/)
  for (const id of ['spool', 'held-row']) t.notOk(await page.locator(`#${id}`).isVisible(), id)
})

t.test('a role that only takes events shows no archive', async t => {
  const { url } = await serveApp(t, { ROLE: 'ingest', AMQP_URL: brokerUrl(), AMQP_QUEUE: uniqueQueueName(t) })
  const { page, complaints } = await visit(t, browser, url)
  await shows(page, '#status', /^Takes events$/)
  for (const id of ['batch', 'objects']) t.notOk(await page.locator(`#${id}`).isVisible(), id)
  await post(url, { event: 'a' })
  await shows(page, '#waiting-unit', /^message in the queue$/)
  t.strictSame(complaints, [])
})

t.test('the page asks for a token, and reads one from a link', async t => {
  const { url } = await serveApp(t, { UI_TOKEN: TOKEN })
  const { page } = await visit(t, browser, url)
  await page.fill('#token', 'wrong')
  await page.keyboard.press('Enter')
  await shows(page, '#token-refused', /token is wrong/)
  await page.fill('#token', TOKEN)
  await page.keyboard.press('Enter')
  await shows(page, '#status', /Takes/)

  const linked = await visit(t, browser, `${url}/#token=${TOKEN}`)
  await shows(linked.page, '#status', /Takes/)
  t.equal(linked.page.url(), `${url}/`, 'the token is removed from the address')
})

for (const colorScheme of ['light', 'dark'] as const) {
  t.test(`on a phone no part is wider than the screen (${colorScheme})`, async t => {
    const { url } = await serveApp(t, { BATCH_EVENTS_MAX: '5' })
    const { page } = await visit(t, browser, url)
    await page.emulateMedia({ colorScheme })
    await page.setViewportSize({ width: 360, height: 740 })
    const long = 'x'.repeat(200)
    for (const n of range(6)) await post(url, { event: `${long}${n}`, user_id: long, [long]: 1 })
    await post(url, { [long]: long, event: 1 })
    await shows(page, '#object-list li', /5 events/)
    await shows(page, '#refused-list li', /event/)
    t.equal(await page.evaluate('document.documentElement.scrollWidth'), 360)
    await page.click('.event-list button')
    await shows(page, '#detail-title', /x{200}/)
    t.ok(((await page.locator('#detail').boundingBox())?.width ?? 999) <= 360)
    const [paper, ink] = (await page.evaluate(
      "['backgroundColor', 'color'].map(name => getComputedStyle(document.body)[name])",
    )) as [string, string]
    t.equal(brightness(paper) > brightness(ink), colorScheme === 'light')
  })
}

function brightness(rgb: string): number {
  return (rgb.match(/\d+/g) ?? []).map(Number).reduce((sum, part) => sum + part, 0)
}
