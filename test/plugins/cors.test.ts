import t from 'tap'
import { serveApp } from './served-app.ts'

const PAGE = 'https://shop.example.com'

function preflight(url: string, origin: string, headers = 'content-type,x-write-key'): Promise<Response> {
  return fetch(url, {
    method: 'OPTIONS',
    headers: {
      origin,
      'access-control-request-method': 'POST',
      'access-control-request-headers': headers,
    },
  })
}

function post(url: string, origin: string, body = '{"event":"a"}'): Promise<Response> {
  return fetch(url, { method: 'POST', headers: { origin, 'content-type': 'application/json' }, body })
}

function allowed({ headers }: Response): (string | null)[] {
  return ['origin', 'credentials'].map(name => headers.get(`access-control-allow-${name}`))
}

t.test('without CORS_ORIGINS no page may call', async t => {
  const { url } = await serveApp(t)
  t.strictSame(allowed(await post(`${url}/api/t`, PAGE)), [null, null])
  const refused = await preflight(`${url}/api/t`, PAGE)
  t.equal(refused.status, 405)
  t.strictSame(allowed(refused), [null, null])
})

t.test('pages of named origins may call, with credentials; other pages may not', async t => {
  const CORS_ORIGINS =
    'https://shop.example.com, https://*.example.org,http://localhost:3000, capacitor://localhost'
  const { url } = await serveApp(t, { CORS_ORIGINS, WRITE_KEYS: 'web:browser=key-of-web' })
  const good = [
    PAGE,
    'https://a.example.org',
    'https://a.b.example.org',
    'http://localhost:3000',
    'capacitor://localhost',
  ]
  for (const origin of good) {
    for (const path of ['/api/t', '/api/t/batch', '/api/t?writeKey=key-of-web']) {
      const asked = await preflight(url + path, origin)
      t.equal(asked.status, 204)
      t.strictSame(allowed(asked), [origin, 'true'])
      t.equal(asked.headers.get('access-control-allow-headers'), 'content-type,x-write-key')
      t.match(asked.headers.get('access-control-allow-methods'), /POST/)
      t.equal(asked.headers.get('access-control-max-age'), '86400')
      t.match(asked.headers.get('vary'), /\borigin\b/i)
    }
    const taken = await post(`${url}/api/t?writeKey=key-of-web`, origin)
    t.equal(taken.status, 200)
    t.strictSame(allowed(taken), [origin, 'true'])
    t.match(taken.headers.get('access-control-expose-headers'), /frequency-ack.*retry-after/)
    const refused = await post(`${url}/api/t`, origin)
    t.equal(refused.status, 401)
    t.strictSame(allowed(refused), [origin, 'true'], 'a page may read a refusal')
  }
  const bad = [
    'http://shop.example.com',
    'https://shop.example.com:8443',
    'https://shop.example.com.evil.net',
    'https://evil-shop.example.com',
    'https://example.org',
    'https://evilexample.org',
    'https://a.example.org.evil.net',
    'https://a.exampleXorg',
    'null',
  ]
  for (const origin of bad) {
    t.strictSame(allowed(await post(`${url}/api/t?writeKey=key-of-web`, origin)), [null, 'true'], origin)
    t.equal(
      (await preflight(`${url}/api/t`, origin)).headers.get('access-control-allow-origin'),
      null,
      origin,
    )
  }
})

t.test('* lets every page call, without credentials', async t => {
  const { url } = await serveApp(t, { CORS_ORIGINS: '*' })
  t.strictSame(allowed(await preflight(`${url}/api/t`, PAGE)), ['*', null])
  t.strictSame(allowed(await post(`${url}/api/t`, PAGE)), ['*', null])
})

t.test('only routes for pages are open, and every refusal has the usual members', async t => {
  const { url } = await serveApp(t, { CORS_ORIGINS: PAGE })
  for (const path of ['/healthz', '/documentation/json', '/nothing']) {
    t.equal(
      (await fetch(url + path, { headers: { origin: PAGE } })).headers.get('access-control-allow-origin'),
      null,
      path,
    )
    const asked = await preflight(url + path, PAGE)
    t.equal(asked.headers.get('access-control-allow-origin'), null, path)
    t.match(await asked.json(), {
      statusCode: asked.status,
      code: path === '/healthz' ? 'FRQ_METHOD_NOT_ALLOWED' : 'FRQ_NOT_FOUND',
    })
  }
  const plain = await fetch(`${url}/api/t`, { method: 'OPTIONS' })
  t.equal(plain.headers.get('allow'), 'POST')
  t.match(await plain.json(), { statusCode: 405, code: 'FRQ_METHOD_NOT_ALLOWED' })
  const noPreflight = await fetch(`${url}/api/t`, { method: 'OPTIONS', headers: { origin: PAGE } })
  t.match(await noPreflight.json(), { statusCode: 405, code: 'FRQ_METHOD_NOT_ALLOWED' })
})
