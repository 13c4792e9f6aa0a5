import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { BrowserContext, Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { openBrowser } from '../services/chromium.ts'
import { until } from '../services/wait.ts'
import { type ServedApp, serveApp } from './served-app.ts'

const KEY = 'key-of-web'
const WRITE_KEYS = `web:browser=${KEY}`
const ARRIVAL_MS_MAX = 60_000

/** Starts a server with an empty page. Resolves to its origin, which is not that of the app. */
async function servePage(t: Test): Promise<string> {
  const server = createServer((_, response) =>
    response.setHeader('content-type', 'text/html').end('<!doctype html>'),
  )
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

async function openPage(browser: BrowserContext, origin: string): Promise<Page> {
  const page = await browser.newPage()
  await page.goto(origin)
  return page
}

/** Collects the requests to the app, as `OPTIONS /api/t`. */
function requestsTo({ app }: ServedApp): string[] {
  const requests: string[] = []
  app.server.on('request', ({ method, url }) => requests.push(`${method} ${url}`))
  return requests
}

/** Runs in the page. Resolves to the status and the text, or to the error's name if the browser hides the answer. */
function post(page: Page, url: string, body: string, headers: Record<string, string>) {
  return page.evaluate(
    async ([url, body, headers]) => {
      try {
        const response = await fetch(url, { method: 'POST', body, headers, keepalive: true })
        return {
          status: response.status,
          ack: response.headers.get('frequency-ack'),
          text: await response.text(),
        }
      } catch (error) {
        return (error as Error).name
      }
    },
    [url, body, headers] as const,
  )
}

/** A script for the page that sends its events when the user leaves the page. */
function onLeaving(url: string): string {
  return `addEventListener('pagehide', () => {
    const url = '${url}/api/t'
    const withKey = url + '?writeKey=${KEY}'
    const writeKey = '${KEY}'
    const json = { type: 'application/json' }
    navigator.sendBeacon(url, JSON.stringify({ event: 'text', writeKey }))
    navigator.sendBeacon(withKey, new Blob(['{"event":"blob"}'], json))
    navigator.sendBeacon(withKey, new URLSearchParams({ event: 'form' }))
    navigator.sendBeacon(url + '/batch', JSON.stringify({ writeKey, batch: [{ event: 'batch' }, { event: 'batch' }] }))
    void fetch(withKey, { method: 'POST', body: '{"event":"keepalive"}', headers: { 'content-type': json.type }, keepalive: true })
  })`
}

t.test('a page of a named origin sends events, and reads the answers', async t => {
  const origin = await servePage(t)
  const served = await serveApp(t, { WRITE_KEYS, CORS_ORIGINS: origin })
  const requests = requestsTo(served)
  const browser = await openBrowser(t)
  const page = await openPage(browser, origin)
  const headers = { 'content-type': 'application/json', 'x-write-key': KEY }
  for (const n of [1, 2, 3]) {
    const answer = await post(page, `${served.url}/api/t`, `{"event":"fetched","n":${n}}`, headers)
    t.strictSame(answer, { status: 200, ack: 'disk', text: '200' })
  }
  t.strictSame(
    requests,
    ['OPTIONS /api/t', 'POST /api/t', 'POST /api/t', 'POST /api/t'],
    'one preflight for all requests',
  )
  t.match(await post(page, `${served.url}/api/t`, '{"event":"a"}', { 'content-type': 'application/json' }), {
    status: 401,
    text: /FRQ_WRITE_KEY_INVALID/,
  })

  t.strictSame(await browser.cookies(), [], 'no cookies')
  const events = (await served.archivedLines()).map(line => JSON.parse(line))
  t.match(
    events,
    [1, 2, 3].map(n => ({ event: 'fetched', n, source: 'web', channel: 'browser' })),
  )
})

t.test('events that a page sends while it is closed arrive, with sendBeacon and with keepalive', async t => {
  const origin = await servePage(t)
  const served = await serveApp(t, { WRITE_KEYS, CORS_ORIGINS: origin })
  const requests = requestsTo(served)
  const page = await openPage(await openBrowser(t), origin)
  await page.evaluate(onLeaving(served.url))
  await page.goto('about:blank')
  await until(
    'all events have arrived',
    ARRIVAL_MS_MAX,
    () => requests.filter(request => request.startsWith('POST')).length === 5,
  )
  const events = (await served.archivedLines()).map(line => JSON.parse(line))
  t.strictSame(events.map(({ event }) => event).sort(), [
    'batch',
    'batch',
    'blob',
    'form',
    'keepalive',
    'text',
  ])
  for (const event of events) t.match(event, { source: 'web', channel: 'browser' })
})

t.test('a page of another origin cannot send events; with * every page can', async t => {
  const origin = await servePage(t)
  const closed = await serveApp(t, { CORS_ORIGINS: 'https://shop.example.com' })
  const open = await serveApp(t, { CORS_ORIGINS: '*' })
  const requests = requestsTo(closed)
  const page = await openPage(await openBrowser(t), origin)
  const headers = { 'content-type': 'application/json' }
  t.equal(await post(page, `${closed.url}/api/t`, '{"event":"a"}', headers), 'TypeError')
  t.strictSame(requests, ['OPTIONS /api/t'], 'the browser sends the preflight only')
  t.match(await post(page, `${open.url}/api/t`, '{"event":"a"}', headers), { status: 200 })
  t.strictSame(await closed.archivedLines(), [])
  t.equal((await open.archivedLines()).length, 1)
})
