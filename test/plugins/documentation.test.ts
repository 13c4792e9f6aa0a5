import { readFileSync } from 'node:fs'
import t from 'tap'
import { brokerUrl, uniqueQueueName } from '../helpers/queue-helper.ts'
import { openBrowser } from '../services/chromium.ts'
import { serveApp } from './served-app.ts'

const OWN = {
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
}
const SHOWN_MS_MAX = 60_000

function own(name: string): string {
  return readFileSync(new URL(`../../docs/${name}`, import.meta.url), 'utf8')
}

t.test('docs/openapi.json agrees with the schemas of the routes', async t => {
  const { url } = await serveApp(t)
  const response = await fetch(`${url}/documentation/json`)
  t.match(response.headers.get('content-type'), /^application\/json/)
  const reference = await response.json()
  t.strictSame(JSON.parse(own('openapi.json')), reference, 'npm run openapi writes it')
})

t.test('the reference has every route for clients, with its bodies and answers', async t => {
  const { url } = await serveApp(t)
  const reference = JSON.parse(await (await fetch(`${url}/documentation/json`)).text())
  t.match(reference, { openapi: /^3\.1\./, info: { title: 'frequency' }, servers: [{ url: '/' }] })
  const { post } = reference.paths['/api/t']
  t.match(post.requestBody.content['application/json'].schema, {
    type: 'object',
    required: ['event'],
    properties: { event: { minLength: 1, maxLength: 255 } },
  })
  t.strictSame(Object.keys(post.responses), ['200', '400', '401', '413', '415', '429', '503'])
  t.match(post.responses['429'].headers, { 'retry-after': {}, 'ratelimit-remaining': {} })
  t.ok(post.security.length > 1)
  t.match(reference.paths['/api/t/batch'].post.requestBody.content, { 'application/x-ndjson': {} })
  t.ok(reference.paths['/healthz'].get)
  t.equal(reference.paths['/healthz'].get.security, undefined)
  t.notMatch(JSON.stringify(reference), '"expected"')
  t.strictSame(
    Object.keys(reference.paths).filter(path => path.startsWith('/documentation')),
    [],
  )
})

t.test('with DOCUMENTATION=off or ROLE=archive there is no /documentation', async t => {
  const { url } = await serveApp(t, { DOCUMENTATION: 'off' })
  t.equal((await fetch(`${url}/documentation`)).status, 404)
  t.equal((await fetch(`${url}/documentation/json`)).status, 404)
  const archiver = await serveApp(t, {
    ROLE: 'archive',
    AMQP_URL: brokerUrl(),
    AMQP_QUEUE: uniqueQueueName(t),
  })
  t.equal((await fetch(`${archiver.url}/documentation`)).status, 404)
})

t.test('no other routes are below /documentation', async t => {
  const { url } = await serveApp(t)
  for (const path of [
    '/documentation/api/t',
    '/documentation/%2e%2e/%2e%2e/package.json',
    '/documentation/static/nothing.js',
  ])
    t.equal((await fetch(url + path)).status, 404, path)
  t.equal((await fetch(`${url}/documentation`, { method: 'POST' })).status, 405)
})

t.test('the reference works in a browser, and sends no request to other servers', async t => {
  const served = await serveApp(t, { WRITE_KEYS: 'docs=key-of-docs' })
  const browser = await openBrowser(t)
  const page = await browser.newPage()
  const asked: string[] = []
  const complaints: string[] = []
  page.on('request', request => asked.push(request.url()))
  page.on('console', message => {
    if (message.type() === 'error') complaints.push(message.text())
  })
  page.on('pageerror', error => complaints.push(String(error)))
  page.setDefaultTimeout(SHOWN_MS_MAX)

  const response = await page.goto(`${served.url}/documentation`)
  t.match(response?.headers(), OWN)
  const policy = response?.headers()['content-security-policy'] ?? ''
  t.match(policy, /^default-src 'none'; script-src 'self'; .*frame-ancestors 'none'/)
  t.notMatch(policy, /unsafe|https?:|\*/)

  await page.getByText('Take one event').click()
  const operation = page.locator('#operations-events-track')
  await operation.locator('textarea').first().fill('{"event":"tried","writeKey":"key-of-docs"}')
  await operation.getByRole('button', { name: 'Execute' }).click()
  await operation.locator('.live-responses-table .response-col_status', { hasText: '200' }).first().waitFor()

  t.strictSame(
    asked.filter(url => !url.startsWith(`${served.url}/`) && !url.startsWith('data:')),
    [],
  )
  t.strictSame(complaints, [])
  t.strictSame(await browser.cookies(), [])
  t.match(
    (await served.archivedLines()).map(line => JSON.parse(line)),
    [{ event: 'tried', source: 'docs' }],
  )
})
