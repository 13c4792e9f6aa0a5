import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { temporaryDirectory } from '../helpers/helper.ts'
import { openNetwork, uniqueQueueName } from '../helpers/queue-helper.ts'
import { serveApp } from './served-app.ts'

const SENT = '198.51.100.77'
const SEEN = '203.0.113.99'
const EVENT = `{"event":"a","n":12345678901234567890,"context":{"ip":"${SENT}","os":"x"}}`

function post(url: string, path: string, body: string): Promise<Response> {
  const headers = { 'content-type': 'application/json', 'x-forwarded-for': SEEN }
  return fetch(url + path, { method: 'POST', headers, body })
}

/** All bytes below a directory. */
function bytesIn(directory: string): string {
  return readdirSync(directory, { withFileTypes: true, recursive: true })
    .filter(entry => entry.isFile())
    .map(entry => readFileSync(join(entry.parentPath, entry.name), 'latin1'))
    .join('')
}

t.test('an event keeps its own address, and gets no other', async t => {
  const served = await serveApp(t, { TRUST_PROXY: 'loopback' })
  t.equal((await post(served.url, '/api/t', EVENT)).status, 200)
  t.equal((await post(served.url, '/api/t', '{"event":"b"}')).status, 200)
  const [first, second] = await served.archivedLines()
  t.ok(first?.startsWith(EVENT.slice(0, -1)))
  t.equal(JSON.parse(String(second)).context, undefined)
})

for (const [policy, context] of [
  ['truncate', '{"os":"x","ip":"198.51.100.0"}'],
  ['drop', '{"os":"x"}'],
]) {
  t.test(`IP_POLICY=${policy} is applied before an event is written anywhere`, async t => {
    const DATA_DIR = temporaryDirectory(t)
    const served = await serveApp(t, { IP_POLICY: String(policy), TRUST_PROXY: 'loopback', DATA_DIR })
    t.equal((await post(served.url, '/api/t', EVENT)).status, 200)
    t.equal((await post(served.url, '/api/t/batch', `[${EVENT}]`)).status, 200)
    const queued = bytesIn(DATA_DIR)
    t.match(queued, '12345678901234567890', 'the event is on disk')
    t.notMatch(queued, SENT)
    t.notMatch(queued, SEEN)
    for (const line of await served.archivedLines())
      t.ok(line.startsWith(`{"event":"a","n":12345678901234567890,"context":${context},`), line)
    t.notMatch(bytesIn(DATA_DIR), SENT)
  })
}

t.test('IP_POLICY is applied before an event is written to the spool', async t => {
  const network = await openNetwork(t)
  await network.refuse()
  const DATA_DIR = temporaryDirectory(t)
  const broker = { ROLE: 'ingest', AMQP_URL: network.url, AMQP_QUEUE: uniqueQueueName(t) }
  const { url } = await serveApp(t, { ...broker, DATA_DIR, IP_POLICY: 'drop' })
  const response = await post(url, '/api/t', EVENT)
  t.equal(response.headers.get('frequency-ack'), 'disk')
  const spooled = bytesIn(DATA_DIR)
  t.match(spooled, '12345678901234567890', 'the event is on disk')
  t.notMatch(spooled, SENT)
  await network.accept()
})
