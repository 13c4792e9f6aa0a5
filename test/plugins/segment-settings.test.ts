import t from 'tap'
import { serveApp } from './served-app.ts'

t.test('the settings that libraries load name this server', async t => {
  const served = await serveApp(t)
  const response = await fetch(`${served.url}/v1/projects/my-key/settings`)
  t.equal(response.status, 200)
  t.match(response.headers.get('cache-control'), /private/)
  t.match(await response.json(), {
    integrations: {
      'Segment.io': { apiKey: 'my-key', apiHost: `${new URL(served.url).host}/v1`, protocol: 'http' },
    },
    metrics: { sampleRate: 0 },
  })
  const headers = { 'x-forwarded-proto': 'https' }
  const proxied = await fetch(`${served.url}/v1/projects/my-key/settings`, { headers })
  t.match(await proxied.json(), { integrations: { 'Segment.io': { protocol: 'https' } } })
})

t.test("the source configuration for RudderStack's libraries has no destinations", async t => {
  const served = await serveApp(t, { CORS_ORIGINS: 'https://example.com', WRITE_KEYS: 'web:browser=my-key' })
  for (const path of ['/sourceConfig', '/sourceConfig/']) {
    const url = `${served.url}${path}?p=npm&v=3.34.1&writeKey=my-key`
    const headers = { origin: 'https://example.com' }
    const preflight = await fetch(url, {
      method: 'OPTIONS',
      headers: {
        ...headers,
        'access-control-request-method': 'GET',
        'access-control-request-headers': 'authorization',
      },
    })
    t.equal(preflight.headers.get('access-control-allow-headers'), 'authorization')
    const response = await fetch(url, { headers })
    t.equal(response.headers.get('access-control-allow-origin'), 'https://example.com')
    t.match(await response.json(), {
      source: { id: String, writeKey: 'my-key', enabled: true, config: {}, destinations: [] },
    })
  }
})
