/** One trace from the request to the object, with OpenTelemetry's real SDK. */
import { join } from 'node:path'
import { type Context, context, ROOT_CONTEXT, trace } from '@opentelemetry/api'
import {
  InMemorySpanExporter,
  NodeTracerProvider,
  type ReadableSpan,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-node'
import t, { type Test } from 'tap'
import { GROUP_TRACES_MAX, tracesOf } from '../../../src/event/event-trace.ts'
import { startTrace } from '../../../src/event/tracing.ts'
import { openQueue } from '../../../src/queue/open-queue.ts'
import type { Queue } from '../../../src/queue/queue.ts'
import { archivedObjects } from '../../bin/archived.ts'
import { testBucket } from '../../bin/s3-bucket.ts'
import { configOf, numberedEvents, silent, temporaryDirectory } from '../../helpers/helper.ts'
import { brokerUrl, Inbox, openNetwork, uniqueQueueName } from '../../helpers/queue-helper.ts'
import { serveApp } from '../../plugins/served-app.ts'
import { until } from '../../services/wait.ts'

const WAIT_MS_MAX = 30_000

/** The trace context of a client, and its header. */
function clientTrace(n: number, flags = '01') {
  const traceId = (0xabc000 + n).toString(16).padStart(32, '0')
  const spanId = (0xdef000 + n).toString(16).padStart(16, '0')
  return { traceId, spanId, traceparent: `00-${traceId}-${spanId}-${flags}` }
}

const exporter = new InMemorySpanExporter()
const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] })
t.teardown(() => provider.shutdown())

/** Loads the SDK, for this and all later tests of the process. Forgets the spans of the last test. */
function loadSdk(): void {
  provider.register()
  exporter.reset()
}

async function post(url: string, body: object, traceparent?: string): Promise<number> {
  const headers = { 'content-type': 'application/json', ...(traceparent && { traceparent }) }
  const answer = await fetch(`${url}/api/t`, { method: 'POST', headers, body: JSON.stringify(body) })
  return answer.status
}

function named(name: string): ReadableSpan[] {
  return exporter.getFinishedSpans().filter(span => span.name === name)
}

async function spansNamed(name: string, count: number) {
  await until(`${count} spans "${name}"`, WAIT_MS_MAX, () => named(name).length >= count)
  return named(name)
}

function keyOf({ attributes }: ReadableSpan): unknown {
  return attributes['frequency.object.key']
}

async function open(t: Test, settings: Record<string, string>): Promise<Queue> {
  const queue = await openQueue(configOf({ ARCHIVE_URL: '/not-opened', ...settings }), silent)
  t.teardown(() => queue.close())
  return queue
}

async function publishTraced(queue: Queue, count: number): Promise<void> {
  const traceOf = (n: number) => startTrace({ traceparent: clientTrace(n).traceparent })?.context
  await Promise.all(numberedEvents(count).map((event, n) => queue.publish(event, traceOf(n))))
}

function traceIds(inbox: Inbox): string[] {
  return inbox.deliveries.flatMap(({ group }) =>
    group?.traces === undefined ? [] : tracesOf(group.traces, 0, group.count).map(({ traceId }) => traceId),
  )
}

t.test("without an SDK the client's trace is sent with the event", async t => {
  const queue = await open(t, {
    AMQP_URL: brokerUrl(),
    AMQP_QUEUE: uniqueQueueName(t),
    DATA_DIR: temporaryDirectory(t),
  })
  await publishTraced(queue, 3)
  const inbox = new Inbox(queue)
  await until('all events have arrived', WAIT_MS_MAX, () => inbox.numbers.length === 3)
  t.same(
    traceIds(inbox),
    [0, 1, 2].map(n => clientTrace(n).traceId),
  )
  t.same(inbox.deliveries[0]?.group?.traces?.length, 3 * 27)
})

t.test('traces are on disk with their events, in the embedded queue and in the spool', async t => {
  const path = temporaryDirectory(t)
  const embedded = await open(t, { DATA_DIR: join(path, 'embedded') })
  await publishTraced(embedded, 2)
  await embedded.close()
  const again = new Inbox(await open(t, { DATA_DIR: join(path, 'embedded') }))
  await until('both events have arrived', WAIT_MS_MAX, () => again.numbers.length === 2)
  t.same(again.numbers, [0, 1])
  t.equal(traceIds(again).length, 2)

  const network = await openNetwork(t)
  await network.refuse()
  const settings = { AMQP_QUEUE: uniqueQueueName(t), DATA_DIR: join(path, 'spooled') }
  await publishTraced(await open(t, { ...settings, AMQP_URL: network.url }), 2)
  await network.accept()
  const drained = new Inbox(await open(t, { ...settings, AMQP_URL: brokerUrl(), ROLE: 'archive' }))
  await until('both events have arrived', WAIT_MS_MAX, () => drained.numbers.length === 2)
  t.equal(traceIds(drained).length, 2)
})

t.test('a large group keeps 128 traces and all events', async t => {
  const queue = await open(t, { DATA_DIR: temporaryDirectory(t) })
  await publishTraced(queue, GROUP_TRACES_MAX + 60)
  const inbox = new Inbox(queue)
  await until('all events have arrived', WAIT_MS_MAX, () => inbox.numbers.length === GROUP_TRACES_MAX + 60)
  t.equal(inbox.deliveries.length, 1)
  t.equal(traceIds(inbox).length, GROUP_TRACES_MAX)
})

t.test('a traceparent is used if it is valid, and is sent with the event if it is sampled', async t => {
  const { traceparent, traceId } = clientTrace(7)
  t.match(startTrace({ traceparent })?.context, { traceId })
  t.match(startTrace({ traceparent: `01${traceparent.slice(2)}-more` })?.context, { traceId })
  t.equal(startTrace({ traceparent: clientTrace(7, '00').traceparent })?.context, undefined)
  const invalid = [
    '',
    'x',
    `${traceparent}-more`,
    `${traceparent}, ${traceparent}`,
    `ff${traceparent.slice(2)}`,
    traceparent.toUpperCase(),
    `00-${'0'.repeat(32)}-${'1'.repeat(16)}-01`,
    `00-${'1'.repeat(32)}-${'0'.repeat(16)}-01`,
  ]
  for (const each of invalid) t.equal(startTrace({ traceparent: each }), undefined, each)
  t.equal(startTrace({}), undefined)
})

t.test('one trace leads from a request through RabbitMQ to the object in S3', async t => {
  const bucket = await testBucket(t)
  const env = {
    AMQP_URL: brokerUrl(),
    AMQP_QUEUE: uniqueQueueName(t),
    ARCHIVE_URL: `s3://${bucket.name}`,
    S3_FORCE_PATH_STYLE: 'true',
    BATCH_AGE_MS_MAX: '300',
  }
  loadSdk()
  const ingest = await serveApp(t, { ...env, ROLE: 'ingest' })
  await serveApp(t, { ...env, ROLE: 'archive' })
  const client = clientTrace(1)
  t.equal(await post(ingest.url, { event: 'traced', n: 1 }, client.traceparent), 200)

  const [archived] = await spansNamed('archive event', 1)
  const [published] = named('publish event')
  const [batch] = named('archive batch')
  if (archived === undefined || published === undefined || batch === undefined) throw new Error('no spans')
  t.equal(published.spanContext().traceId, client.traceId, "the trace of ingest is the client's")
  t.equal(published.parentSpanContext?.spanId, client.spanId)
  t.equal(archived.spanContext().traceId, client.traceId, "the trace of the archiver is the client's")
  t.equal(archived.parentSpanContext?.spanId, published.spanContext().spanId)
  t.same(
    archived.links.map(link => link.context.spanId),
    [batch.spanContext().spanId],
  )
  t.same(
    batch.links.map(link => link.context.spanId),
    [published.spanContext().spanId],
  )
  t.not(batch.spanContext().traceId, client.traceId, 'a batch has a trace of its own')

  const objects = await archivedObjects(configOf({ ...env, S3_FORCE_PATH_STYLE: 'true' }))
  t.same(
    objects.map(({ key }) => key),
    [keyOf(archived)],
    'the span names the object with the event',
  )
  t.match(objects[0]?.lines[0], '"event":"traced"')
})

t.test('events of one message and one batch keep different traces', async t => {
  loadSdk()
  const served = await serveApp(t)
  const requests = Array.from({ length: 60 }, (_, n) =>
    post(served.url, { event: 'e', n }, n % 3 === 0 ? clientTrace(n).traceparent : undefined),
  )
  t.same(new Set(await Promise.all(requests)), new Set([200]))
  t.equal((await served.archivedLines()).length, 60)

  const traced = Array.from({ length: 20 }, (_, n) => clientTrace(3 * n).traceId)
  const archived = await spansNamed('archive event', 20)
  t.same(archived.map(span => span.spanContext().traceId).toSorted(), traced)
  t.equal(named('publish event').length, 20, 'the other events have no span')
  const [batch] = named('archive batch')
  t.same(batch?.links.map(({ context }) => context.traceId).toSorted(), traced)
  t.equal(batch?.attributes['messaging.batch.message_count'], 60)
})

t.test('the events of one request share a span', async t => {
  loadSdk()
  const { url, archivedLines } = await serveApp(t)
  const headers = { 'content-type': 'application/json', traceparent: clientTrace(1).traceparent }
  const body = JSON.stringify(Array.from({ length: 30 }, (_, n) => ({ event: 'e', n })))
  t.equal((await fetch(`${url}/api/t/batch`, { method: 'POST', headers, body })).status, 200)
  t.equal((await archivedLines()).length, 30)
  const [archived, ...more] = await spansNamed('archive event', 1)
  t.same(more, [])
  t.equal(archived?.attributes['messaging.batch.message_count'], 30)
  t.equal(named('publish event').length, 1)
})

t.test('a duplicate event gets no second archive span', async t => {
  loadSdk()
  const served = await serveApp(t)
  for (let n = 0; n < 2; n++)
    t.equal(await post(served.url, { event: 'e', messageId: 'same' }, clientTrace(n).traceparent), 200)
  t.equal((await served.archivedLines()).length, 1)
  t.equal((await spansNamed('archive event', 1)).length, 1)
  t.equal(named('publish event').length, 2)
})

t.test('the span of a refused request has the reason', async t => {
  loadSdk()
  const network = await openNetwork(t)
  await network.refuse()
  const env = { AMQP_URL: network.url, AMQP_QUEUE: uniqueQueueName(t), ROLE: 'ingest', SPOOL: 'off' }
  const { url } = await serveApp(t, env)
  t.equal(await post(url, { event: 'e' }, clientTrace(1).traceparent), 503)
  const [published] = await spansNamed('publish event', 1)
  t.match(published?.status.message, /broker cannot accept events/)
})

t.test('if an instrumentation makes spans of requests, ours is its child', async t => {
  loadSdk()
  const client = clientTrace(9)
  const request = trace.getTracer('http').startSpan('POST', {}, remote(client))
  await context.with(trace.setSpan(ROOT_CONTEXT, request), () =>
    startTrace({ traceparent: client.traceparent })?.through(Promise.resolve()),
  )
  t.equal(named('publish event')[0]?.parentSpanContext?.spanId, request.spanContext().spanId)
})

function remote({ traceId, spanId }: { traceId: string; spanId: string }): Context {
  return trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags: 1, isRemote: true })
}
