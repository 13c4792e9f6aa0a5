import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import type { Logger } from '../../../src/process/logger.ts'
import { openQueue } from '../../../src/queue/open-queue.ts'
import type { Queue } from '../../../src/queue/queue.ts'
import { configOf, numberedEvents, range, silent, temporaryDirectory } from '../../helpers/helper.ts'
import { brokerUrl, Inbox, openNetwork, uniqueQueueName } from '../../helpers/queue-helper.ts'
import { rabbitmqctl } from '../../services/rabbitmq.ts'
import { until } from '../../services/wait.ts'

const WAIT_MS_MAX = 30_000
const UNAVAILABLE = { code: 'FRQ_QUEUE_UNAVAILABLE', statusCode: 503 }

async function open(t: Test, settings: Record<string, string>): Promise<Queue> {
  const env = { AMQP_URL: brokerUrl(), ROLE: 'ingest', PUBLISH_MS_MAX: '2000', ...settings }
  const queue = await openQueue(configOf(env), silent)
  t.teardown(() => queue.close())
  return queue
}

/** Event numbers in the order of their first delivery. An event that was not confirmed in time comes twice. */
function firstSeen(inbox: Inbox): number[] {
  return [...new Set(inbox.numbers)]
}

async function receivesAll(inbox: Inbox, count: number): Promise<void> {
  await until(`${count} events are delivered`, WAIT_MS_MAX, () => firstSeen(inbox).length >= count)
}

async function publishAll(queue: Queue, count: number, from = 0): Promise<string[]> {
  return Promise.all(numberedEvents(count, from).map(event => queue.publish(event)))
}

test('events go to disk while the broker is away, and to the broker when it returns', async t => {
  const network = await openNetwork(t)
  const settings = { DATA_DIR: temporaryDirectory(t), AMQP_QUEUE: uniqueQueueName(t) }
  const queue = await open(t, { ...settings, AMQP_URL: network.url })
  t.same(new Set(await publishAll(queue, 10)), new Set(['broker']))
  await network.refuse()
  network.cut()
  await until('the queue notices the outage', WAIT_MS_MAX, () => queue.trouble !== undefined)
  t.same(new Set(await publishAll(queue, 1_000, 10)), new Set(['disk']))
  t.match(queue.trouble, /events are spooled to disk meanwhile: 1000/)

  await network.accept()
  const inbox = new Inbox(await open(t, { ...settings, DATA_DIR: temporaryDirectory(t) }))
  await receivesAll(inbox, 1_010)
  t.same(firstSeen(inbox), range(1_010), 'oldest first')
  await until('the outage is over', WAIT_MS_MAX, () => queue.trouble === undefined)
  t.same(await publishAll(queue, 1), ['broker'])
})

test('a spool with more events than may be in flight drains, and publishes each event once', async t => {
  const network = await openNetwork(t)
  await network.refuse()
  const settings = { DATA_DIR: temporaryDirectory(t), AMQP_QUEUE: uniqueQueueName(t), AMQP_URL: network.url }
  const queue = await open(t, settings)
  const count = 30_000
  t.same(new Set(await publishAll(queue, count)), new Set(['disk']))
  await network.accept()
  const { broker, disks } = queue.state
  await until('it is drained', WAIT_MS_MAX, () => disks[0]?.size === 0)
  t.equal(broker?.confirmedEvents, count)
})

test('a spool survives its process', async t => {
  const network = await openNetwork(t)
  await network.refuse()
  const settings = { DATA_DIR: temporaryDirectory(t), AMQP_QUEUE: uniqueQueueName(t), AMQP_URL: network.url }
  const queue = await open(t, settings)
  await publishAll(queue, 300)
  await queue.close()
  await network.accept()
  const inbox = new Inbox(await open(t, settings))
  await receivesAll(inbox, 300)
  t.same(firstSeen(inbox), range(300))
})

test('two processes have separate spools, and the next process drains both', async t => {
  const network = await openNetwork(t)
  await network.refuse()
  const settings = { DATA_DIR: temporaryDirectory(t), AMQP_QUEUE: uniqueQueueName(t), AMQP_URL: network.url }
  const queues = [await open(t, settings), await open(t, settings)]
  for (const [i, queue] of queues.entries()) await publishAll(queue, 100, i * 100)
  for (const queue of queues) await queue.close()
  await network.accept()
  const inbox = new Inbox(await open(t, settings))
  await receivesAll(inbox, 200)
  t.same(
    firstSeen(inbox).toSorted((a, b) => a - b),
    range(200),
  )
})

test('the events of an embedded queue are published once there is a broker', async t => {
  const DATA_DIR = temporaryDirectory(t)
  const embedded = await open(t, { DATA_DIR, AMQP_URL: '', ROLE: 'all' })
  await publishAll(embedded, 300)
  await embedded.close()
  const inbox = new Inbox(await open(t, { DATA_DIR, AMQP_QUEUE: uniqueQueueName(t) }))
  await receivesAll(inbox, 300)
  t.same(firstSeen(inbox), range(300))
})

test('a start that does not drain an existing spool logs a warning', async t => {
  const network = await openNetwork(t)
  await network.refuse()
  const DATA_DIR = temporaryDirectory(t)
  const spooling = await open(t, { DATA_DIR, AMQP_QUEUE: 'never', AMQP_URL: network.url })
  await publishAll(spooling, 20)
  await spooling.close()
  const without: Record<string, string>[] = [
    { DATA_DIR },
    { DATA_DIR, AMQP_QUEUE: 'never', AMQP_URL: network.url, ROLE: 'ingest', SPOOL: 'off' },
  ]
  for (const settings of without) {
    const warnings: unknown[] = []
    const log = { ...silent, warn: (details: unknown, text?: string) => warnings.push([details, text]) }
    const queue = await openQueue(
      configOf({ ARCHIVE_URL: '/not-opened', ...settings }),
      log as unknown as Logger,
    )
    await queue.close()
    t.match(
      warnings.filter(warning => /wait on disk/.test(String((warning as unknown[])[1]))),
      [[{ events: 20, dataDir: DATA_DIR }, /AMQP_URL/]],
    )
  }
})

test('while a broker does not confirm in time, events are spooled, and none is lost', async t => {
  const network = await openNetwork(t)
  const settings = { DATA_DIR: temporaryDirectory(t), AMQP_QUEUE: uniqueQueueName(t) }
  const queue = await open(t, { ...settings, AMQP_URL: network.url })
  await publishAll(queue, 1)
  network.stall()
  t.same(new Set(await publishAll(queue, 200, 1)), new Set(['disk']))
  t.same(await publishAll(queue, 1, 201), ['disk'], 'later publishes do not wait for the broker')
  network.resume()
  const inbox = new Inbox(await open(t, { ...settings, DATA_DIR: temporaryDirectory(t) }))
  await until('all events are delivered', WAIT_MS_MAX, () => firstSeen(inbox).length === 202)
  await until('the stall is over', WAIT_MS_MAX, () => queue.trouble === undefined)
  t.same(await publishAll(queue, 1), ['broker'])
})

test('while the broker refuses events because its queue is full, they are spooled', async t => {
  const name = uniqueQueueName(t)
  const queue = await open(t, { DATA_DIR: temporaryDirectory(t), AMQP_QUEUE: name, PUBLISH_EVENTS_MAX: '1' })
  await rabbitmqctl('set_policy', '--apply-to', 'queues', name, `^${name}$`, '{"max-length":10}')
  t.teardown(() => rabbitmqctl('clear_policy', name).catch(() => {}))
  let published = 0
  // A quorum queue notices only after a while that it is full.
  await until('a refused event goes to disk', WAIT_MS_MAX, async () => {
    const durabilities = await publishAll(queue, 200, published)
    published += 200
    return durabilities.includes('disk')
  })
  await rabbitmqctl('clear_policy', name)
  const inbox = new Inbox(queue)
  await receivesAll(inbox, published)
  t.strictSame(
    firstSeen(inbox).toSorted((a, b) => a - b),
    range(published),
  )
})

test('with SPOOL=off an event that the broker does not accept is refused', async t => {
  const network = await openNetwork(t)
  await network.refuse()
  const settings = { DATA_DIR: temporaryDirectory(t), AMQP_QUEUE: 'never', AMQP_URL: network.url }
  const queue = await open(t, { ...settings, SPOOL: 'off' })
  await t.rejects(publishAll(queue, 1), UNAVAILABLE)
})

test('a full spool refuses events, and accepts them again once it has drained', async t => {
  const network = await openNetwork(t)
  await network.refuse()
  const queue = await open(t, {
    DATA_DIR: temporaryDirectory(t),
    AMQP_QUEUE: uniqueQueueName(t),
    AMQP_URL: network.url,
    SPOOL_BYTES_MAX: '1MiB',
  })
  const body = Buffer.alloc(64 * 1024, 'x')
  const publish = () => queue.publish({ messageId: 'm', body })
  await t.rejects(async () => {
    for (const _ of range(1_000)) await publish()
  }, UNAVAILABLE)
  await network.accept()
  await until('it drains', WAIT_MS_MAX, () => queue.trouble === undefined)
  await until('it accepts events', WAIT_MS_MAX, () =>
    publish().then(
      () => true,
      () => false,
    ),
  )
})

test('a spool that cannot be opened is refused with a message of one line that names DATA_DIR', async t => {
  const path = temporaryDirectory(t)
  rmSync(path, { recursive: true })
  writeFileSync(path, 'a file')
  await t.rejects(open(t, { DATA_DIR: path, AMQP_QUEUE: uniqueQueueName(t) }), {
    code: 'FRQ_CONFIG_INVALID',
    message: /^DATA_DIR: .+$/,
  })
})

test('a spool with files of another version is refused', async t => {
  const path = join(temporaryDirectory(t), 'spool', '0')
  mkdirSync(path, { recursive: true })
  writeFileSync(join(path, 'data.mdb'), Buffer.alloc(64 * 1024, 'damaged'))
  await t.rejects(open(t, { DATA_DIR: join(path, '..', '..'), AMQP_QUEUE: uniqueQueueName(t) }), {
    code: 'FRQ_CONFIG_INVALID',
    message: /^DATA_DIR: .+$/,
  })
})
