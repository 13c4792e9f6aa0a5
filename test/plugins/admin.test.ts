import type { AddressInfo } from 'node:net'
import t from 'tap'
import { configOf } from '../helpers/helper.ts'
import { RawClient } from './raw-http.ts'
import { serveApp } from './served-app.ts'

const FOR_OPERATORS = [
  '/',
  '/ui/page.js',
  '/status',
  '/metrics',
  '/healthz',
  '/readyz',
  '/documentation/json',
]

function urlOf({ address, port }: AddressInfo): string {
  return `http://${address}:${port}`
}

t.test('without ADMIN_PORT all routes are on PORT', async t => {
  const { app, url } = await serveApp(t)
  t.equal(app.adminAddress, undefined)
  for (const path of FOR_OPERATORS) t.equal((await fetch(url + path)).status, 200, path)
})

t.test('ADMIN_PORT has the routes for operators and no others; PORT has none of them', async t => {
  const { app, url } = await serveApp(t, { ADMIN_PORT: '0', WRITE_KEYS: 'a=key-1' })
  const adminUrl = urlOf(app.adminAddress as AddressInfo)
  const event = {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-write-key': 'key-1' },
    body: '{"event":"e"}',
  }
  for (const path of FOR_OPERATORS) {
    t.equal((await fetch(adminUrl + path)).status, 200, path)
    t.equal((await fetch(url + path)).status, 404, path)
  }
  t.equal((await fetch(`${url}/api/t`, event)).status, 200)
  t.equal((await fetch(`${adminUrl}/api/t`, event)).status, 404)
  t.equal((await fetch(`${adminUrl}/v1/projects/key-1/settings`)).status, 404)
  await app.close()
  await t.rejects(fetch(`${adminUrl}/healthz`), 'ADMIN_PORT is closed with PORT')
})

t.test('the live page needs a token if others may reach it', async t => {
  const exposed: Record<string, string>[] = [
    { WRITE_KEYS: 'a=key-1' },
    { TRUST_PROXY: 'loopback' },
    { HOST: '0.0.0.0' },
    { ADMIN_PORT: '0', ADMIN_HOST: '0.0.0.0' },
  ]
  for (const env of exposed) {
    const { app, url } = await serveApp(t, env)
    const pageUrl = app.adminAddress === undefined ? url : `http://127.0.0.1:${app.adminAddress.port}`
    for (const path of ['/', '/ui/stream']) {
      const response = await fetch(pageUrl + path)
      t.equal(response.status, 403, path)
      t.match(await response.json(), { code: 'FRQ_UI_FORBIDDEN', message: /UI_TOKEN/ }, JSON.stringify(env))
    }
  }
  const UI_TOKEN = 'a-token-of-enough-characters'
  const { url } = await serveApp(t, { WRITE_KEYS: 'a=key-1', UI_TOKEN })
  t.equal((await fetch(`${url}/`)).status, 200)
  t.equal((await fetch(`${url}/ui/stream`)).status, 401)
})

t.test('the live page is refused to a request that nginx passes on with its defaults', async t => {
  const { port } = await serveApp(t)
  const client = new RawClient(t, port)
  client.send(`GET /ui/stream HTTP/1.0\r\nHost: 127.0.0.1:${port}\r\nConnection: close\r\n\r\n`)
  t.match(await client.responsesUntilClosed(), [{ status: 403, body: /FRQ_UI_FORBIDDEN/ }])
})

t.test('PORT and ADMIN_PORT cannot be the same', async t => {
  t.throws(() => configOf({ PORT: '4000', ADMIN_PORT: '4000' }), {
    code: 'FRQ_CONFIG_INVALID',
    message: /ADMIN_PORT/,
  })
})
