/** The proxy configurations of docs/access.md in front of a running server, and HTTP/2 with a browser. */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { connect as connectHttp2, type IncomingHttpHeaders } from 'node:http2'
import { connect } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { serveSite } from '../clients/site.ts'
import { temporaryDirectory } from '../helpers/helper.ts'
import { type ServedApp, serveApp } from '../plugins/served-app.ts'
import { openBrowser } from '../services/chromium.ts'
import { ensureServers, serverPath } from '../services/install.ts'
import { freePort } from '../services/ports.ts'
import { until } from '../services/wait.ts'

const HOST = 'events.example.com'
const DOCUMENTED = readFileSync(new URL('../../docs/access.md', import.meta.url), 'utf8')
const START_MS_MAX = 20_000
const ARRIVAL_MS_MAX = 30_000

await ensureServers([
  { name: 'nginx-light', binaries: ['nginx'] },
  { name: 'haproxy', binaries: ['haproxy'] },
  { name: 'openssl', binaries: ['openssl'] },
])

interface Proxy {
  readonly port: number
  readonly url: string
}

/** A block of the docs with the ports and files of the test. */
function documented(language: string, changes: Readonly<Record<string, string>>): string {
  const [, block = ''] = new RegExp(`\`\`\`${language}\\n(.*?)\`\`\``, 's').exec(DOCUMENTED) ?? []
  return Object.entries(changes).reduce((changed, [from, to]) => {
    t.ok(changed.includes(from), `${language}: ${from}`)
    return changed.replaceAll(from, to)
  }, block)
}

function certificate(directory: string): void {
  const files = ['-keyout', join(directory, 'events.key'), '-out', join(directory, 'events.crt')]
  const subject = ['-subj', `/CN=${HOST}`, '-days', '1']
  execFileSync(
    serverPath('openssl'),
    ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', ...subject, ...files],
    {
      stdio: 'ignore',
    },
  )
  const read = (name: string) => readFileSync(join(directory, name), 'utf8')
  writeFileSync(join(directory, 'events.pem'), read('events.crt') + read('events.key'))
}

async function startNginx(t: Test, upstream: number): Promise<Proxy> {
  const directory = temporaryDirectory(t)
  const port = await freePort()
  certificate(directory)
  const server = documented('nginx', {
    'listen 443': `listen 127.0.0.1:${port}`,
    '/etc/ssl/': `${directory}/`,
    '127.0.0.1:4000': `127.0.0.1:${upstream}`,
  })
  const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map(name => `${name}_temp_path ${directory}/${name};`)
    .join(' ')
  const user = process.getuid?.() === 0 ? 'user root; ' : ''
  const main = `${user}daemon off; pid ${directory}/pid; error_log stderr; events {}\nhttp { access_log off; ${paths}\n${server} }`
  writeFileSync(join(directory, 'nginx.conf'), main)
  return await start(t, port, 'nginx', ['-e', 'stderr', '-p', directory, '-c', join(directory, 'nginx.conf')])
}

async function startHaproxy(t: Test, upstream: number): Promise<Proxy> {
  const directory = temporaryDirectory(t)
  const port = await freePort()
  certificate(directory)
  const blocks = documented('haproxy', {
    'bind :443': `bind 127.0.0.1:${port}`,
    '/etc/ssl/': `${directory}/`,
    '127.0.0.1:4000': `127.0.0.1:${upstream}`,
  })
  const timeouts = 'defaults\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n\n'
  writeFileSync(join(directory, 'haproxy.cfg'), timeouts + blocks)
  return await start(t, port, 'haproxy', ['-f', join(directory, 'haproxy.cfg')])
}

async function start(t: Test, port: number, name: string, args: readonly string[]): Promise<Proxy> {
  const child = spawn(serverPath(name), args, { stdio: ['ignore', 'ignore', 'pipe'] })
  const exited = once(child, 'exit')
  const errorOutput = text(child.stderr)
  t.teardown(async () => {
    child.kill('SIGTERM')
    await exited
  })
  await until(`${name} listens`, START_MS_MAX, async () => {
    if (child.exitCode !== null) throw new Error(`${name} has ended: ${await errorOutput}`)
    return await listens(port)
  })
  return { port, url: `https://127.0.0.1:${port}` }
}

async function listens(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}

function openEvents({ app }: ServedApp): number {
  return app.archiver.stats.open?.events ?? 0
}

interface Answer {
  readonly status: number
  readonly body: string
}

/** A request over HTTP/2. */
async function ask(
  { url }: Proxy,
  path: string,
  body?: string,
  headers: IncomingHttpHeaders = {},
): Promise<Answer> {
  const session = connectHttp2(url, { rejectUnauthorized: false, servername: HOST })
  try {
    const stream = session.request({
      ':method': body === undefined ? 'GET' : 'POST',
      ':path': path,
      ':authority': HOST,
      'content-type': 'application/json',
      ...headers,
    })
    stream.end(body)
    const [answered] = await once(stream, 'response')
    return { status: answered[':status'], body: await text(stream) }
  } finally {
    session.close()
  }
}

for (const [name, startProxy] of [
  ['nginx', startNginx],
  ['haproxy', startHaproxy],
] as const) {
  t.test(`${name}, as it is documented`, async t => {
    const served = await serveApp(t, {
      TRUST_PROXY: 'loopback',
      ADMIN_PORT: '0',
      WRITE_KEYS: 'web=key-1',
      BATCH_EVENTS_MAX: '20000',
    })
    const proxy = await startProxy(t, served.port)
    const key = { 'x-write-key': 'key-1' }
    const call = '{"event":"e","userId":"u"}'
    t.match(await ask(proxy, '/api/t', '{"event":"e"}', key), { status: 200 })
    t.match(await ask(proxy, '/v1/track', call, key), { status: 200 })
    const cookie = `c=${'x'.repeat(20 * 1024)}`
    t.match(await ask(proxy, '/api/t', '{"event":"e"}', { ...key, cookie }), { status: 200 }, 'large cookies')
    const large = JSON.stringify({ batch: Array(10_000).fill({ event: 'e', pad: 'x'.repeat(100) }) })
    t.match(await ask(proxy, '/api/t/batch', large, key), { status: 200 }, 'a large batch')
    const settings = JSON.parse((await ask(proxy, '/v1/projects/key-1/settings')).body)
    t.match(settings.integrations['Segment.io'], { apiHost: `${HOST}/v1`, protocol: 'https' })
    for (const path of ['/', '/status', '/metrics', '/healthz', '/documentation', '/ui/stream'])
      t.match(await ask(proxy, path), { status: 404 }, path)
    await until('all are in a batch', ARRIVAL_MS_MAX, async () => openEvents(served) === 10_003)
    t.equal((await served.archivedLines()).length, 10_003)
  })
}

t.test('PUBLIC_URL, if the proxy passes on another Host', async t => {
  const { url } = await serveApp(t, { PUBLIC_URL: `https://${HOST}/collect/` })
  const response = await fetch(`${url}/v1/projects/k/settings`)
  t.match(await response.json(), {
    integrations: { 'Segment.io': { apiHost: `${HOST}/collect/v1`, protocol: 'https' } },
  })
})

t.test('events of a page that is closed arrive over HTTP/2', async t => {
  const site = await serveSite(t, '<!doctype html><title>A page</title>')
  const served = await serveApp(t, { TRUST_PROXY: 'loopback', CORS_ORIGINS: site.origin })
  const proxy = await startNginx(t, served.port)
  // A flag of the browser, not of the page: it must also hold for requests that are sent after the page is closed.
  const browser = await openBrowser(t, {}, ['--ignore-certificate-errors'])
  const page = await browser.newPage()
  await page.goto(`${site.origin}/`)
  const protocols = new Map<string, string>()
  const devtools = await browser.newCDPSession(page)
  devtools.on('Network.responseReceived', ({ response: { url, protocol = '' } }) =>
    protocols.set(url, protocol),
  )
  await devtools.send('Network.enable')
  let taken = 0
  served.app.queue.watchers.add(({ count }) => {
    taken += count
  })
  await page.evaluate(`(async () => {
    await fetch('${proxy.url}/api/t', { method: 'POST', body: '{"event":"at once"}' })
    const url = '${proxy.url}/api/t'
    addEventListener('pagehide', () => {
      navigator.sendBeacon(url, '{"event":"beacon"}')
      void fetch(url, { method: 'POST', keepalive: true, body: '{"event":"kept alive"}' })
    })
  })()`)
  await until('the answer is seen', ARRIVAL_MS_MAX, async () => protocols.has(`${proxy.url}/api/t`))
  t.equal(protocols.get(`${proxy.url}/api/t`), 'h2')
  await devtools.detach()
  await page.goto('about:blank')
  await until('all events have arrived', ARRIVAL_MS_MAX, async () => taken >= 3)
  const names = (await served.archivedLines()).map(line => JSON.parse(line).event)
  t.same(names.sort(), ['at once', 'beacon', 'kept alive'])
})
