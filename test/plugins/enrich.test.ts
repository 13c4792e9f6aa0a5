/** The hook `enrich(event, request)`, on every route that takes events. */
import type { AddressInfo } from 'node:net'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import frequency, { type FrequencyOptions } from '../../plugins/frequency.ts'
import { readConfig } from '../../src/config/config.ts'
import { archivedObjects } from '../bin/archived.ts'
import { temporaryDirectory } from '../helpers/helper.ts'

interface Enriching {
  readonly url: string
  readonly logged: Record<string, unknown>[]
  counts(): Promise<Record<string, number>>
  lines(): Promise<string[]>
}

async function serve(t: Test, options: FrequencyOptions): Promise<Enriching> {
  const dataDir = temporaryDirectory(t)
  const logged: Record<string, unknown>[] = []
  const stream = { write: (line: string) => void logged.push(JSON.parse(line)) }
  const app: FastifyInstance = Fastify({ logger: { level: 'warn', stream } })
  t.teardown(() => app.close())
  await app.register(frequency, {
    dataDir,
    batchAgeMsMax: 600_000,
    archiveCompression: 'none',
    ui: 'off',
    ...options,
  })
  await app.listen({ port: 0 })
  const url = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`
  async function counts(): Promise<Record<string, number>> {
    const text = await (await fetch(`${url}/metrics`)).text()
    const found = text.matchAll(/^frequency_enriched_events_total\{outcome="(\w+)"\} (\d+)$/gm)
    return Object.fromEntries(Array.from(found, ([, outcome, count]) => [outcome, Number(count)]))
  }
  async function lines(): Promise<string[]> {
    await app.close()
    const objects = await archivedObjects(readConfig({}, { DATA_DIR: dataDir }))
    return objects.flatMap(({ lines }) => lines)
  }
  return { url, logged, counts, lines }
}

const ofEnrichment = (logged: Record<string, unknown>[]) =>
  logged.filter(({ msg }) => /enrich hook/i.test(String(msg)))

async function post(url: string, body: unknown): Promise<Response> {
  const headers = { 'content-type': 'application/json', 'x-country': 'NL' }
  const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) })
  if (response.status !== 200) throw new Error(await response.text())
  return response
}

t.test('a hook adds members to the events of every route', async t => {
  const { url, lines, counts } = await serve(t, {
    enrich: ({ event }, { headers }) => ({ country: headers['x-country'] ?? 'none', was: event }),
  })
  await post(`${url}/api/t`, { event: 'a' })
  await post(`${url}/api/t/batch`, [{ event: 'b' }, { event: 'c' }])
  await post(`${url}/v1/track`, { event: 'd', userId: '1' })
  await post(`${url}/v1/batch`, { batch: [{ type: 'track', event: 'e', userId: '1' }] })
  await post(`${url}/api/hook/f`, { any: 1 })
  await fetch(`${url}/api/t.gif?event=g`)
  t.match(await counts(), { added: 7, failed: 0, late: 0 })
  const archived = await lines()
  t.equal(archived.length, 7)
  for (const line of archived) {
    const { event, was, country } = JSON.parse(line)
    t.equal(was, event)
    t.equal(country, event === 'g' ? 'none' : 'NL')
    t.match(
      line,
      /,"country":"\w+","was":"\w","receivedAt":"[^"]{24}"\}$/,
      'receivedAt stays the last member',
    )
  }
})

t.test('a hook sees the stamps, and cannot change a member', async t => {
  const seen: Record<string, unknown>[] = []
  const { url, lines, logged } = await serve(t, {
    writeKeys: 'web=key-of-the-web-page',
    enrich: async event => {
      seen.push(event)
      const forged = { messageId: 'x', receivedAt: 'y', source: 'z', event: 'other', ['__proto__']: 1 }
      return { ...event, ...forged, plan: 'pro\n', 'a"b': undefined }
    },
  })
  const sent = `{"event":"a","messageId":"m-1","n":1.50}`
  const headers = { 'content-type': 'application/json', 'x-write-key': 'key-of-the-web-page' }
  t.equal((await fetch(`${url}/api/t`, { method: 'POST', headers, body: sent })).status, 200)
  const [line = ''] = await lines()
  t.match(
    line,
    /^\{"event":"a","messageId":"m-1","n":1\.50,"source":"web","plan":"pro\\n","receivedAt":"[^"]+"\}$/,
  )
  t.match(seen, [{ event: 'a', messageId: 'm-1', source: 'web', receivedAt: String }])
  t.match(ofEnrichment(logged), [
    { msg: 'An enrich hook returned a member that it cannot set. It is left out.' },
  ])
})

t.test('an event is kept if a hook fails, and this is logged once a minute', async t => {
  const failures: (() => unknown)[] = [
    () => {
      throw new Error('no luck')
    },
    async () => {
      throw new Error('no luck later')
    },
    () => 'text',
    () => [1],
    () => ({ big: 1n }),
    () => ({ long: 'x'.repeat(40_000) }),
  ]
  let n = 0
  const { url, lines, counts, logged } = await serve(t, {
    enrich: () => failures[n++]?.() as undefined,
  })
  for (const _ of failures) await post(`${url}/api/t`, { event: 'kept' })
  await post(`${url}/api/t`, { event: 'kept' })
  t.match(await counts(), { added: 0, unchanged: 1, failed: failures.length, late: 0 })
  t.match(ofEnrichment(logged), [{ err: { message: 'no luck' } }])
  const archived = await lines()
  t.equal(archived.length, failures.length + 1)
  for (const line of archived) t.same(Object.keys(JSON.parse(line)), ['event', 'messageId', 'receivedAt'])
})

t.test('a hook that changes its copy of the event fails', async t => {
  const { url, lines, counts } = await serve(t, {
    enrich: event => {
      delete (event as Record<string, unknown>).event
      return { event: 'other' }
    },
  })
  await post(`${url}/api/t`, { event: 'a' })
  t.match(await counts(), { failed: 1 })
  t.match(
    (await lines()).map(line => JSON.parse(line)),
    [{ event: 'a' }],
  )
})

t.test('hooks have ENRICH_MS_MAX for all events of a request', async t => {
  const { url, lines, counts, logged } = await serve(t, {
    enrichMsMax: 50,
    enrich: ({ n }) => (n === 1 ? { quick: true } : new Promise(() => {})),
  })
  const startedAt = performance.now()
  await post(
    `${url}/api/t/batch`,
    Array.from({ length: 300 }, (_, n) => ({ event: 'a', n })),
  )
  t.ok(performance.now() - startedAt < 2_000)
  t.match(await counts(), { added: 1, late: 299 })
  t.match(ofEnrichment(logged), [{ late: 299, enrichMsMax: 50 }])
  const archived = (await lines()).map(line => JSON.parse(line))
  t.equal(archived.length, 300)
  t.same(
    archived.filter(({ quick }) => quick === true).map(({ n }) => n),
    [1],
  )
})

t.test('a hook that blocks is not called for the rest of a batch when the time is over', async t => {
  const { url, lines, counts } = await serve(t, {
    enrichMsMax: 50,
    enrich: () => {
      const until = performance.now() + 20
      while (performance.now() < until);
      return { slow: true }
    },
  })
  await post(
    `${url}/api/t/batch`,
    Array.from({ length: 20 }, (_, n) => ({ event: 'a', n })),
  )
  const { added = 0, late = 0 } = await counts()
  t.equal(added + late, 20)
  t.ok(added >= 1 && added <= 4, String(added))
  t.equal((await lines()).length, 20)
})

t.test('several hooks: each adds, the first wins, and one that fails loses only its own', async t => {
  const { url, lines } = await serve(t, {
    enrich: () => ({ a: 1 }),
    register: [
      async app => {
        app.enrich(() => {
          throw new Error('no luck')
        })
        app.enrich(() => ({ a: 2, b: 2 }))
      },
    ],
  })
  await post(`${url}/api/t`, { event: 'a' })
  t.match(
    (await lines()).map(line => JSON.parse(line)),
    [{ a: 1, b: 2 }],
  )
})

t.test('track publishes an event of the server itself', async t => {
  const { url, lines } = await serve(t, {
    enrich: () => ({ enriched: true }),
    register: [
      async app => {
        app.post('/order', async () => ({ ack: await app.track({ event: 'order_made', total: 5 }) }))
        app.post('/wrong', async () => app.track({ event: '' }))
      },
    ],
  })
  t.same(await (await post(`${url}/order`, {})).json(), { ack: 'disk' })
  const wrong = await fetch(`${url}/wrong`, { method: 'POST' })
  t.match(await wrong.json(), { code: 'FRQ_EVENT_INVALID' })
  const [line = ''] = await lines()
  t.match(line, /^\{"event":"order_made","total":5,"messageId":"[^"]+","receivedAt":"[^"]+"\}$/)
})
