/** Several archivers on one queue archive each event once, whatever fails. */
import { once } from 'node:events'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Test, test } from 'tap'
import type { Archiver } from '../../../src/archive/archiver.ts'
import { type Event, stampEvent } from '../../../src/event/event.ts'
import { openQueue } from '../../../src/queue/open-queue.ts'
import type { Queue } from '../../../src/queue/queue.ts'
import { openStore } from '../../../src/store/open-store.ts'
import { openArchiver } from '../../helpers/archiver-helper.ts'
import {
  configOf,
  eventOf,
  numberedEvents,
  numberOf,
  range,
  silent,
  temporaryDirectory,
} from '../../helpers/helper.ts'
import { brokerUrl, openChannel, openNetwork, uniqueQueueName } from '../../helpers/queue-helper.ts'
import { setEnvironment } from '../../helpers/store-helper.ts'
import { type S3RequestInfo, type S3Server, startS3Server } from '../../services/s3-server.ts'
import { until } from '../../services/wait.ts'

const WAIT_MS_MAX = 30_000
const BUCKET = 'bucket'
const LATE_MS = 4_000
const ANSWER_MS_MAX = 500
/** For an archive with three objects. One listing a day until the year 9999 would need three million. */
const LISTINGS_MAX = 50
/** Large and random enough that a batch of ten is uploaded in parts. */
const PART_OF_MIB = 1024 * 1024

interface Fleet {
  readonly server: S3Server
  readonly settings: Record<string, string>
}

async function openFleet(t: Test): Promise<Fleet> {
  const server = await startS3Server()
  t.teardown(() => server.close())
  server.createBucket(BUCKET)
  setEnvironment(t, server.env())
  const settings = {
    AMQP_URL: brokerUrl(),
    AMQP_QUEUE: uniqueQueueName(t),
    ARCHIVE_URL: `s3://${BUCKET}/p`,
    ARCHIVE_COMPRESSION: 'none',
    S3_FORCE_PATH_STYLE: 'true',
    BATCH_AGE_MS_MAX: '300',
  }
  return { server, settings }
}

/** An archiver with its own disk. */
async function startArchiver(
  t: Test,
  settings: Record<string, string>,
): Promise<{ queue: Queue; archiver: Archiver }> {
  const config = configOf({ ...settings, ROLE: 'archive', DATA_DIR: temporaryDirectory(t) })
  const queue = await openQueue(config, silent)
  t.teardown(() => queue.close())
  const { archiver } = await openArchiver(t, config, queue)
  archiver.start()
  return { queue, archiver }
}

async function publish(queue: Queue, count: number, from = 0): Promise<void> {
  await Promise.all(numberedEvents(count, from).map(event => queue.publish(event)))
}

function archived({ server }: Fleet): number[] {
  const objects = [...server.objects(BUCKET)].filter(([key]) => key.startsWith('p/dt='))
  const lines = objects.flatMap(([, body]) => body.toString().split('\n'))
  return lines.filter(line => line.startsWith('{')).map(line => numberOf(line.replace(/,$/, '')))
}

async function holdsOnce(t: Test, fleet: Fleet, count: number): Promise<void> {
  await until(`${count} events are there`, WAIT_MS_MAX, () => new Set(archived(fleet)).size === count)
  t.same(
    archived(fleet).toSorted((a, b) => a - b),
    range(count),
  )
}

const isEvents = ({ key }: S3RequestInfo) => key.startsWith('p/dt=')

/** The first object is stored late, even if its writer has ended. */
function delayFirstWrite({ server }: Fleet): { begun(): Promise<void>; ended(): Promise<void> } {
  let begunAt = Number.POSITIVE_INFINITY
  server.fault(request => {
    if (request.operation !== 'PutObject' || !isEvents(request) || begunAt < Infinity) return undefined
    begunAt = performance.now()
    return { delayMs: LATE_MS }
  })
  return {
    begun: () => until('the first write', WAIT_MS_MAX, () => begunAt < Infinity),
    ended: () =>
      until(
        'the end of the first write',
        WAIT_MS_MAX,
        () => performance.now() - begunAt > LATE_MS + ANSWER_MS_MAX,
      ),
  }
}

test('an archiver that lost its connection and goes on writing archives nothing twice', async t => {
  const fleet = await openFleet(t)
  const network = await openNetwork(t)
  const late = delayFirstWrite(fleet)
  const first = await startArchiver(t, { ...fleet.settings, AMQP_URL: network.url })
  const { queue } = await startArchiver(t, fleet.settings)
  await publish(queue, 100)
  await late.begun()
  await network.refuse()
  network.cut()
  await publish(queue, 50, 100)
  await holdsOnce(t, fleet, 150)
  await late.ended()
  await holdsOnce(t, fleet, 150)
  await first.archiver.stop()
})

test('an object is not archived again if the answer was lost', async t => {
  const fleet = await openFleet(t)
  fleet.server.fault(request =>
    request.operation === 'PutObject' && isEvents(request) && request.count <= 4
      ? { after: true, reset: true }
      : undefined,
  )
  const { queue } = await startArchiver(t, fleet.settings)
  await publish(queue, 100)
  await holdsOnce(t, fleet, 100)
  await publish(queue, 10, 100)
  await holdsOnce(t, fleet, 110)
})

test('a multipart upload is not archived again if its last answer was lost', async t => {
  const fleet = await openFleet(t)
  fleet.server.fault(({ operation, count }) =>
    operation === 'CompleteMultipartUpload' && count === 1 ? { after: true, reset: true } : undefined,
  )
  const { queue } = await startArchiver(t, fleet.settings)
  const padding = 'x'.repeat(PART_OF_MIB)
  await Promise.all(range(12).map(n => queue.publish(eventOf({ event: 'large', n, padding }))))
  await holdsOnce(t, fleet, 12)
  t.same(fleet.server.uploads(BUCKET), [], 'no upload is left')
})

test('an archiver with an empty disk does not archive events again', async t => {
  const fleet = await openFleet(t)
  const network = await openNetwork(t)
  const first = await startArchiver(t, { ...fleet.settings, AMQP_URL: network.url })
  await publish(first.queue, 100)
  await until('it is archived', WAIT_MS_MAX, () => archived(fleet).length === 100)
  const { queue } = await startArchiver(t, fleet.settings)
  // Each event is archived once, whether or not the acknowledgement arrives.
  network.cut()
  await network.refuse()
  await publish(queue, 20, 100)
  await holdsOnce(t, fleet, 120)
})

test('an event that a client sends again is archived once, by any archiver', async t => {
  const fleet = await openFleet(t)
  const first = await startArchiver(t, fleet.settings)
  const events = range(20).map(n =>
    eventOf({ event: 'retried', n, messageId: `${fleet.settings.AMQP_QUEUE}-${n}` }),
  )
  for (const event of [...events, ...events]) await first.queue.publish(event)
  await holdsOnce(t, fleet, 20)
  await first.archiver.stop()
  await first.queue.close()

  const { queue } = await startArchiver(t, fleet.settings)
  for (const event of events)
    await queue.publish({
      ...event,
      body: eventOf({ event: 'retried', n: numberOf(event.body), messageId: event.messageId }).body,
    })
  await queue.publish(eventOf({ event: 'new', n: 20 }))
  await holdsOnce(t, fleet, 21)
  await until('all deliveries are acknowledged', WAIT_MS_MAX, async () => (await queue.depth()) === 0)
})

/** The first write of each object succeeds, but all answers to its client are lost. */
function loseFirstAnswers({ server }: Fleet): void {
  server.fault(request =>
    request.operation === 'PutObject' && isEvents(request) && request.count <= 4
      ? { after: true, reset: true }
      : undefined,
  )
}

for (const ARCHIVE_FORMAT of ['ndjson', 'json']) {
  test(`a message that fills many batches is continued in its middle after a failure: ${ARCHIVE_FORMAT}`, async t => {
    const fleet = await openFleet(t)
    // Every third write succeeds without an answer, so that archiving starts again after its batch.
    fleet.server.fault(request =>
      request.operation === 'PutObject' && isEvents(request) && request.count % 3 === 0
        ? { after: true, reset: true }
        : undefined,
    )
    const settings = { ...fleet.settings, ARCHIVE_FORMAT, BATCH_EVENTS_MAX: '7' }
    const { queue } = await startArchiver(t, settings)
    await startArchiver(t, settings)
    const events = numberedEvents(40)
    await queue.publishAll(events)
    // By then half of it is archived or being uploaded.
    await queue.publishAll([...events.slice(20), ...numberedEvents(10, 40)])
    await holdsOnce(t, fleet, 50)
    await until('all deliveries are acknowledged', WAIT_MS_MAX, async () => (await queue.depth()) === 0)
  })
}

function eventAt(n: number, receivedAt: Date): Event {
  return stampEvent(Buffer.from(JSON.stringify({ event: 'e', n })), {}, receivedAt)
}

const DAY_MS = 24 * 60 * 60 * 1000

test('a group is found again if the clock stepped within it', async t => {
  for (const [first, second] of [
    [3 * DAY_MS, 0],
    [0, 3 * DAY_MS],
    [-5 * DAY_MS, 0],
  ] as const) {
    for (const BATCH_EVENTS_MAX of ['1', '10']) {
      const fleet = await openFleet(t)
      loseFirstAnswers(fleet)
      const { queue, archiver } = await startArchiver(t, { ...fleet.settings, BATCH_EVENTS_MAX })
      const now = Date.now()
      const events = [eventAt(0, new Date(now + first)), eventAt(1, new Date(now + second))]
      await queue.publishAll(events)
      await holdsOnce(t, fleet, 2)
      await publish(queue, 1, 2)
      await holdsOnce(t, fleet, 3)
      await archiver.stop()
    }
  }
})

for (const receivedAt of ['2020-01-01T00:00:00.000Z', '9999-12-31T23:59:59.999Z']) {
  test(`an event of another program, received ${receivedAt}, is found again`, async t => {
    const fleet = await openFleet(t)
    let listings = 0
    fleet.server.fault(({ operation, key, count }) => {
      if (operation.startsWith('List')) listings++
      const isLost = operation === 'PutObject' && key.startsWith('p/dt=') && count <= 4
      return isLost ? { after: true, reset: true } : undefined
    })
    const { queue } = await startArchiver(t, fleet.settings)
    const channel = await openChannel(t)
    const sent = JSON.stringify({ n: 0, messageId: 'far', receivedAt })
    await channel.confirmSelect()
    await channel.basicPublish({ routingKey: fleet.settings.AMQP_QUEUE as string }, sent)
    await holdsOnce(t, fleet, 1)
    await publish(queue, 1, 1)
    await holdsOnce(t, fleet, 2)
    await startArchiver(t, fleet.settings)
    await channel.basicPublish({ routingKey: fleet.settings.AMQP_QUEUE as string }, sent)
    await publish(queue, 1, 2)
    await holdsOnce(t, fleet, 3)
    await until('all deliveries are acknowledged', WAIT_MS_MAX, async () => (await queue.depth()) === 0)
    t.ok(listings < LISTINGS_MAX, `${listings} listings`)
  })
}

test('with a message of another program that has no id, our events are still archived once', async t => {
  const fleet = await openFleet(t)
  const network = await openNetwork(t)
  const late = delayFirstWrite(fleet)
  const first = await startArchiver(t, { ...fleet.settings, AMQP_URL: network.url })
  const { queue } = await startArchiver(t, fleet.settings)
  const channel = await openChannel(t)
  await channel.confirmSelect()
  await channel.basicPublish({ routingKey: fleet.settings.AMQP_QUEUE as string }, '{"n":0}')
  await queue.publishAll(numberedEvents(99, 1))
  await late.begun()
  await network.refuse()
  network.cut()
  await publish(queue, 50, 100)
  await until('150 events are there', WAIT_MS_MAX, () => new Set(archived(fleet)).size === 150)
  await late.ended()
  await first.archiver.stop()
  const ours = archived(fleet).filter(n => n > 0)
  t.same(
    ours.toSorted((a, b) => a - b),
    range(150).slice(1),
  )
})

/** Drops the header of conditional writes, like a server that does not know them. */
async function startWithoutConditions(t: Test, endpoint: string): Promise<string> {
  const proxy = createServer((incoming, outgoing) => {
    const { 'if-none-match': _, ...headers } = incoming.headers
    const onward = request(`${endpoint}${incoming.url}`, { method: incoming.method, headers }, answer => {
      outgoing.writeHead(answer.statusCode ?? 500, answer.headers)
      answer.pipe(outgoing)
    })
    incoming.pipe(onward)
  })
  t.teardown(() => proxy.close())
  proxy.listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  return `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`
}

test('a store that ignores the condition is refused', async t => {
  const fleet = await openFleet(t)
  setEnvironment(t, { AWS_ENDPOINT_URL_S3: await startWithoutConditions(t, fleet.server.endpoint) })
  const config = configOf({ ...fleet.settings, DATA_DIR: temporaryDirectory(t) })
  await t.rejects(openStore(config), { code: 'FRQ_CONFIG_INVALID', message: /^ARCHIVE_URL: .*If-None-Match/ })
  t.same([...fleet.server.objects(BUCKET)], [], 'the attempt leaves no object')
})
