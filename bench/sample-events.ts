/** Events as an SDK sends them, 200 to 300 bytes each. Every run has the same events. */
import { createRandom, type Random, range } from '../test/helpers/helper.ts'

/** wrk.lua replaces it by a random UUID. */
const ID = '00000000-0000-4000-8000-000000000000'
const SEED = 4
const NAMES = ['page_viewed', 'product_viewed', 'product_added', 'search_submitted', 'checkout_started']
const PATHS = ['/', '/products', '/products/wool-socks', '/search', '/basket', '/account/orders']
const TITLES = ['Home', 'All products', 'Wool socks, grey', 'Search', 'Your basket', 'Your orders']
const LOCALES = ['en-GB', 'de-DE', 'fr-FR', 'pt-BR', 'ja-JP']
const NOON_MS = Date.UTC(2026, 10, 24, 12)
const HOUR_MS = 3_600_000

/** Returns `count` events as one line of JSON each. @param hasIds whether they have a UUID as `messageId` */
export function sampleEvents(count: number, hasIds = false): string[] {
  const random = createRandom(SEED)
  return range(count).map(() => JSON.stringify({ ...(hasIds && { messageId: ID }), ...sampleEvent(random) }))
}

/** Returns the same events as calls for `/v1/batch`, as `@segment/analytics-node` makes them: the id is a prefix and a UUID. */
export function sampleCalls(count: number): string[] {
  const random = createRandom(SEED)
  return range(count).map(() => {
    const { context, ...event } = sampleEvent(random)
    const library = { name: '@segment/analytics-node', version: '3.1.0' }
    return JSON.stringify({
      messageId: `node-next-${NOON_MS}-${ID}`,
      type: 'track',
      ...event,
      context: { ...context, library },
      integrations: {},
      _metadata: { nodeVersion: '20.19.0', jsRuntime: 'node' },
    })
  })
}

/** One of these events, without an id. */
export function sampleEvent(random: Random) {
  const page = random(PATHS.length)
  return {
    event: NAMES[random(NAMES.length)],
    userId: `u_${random(1_000_000).toString(36)}`,
    timestamp: new Date(NOON_MS + random(HOUR_MS)).toISOString(),
    context: { locale: LOCALES[random(LOCALES.length)], page: { path: PATHS[page], title: TITLES[page] } },
    properties: { sku: `SKU-${random(100_000)}`, price: random(20_000) / 100, quantity: 1 + random(4) },
  }
}
