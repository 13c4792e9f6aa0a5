/** The values of /metrics after known events. */
import { test } from 'tap'
import { logKeys } from '../../src/log/log-keys.ts'
import { isObjectKey } from '../../src/object/object-key.ts'
import { aggregate } from '../../src/observability/exposition.ts'
import { temporaryDirectory } from '../helpers/helper.ts'
import { brokerUrl, openChannel, openNetwork, uniqueQueueName } from '../helpers/queue-helper.ts'
import { setEnvironment } from '../helpers/store-helper.ts'
import type { S3Fault } from '../services/s3-fault.ts'
import { startS3Server } from '../services/s3-server.ts'
import { until } from '../services/wait.ts'
import { serveApp } from './served-app.ts'

const WAIT_MS_MAX = 60_000

/** Values by series: `name{label="…"}`. */
type Series = Map<string, number>

function seriesIn(text: string): Series {
  const lines = text.split('\n').filter(line => line !== '' && !line.startsWith('#'))
  return new Map(lines.map(line => [line.slice(0, line.lastIndexOf(' ')), Number(line.split(' ').at(-1))]))
}

async function scrape(url: string): Promise<Series> {
  return seriesIn(await (await fetch(`${url}/metrics`)).text())
}

/** Resolves to the first scrape that satisfies `is`. */
async function scrapes(url: string, what: string, is: (series: Series) => boolean): Promise<Series> {
  let series: Series = new Map()
  await until(what, WAIT_MS_MAX, async () => {
    series = await scrape(url)
    return is(series)
  })
  return series
}

async function post(url: string, body: unknown): Promise<number> {
  const headers = { 'content-type': 'application/json' }
  const path = Array.isArray(body) ? '/api/t/batch' : '/api/t'
  const response = await fetch(`${url}${path}`, { method: 'POST', headers, body: JSON.stringify(body) })
  await response.text()
  return response.status
}

test('one process: requests, refusals, batches, duplicates', async t => {
  const { url } = await serveApp(t, { BATCH_EVENTS_MAX: '10', ARCHIVE_COMPRESSION: 'gzip' })
  for (let n = 0; n < 12; n++) t.equal(await post(url, { event: 'a', messageId: `m${n}` }), 200)
  t.equal(await post(url, { event: 'a', messageId: 'm3' }), 200, 'sent again')
  t.equal(await post(url, { event: 'another', messageId: 'm4' }), 200, 'another event with the same id')
  t.equal(await post(url, { event: '' }), 400)
  t.equal(await post(url, [{ event: 'b' }, { event: 7 }, { event: 'c' }]), 200)
  const series = await scrapes(
    url,
    'all events are counted',
    each =>
      each.get('frequency_batches_total{reason="events"}') === 1 &&
      each.get('frequency_duplicate_events_total') === 2 &&
      // The duplicate is acknowledged at once, although the events before it are still unacknowledged.
      each.get('frequency_spool_events') === 4,
  )
  const expected = {
    'frequency_info{role="all"}': 1,
    frequency_ready: 1,
    'frequency_part_well{part="archive"}': 1,
    'frequency_events_total{outcome="disk"}': 16,
    'frequency_events_total{outcome="broker"}': 0,
    'frequency_refusals_total{code="FRQ_EVENT_INVALID"}': 2,
    'frequency_request_duration_seconds_count{route="/api/t"}': 15,
    'frequency_request_duration_seconds_bucket{le="+Inf",route="/api/t"}': 15,
    'frequency_request_duration_seconds_count{route="/api/t/batch"}': 1,
    frequency_differing_duplicate_events_total: 1,
    frequency_archived_events_total: 10,
    frequency_object_size_bytes_count: 1,
    frequency_upload_duration_seconds_count: 1,
    frequency_open_batch_events: 4,
    frequency_spool_events: 4,
    frequency_unacknowledged_events: 4,
    frequency_dead_letters_total: 0,
  }
  for (const [name, value] of Object.entries(expected)) t.equal(series.get(name), value, name)
  t.ok((series.get('frequency_object_size_bytes_sum') as number) > 100)
  t.ok((series.get('frequency_request_duration_seconds_sum{route="/api/t"}') as number) > 0.001)
  t.ok((series.get('frequency_spool_oldest_age_seconds') as number) > 0)
  t.notOk(series.has('frequency_queue_messages'), 'there is no broker')
})

test('separate roles: confirms, the queue, redeliveries, dead letters, the spool', async t => {
  const AMQP_QUEUE = uniqueQueueName(t)
  const network = await openNetwork(t)
  const ingest = await serveApp(t, {
    AMQP_URL: network.url,
    AMQP_QUEUE,
    ROLE: 'ingest',
    PUBLISH_EVENTS_MAX: '1',
  })
  for (let n = 0; n < 5; n++) t.equal(await post(ingest.url, { event: 'a' }), 200)
  const channel = await openChannel(t)
  await channel.basicPublish({ routingKey: AMQP_QUEUE }, Buffer.from('no event'))
  const published = await scrapes(
    ingest.url,
    'all messages are in the queue',
    each => each.get('frequency_queue_messages') === 6,
  )
  t.equal(published.get('frequency_events_total{outcome="broker"}'), 5)
  t.equal(published.get('frequency_confirm_duration_seconds_count'), 5)
  t.equal(published.get('frequency_published_messages_total{outcome="confirmed"}'), 5)
  t.notOk(published.has('frequency_deliveries_total'), 'it does not archive')

  // The deliveries of a consumer that disconnects are delivered again.
  const before = await openChannel(t)
  let seen = 0
  await before.basicConsume({ queue: AMQP_QUEUE }, () => seen++)
  await until('the other consumer has the messages', WAIT_MS_MAX, () => seen === 6)
  await before.close()
  const env = { AMQP_URL: brokerUrl(), AMQP_QUEUE, ROLE: 'archive', ARCHIVE_URL: temporaryDirectory(t) }
  const archive = await serveApp(t, env)
  const taken = await scrapes(
    archive.url,
    'the archiver has all messages',
    each => each.get('frequency_dead_letter_messages') === 1,
  )
  const expected = {
    frequency_deliveries_total: 6,
    frequency_redeliveries_total: 6,
    frequency_dead_letters_total: 1,
    frequency_unacknowledged_deliveries: 5,
    frequency_unacknowledged_events: 5,
    frequency_open_batch_events: 5,
    frequency_queue_messages: 0,
    'frequency_part_well{part="consumer"}': 1,
  }
  for (const [name, value] of Object.entries(expected)) t.equal(taken.get(name), value, name)
  t.notOk(taken.has('frequency_spool_bytes'), 'it has no spool')
  t.ok((taken.get('frequency_oldest_unarchived_age_seconds') as number) > 0)

  await network.refuse()
  network.cut()
  await scrapes(
    ingest.url,
    'the failure is noticed',
    each => each.get('frequency_part_well{part="broker"}') === 0,
  )
  for (let n = 0; n < 3; n++) t.equal(await post(ingest.url, { event: 'a' }), 200)
  const spooled = await scrape(ingest.url)
  t.equal(spooled.get('frequency_events_total{outcome="disk"}'), 3)
  t.equal(spooled.get('frequency_spool_events'), 3)
  t.ok((spooled.get('frequency_spool_bytes') as number) > 100)
  t.ok((spooled.get('frequency_spool_oldest_age_seconds') as number) > 0)
  t.equal(spooled.get('frequency_spool_write_duration_seconds_count'), 3)
  t.equal(spooled.get('frequency_ready'), 1)
  t.notOk(spooled.has('frequency_queue_messages'), 'an unknown value is absent')
})

test('failed uploads and retried requests', async t => {
  const server = await startS3Server()
  t.teardown(() => server.close())
  server.createBucket('bucket')
  setEnvironment(t, server.env())
  const refusals: S3Fault[] = [{ status: 503 }, { status: 403 }]
  let hasRefusedLog = false
  server.fault(({ operation, key }) => {
    if (operation !== 'PutObject') return undefined
    if (isObjectKey(key)) return refusals.shift()
    if (hasRefusedLog || !key.endsWith(logKeys('').record(0))) return undefined
    hasRefusedLog = true
    return { status: 403 }
  })
  const { url } = await serveApp(t, {
    ARCHIVE_URL: 's3://bucket',
    S3_FORCE_PATH_STYLE: 'true',
    BATCH_EVENTS_MAX: '1',
  })
  t.equal(await post(url, { event: 'a' }), 200)
  const series = await scrapes(
    url,
    'it is archived',
    each => each.get('frequency_archived_events_total') === 1,
  )
  t.equal(series.get('frequency_store_retries_total'), 1)
  t.equal(series.get('frequency_upload_failures_total'), 2, 'the log and the object')
  t.equal(
    series.get('frequency_archive_failures_total'),
    1,
    'only the log failure: an upload of an object is retried',
  )
  const [object] = [...server.objects('bucket')].flatMap(([key, bytes]) => (isObjectKey(key) ? [bytes] : []))
  t.equal(series.get('frequency_object_size_bytes_sum'), object?.length)
})

test('the metrics of several workers are merged', async t => {
  const apps = [await serveApp(t), await serveApp(t)]
  for (const { url } of apps) t.equal(await post(url, { event: 'a' }), 200)
  // The answer of another process.
  const all = await Promise.all(
    apps.map(async ({ app }) => JSON.parse(JSON.stringify(await app.workerMessages.ask('metrics')))),
  )
  const series = seriesIn(await aggregate(all.flat()))
  t.equal(series.get('frequency_events_total{outcome="disk"}'), 2)
  t.equal(series.get('frequency_request_duration_seconds_count{route="/api/t"}'), 2)
  t.equal(series.get('frequency_request_duration_seconds_bucket{le="+Inf",route="/api/t"}'), 2)
  t.equal(series.get('frequency_ready'), 1)
  t.ok((series.get('process_resident_memory_bytes') as number) > 1e7)
})
