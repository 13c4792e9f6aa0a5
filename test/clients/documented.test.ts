/** Runs the code blocks of docs/clients.md. Only the host is changed. */
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { serveApp } from '../plugins/served-app.ts'
import { openBrowser } from '../services/chromium.ts'
import { ensureServers } from '../services/install.ts'
import { parsed } from './believed.ts'
import { openPage, serveSite } from './site.ts'

const HOST = 'https://events.example.com'
const SCRIPT = '/analytics.min.js'
const ANSWER_MS_MAX = 30_000
const document = readFileSync(new URL('../../docs/clients.md', import.meta.url), 'utf8')

await ensureServers([{ name: 'curl', binaries: ['curl'] }])
const browser = await openBrowser(t)

/** Returns the first code block under this heading, with the URL of this server. */
function documented(heading: string, url: string): string {
  const section = document.split(`### ${heading}\n`)[1] ?? ''
  const block = /```\w+\n(.*?)```/s.exec(section)?.[1]
  if (!block?.includes(HOST)) throw new Error(`docs/clients.md has no code for ${heading}`)
  return block.replaceAll(HOST, url)
}

/** Opens a page with this HTML. The script of the library is loaded from the site of the page. */
async function openHtml(t: Test, html: string) {
  const site = await serveSite(t, html.replace(SCRIPT, '/bundles/standalone.js'))
  const page = await openPage(t, browser, site.origin)
  t.teardown(() => page.close())
  return page
}

t.test('curl', async t => {
  const served = await serveApp(t)
  const { stdout } = await promisify(execFile)('sh', ['-ec', documented('curl', served.url)])
  t.equal(stdout, '{"success":true}{"success":true}')
  const archived = parsed(await served.archivedLines())
  t.match(archived, [
    { type: 'track', userId: '42', event: 'Signed Up' },
    { type: 'identify', userId: '42', traits: { plan: 'pro' } },
    { type: 'track', userId: '42', event: 'Signed Up', timestamp: '2026-11-24T13:05:07Z' },
  ])
  t.equal(archived.length, 3)
})

t.test('a form', async t => {
  const served = await serveApp(t)
  const page = await openHtml(t, documented('An HTML form', served.url))
  await page.fill('input[name="properties[text]"]', 'Größe & mehr')
  const [response] = await Promise.all([page.waitForResponse(`${served.url}/api/t`), page.click('button')])
  t.equal(response.status(), 200)
  t.match(parsed(await served.archivedLines()), [{ event: 'Feedback', properties: { text: 'Größe & mehr' } }])
})

t.test('images', async t => {
  const served = await serveApp(t)
  const page = await openHtml(t, documented('An image, in a mail', served.url))
  const sizes = await page.evaluate('[...document.images].map(image => image.complete && image.naturalWidth)')
  t.strictSame(sizes, [1, 1])
  const lines = await served.archivedLines()
  t.match(new Set(parsed(lines).map(({ user_id, userId }) => user_id ?? userId)), new Set(['42']))
  t.equal(lines.length, 2)
  t.notMatch(lines.join(), /my-key/)
})

t.test('the script', async t => {
  const served = await serveApp(t, { CORS_ORIGINS: '*' })
  const page = await openHtml(t, documented('Browsers, with a script', served.url))
  await page.waitForFunction('window.analytics.initialized === true', undefined, { timeout: ANSWER_MS_MAX })
  await page.evaluate(`window.analytics.track('Late').then(() => undefined)`)
  await page.waitForFunction(`performance.getEntriesByType('resource')
    .filter(({ name }) => /\\/v1\\/[tp]$/.test(name)).length === 2`)
  await page.goto('about:blank')
  const archived = parsed(await served.archivedLines())
  t.strictSame(archived.map(({ type }) => type).sort(), ['page', 'track'])
})

t.test('sendBeacon, and fetch with keepalive, from a page that is left at once', async t => {
  const served = await serveApp(t, { CORS_ORIGINS: '*' })
  const page = await openHtml(t, '<!doctype html>')
  const call = { userId: 'u1', event: 'Left' }
  const answered = Promise.all(
    ['/v1/t', '/v1/track'].map(path => page.waitForResponse(served.url + path, { timeout: ANSWER_MS_MAX })),
  )
  await page.evaluate(`
    navigator.sendBeacon('${served.url}/v1/t', ${JSON.stringify(JSON.stringify(call))})
    fetch('${served.url}/v1/track', { method: 'POST', keepalive: true, body: '${JSON.stringify(call)}' })
    undefined`)
  for (const response of await answered) t.equal(response.status(), 200)
  await page.goto('about:blank')
  const archived = parsed(await served.archivedLines())
  t.match(archived, [call, call])
  t.equal(archived.length, 2)
})
