/** Tests of RabbitMQ alone: its queues, its other clients, and its refusals. */
import type { AsyncMessage } from 'rabbitmq-client'
import { type Test, test } from 'tap'
import { ConfigInvalid } from '../../../src/errors.ts'
import { openQueue } from '../../../src/queue/open-queue.ts'
import type { Delivery, Queue } from '../../../src/queue/queue.ts'
import { queueDeclaration } from '../../../src/queue/rabbitmq/rabbitmq-topology.ts'
import { configOf, eventOf, numberedEvents, range, silent } from '../../helpers/helper.ts'
import {
  brokerUrl,
  Inbox,
  openChannel,
  openNetwork,
  publishesAgain,
  uniqueQueueName,
} from '../../helpers/queue-helper.ts'
import { holds, openQueueOnBroker } from '../../helpers/rabbitmq-helper.ts'
import { rabbitmqctl } from '../../services/rabbitmq.ts'
import { until } from '../../services/wait.ts'

const WAIT_MS_MAX = 60_000
/** Well below the interval at which the prefetch follows the average. */
const PROMPT_ADAPTION_MS = 4_000
const MIB = 1024 * 1024
const UNAVAILABLE = { code: 'FRQ_QUEUE_UNAVAILABLE', statusCode: 503 }

test('a queue is a durable quorum queue, and its messages are persistent', async t => {
  const name = uniqueQueueName(t)
  const queue = await openQueueOnBroker(t, { AMQP_QUEUE: name })
  const event = eventOf({ event: 'e' })
  await queue.publish(event)
  const channel = await openChannel(t)
  const message = await new Promise<AsyncMessage>((resolve, reject) => {
    channel.basicConsume({ queue: name }, resolve).catch(reject)
  })
  t.match(message, { durable: true, type: 'frequency.events', contentType: 'application/json' })
  t.same(message.body, event.body)
  const list = await rabbitmqctl('list_queues', 'name', 'type', 'durable')
  t.match(list, new RegExp(`^${name}\tquorum\ttrue$`, 'm'))
  t.match(list, new RegExp(`^${name}\\.dead\tquorum\ttrue$`, 'm'))
})

test('a dead letter is moved to the dead-letter queue', async t => {
  const name = uniqueQueueName(t)
  const queue = await openQueueOnBroker(t, { AMQP_QUEUE: name })
  const [alive, doomed] = [eventOf({ event: 'e', n: 0 }), eventOf({ event: 'e', n: 1 })]
  await queue.publish(alive)
  await queue.publish(doomed)
  const inbox = new Inbox(queue)
  await inbox.receives(2)
  inbox.consumer.dead(inbox.at(1))
  const channel = await openChannel(t)
  let dead: Awaited<ReturnType<typeof channel.basicGet>>
  await until('it is dead-lettered', WAIT_MS_MAX, async () => {
    dead = await channel.basicGet({ queue: `${name}.dead`, noAck: true })
    return dead !== undefined
  })
  t.same(dead?.body, doomed.body)
  t.equal(await channel.basicGet({ queue: `${name}.dead` }), undefined)
})

test('messages of other programs are delivered without a group, and with their raw bytes', async t => {
  const name = uniqueQueueName(t)
  const queue = await openQueueOnBroker(t, { AMQP_QUEUE: name })
  const channel = await openChannel(t)
  await channel.confirmSelect()
  const foreign: [object, Buffer][] = [
    [{ contentType: 'application/json' }, Buffer.from('{"event":"e"}')],
    [{ contentType: 'application/json' }, Buffer.from('null')],
    [{ contentType: 'application/json' }, Buffer.from('7')],
    [{ contentType: 'application/json' }, Buffer.from('{"event":')],
    [{ contentType: 'application/json', contentEncoding: 'utf-8' }, Buffer.from('{"n":1.10}')],
    [{ contentType: 'text/plain' }, Buffer.from('plain text')],
    [{ contentType: 'application/octet-stream' }, Buffer.from([0, 255, 254, 10])],
    [{}, Buffer.from('{"event":"e"}')],
    [{ type: 'other.event', contentEncoding: 'utf-8' }, Buffer.from('{"event":"e"}')],
    [{}, Buffer.alloc(0)],
  ]
  for (const [properties, body] of foreign)
    await channel.basicPublish({ routingKey: name, ...properties }, body)
  await queue.publish(eventOf({ event: 'e' }))

  const inbox = new Inbox(queue)
  await inbox.receives(foreign.length + 1)
  t.same(
    inbox.deliveries.map(({ group }) => group !== undefined),
    [...foreign.map(() => false), true],
  )
  t.same(
    inbox.deliveries.slice(0, -1).map(({ body }) => body.toString('latin1')),
    foreign.map(([, body]) => body.toString('latin1')),
  )
})

/** The prefetch of each consumer of a queue. */
async function prefetches(name: string): Promise<number[]> {
  const list = await rabbitmqctl('list_consumers', 'queue_name', 'prefetch_count')
  return list
    .split('\n')
    .map(line => line.split('\t'))
    .flatMap(([queue, count]) => (queue === name ? [Number(count)] : []))
}

/** Resolves once all queues consume. Before that, a consumer of lower priority may get the messages. */
async function consume(...queues: Queue[]): Promise<void> {
  const isConsuming = ({ outlet }: Queue) => outlet.every(({ trouble }) => trouble === undefined)
  await until('all consume', WAIT_MS_MAX, () => queues.every(isConsuming))
}

/** Two queues of one name, as in two processes. The consumers of the first one have the higher priority. */
async function openTwo(
  t: Test,
  AMQP_QUEUE: string,
  settings: Record<string, string>,
): Promise<[Queue, Queue]> {
  const both = [
    await openQueueOnBroker(t, { ...settings, AMQP_QUEUE }),
    await openQueueOnBroker(t, { ...settings, AMQP_QUEUE }),
  ] as const
  const inboxes = both.map(queue => new Inbox(queue))
  await consume(...both)
  await both[0].publish(eventOf({ event: 'e' }))
  await until('one of them has the event', WAIT_MS_MAX, () =>
    inboxes.some(({ numbers }) => numbers.length === 1),
  )
  for (const inbox of inboxes) inbox.consumer.ack(inbox.deliveries)
  const [a, b] = both
  const isInOrder = inboxes[0]?.numbers.length === 1
  await Promise.all(inboxes.map(({ consumer }) => consumer.stop()))
  return isInOrder ? [a, b] : [b, a]
}

test('events go to the consumer with the highest priority until its prefetch is full, then to another', async t => {
  const name = uniqueQueueName(t)
  const [high, low] = await openTwo(t, name, { AMQP_PREFETCH: '100', BATCH_EVENTS_MAX: '100' })
  const overflow = new Inbox(low)
  const first = new Inbox(high)
  await consume(high, low)
  for (const event of numberedEvents(50)) await high.publish(event)
  await first.receives(50)
  t.same(first.numbers, range(50))
  await Promise.all(numberedEvents(100, 50).map(event => high.publish(event)))
  await first.receives(100)
  await overflow.receives(50)
  t.equal(first.deliveries.length, 100, 'the prefetch is full')

  overflow.consumer.ack(overflow.deliveries)
  first.consumer.ack(first.deliveries.slice(20))
  await holds(name, 20)
  await Promise.all(numberedEvents(80, 150).map(event => low.publish(event)))
  await first.receives(180)
  t.equal(overflow.deliveries.length, 50, 'after acknowledgements all events go to the first one again')
})

test('a consumer that stops passes on acknowledgements behind an open delivery', async t => {
  const queue = await openQueueOnBroker(t)
  await Promise.all(numberedEvents(10).map(event => queue.publish(event)))
  const first = new Inbox(queue)
  await first.receives(10)
  first.consumer.ack(first.deliveries.filter((_, n) => n % 3 !== 0))
  await first.consumer.stop()
  await queue.publish(eventOf({ event: 'e', n: 10 }))
  const second = new Inbox(queue)
  await second.receives(5)
  t.same(
    second.numbers.toSorted((a, b) => a - b),
    [0, 3, 6, 9, 10],
  )
})

test('the prefetch follows the events per message, and a batch of single events fills', async t => {
  const name = uniqueQueueName(t)
  const BATCH_EVENTS_MAX = 3_000
  const queue = await openQueueOnBroker(t, {
    AMQP_QUEUE: name,
    BATCH_EVENTS_MAX: String(BATCH_EVENTS_MAX),
    PUBLISH_EVENTS_MAX: '256',
  })
  const inbox = new Inbox(queue)
  const groups = range(300).map(group => numberedEvents(256, group * 256))
  for (const group of groups) await queue.publishAll(group)
  const held = () => inbox.numbers.length
  await until('the wanted events are held', WAIT_MS_MAX, () => held() >= 54_000 / 2)
  await until('the prefetch is lowered', WAIT_MS_MAX, async () =>
    (await prefetches(name)).every(each => each < 300),
  )
  inbox.consumer.ack(inbox.deliveries)
  await until('all events are delivered', WAIT_MS_MAX, () => {
    inbox.consumer.ack(inbox.deliveries)
    return held() === 300 * 256
  })

  inbox.deliveries.length = 0
  const single = await openQueueOnBroker(t, { AMQP_QUEUE: name })
  await Promise.all(numberedEvents(6_000).map(event => single.publish(event)))
  await until('two batches are held at once', PROMPT_ADAPTION_MS, () => held() === 2 * BATCH_EVENTS_MAX)
  t.same(
    inbox.numbers.toSorted((a, b) => a - b),
    range(2 * BATCH_EVENTS_MAX),
  )
  t.equal(inbox.losses, 0)
  inbox.consumer.ack(inbox.deliveries.toReversed())
  await holds(name, 0)
  t.equal((await prefetches(name)).length, 1, 'one consumer remains')
})

test('a paused consumer does not delay publishes', async t => {
  const queue = await openQueueOnBroker(t)
  const inbox = new Inbox(queue, (_, consumer) => consumer.pause())
  const body = Buffer.alloc(MIB, 'x')
  for (const i of range(40)) await queue.publish({ messageId: `m${i}`, body })
  t.equal(await queue.publish(eventOf({ event: 'e' })), 'broker')
  t.ok(inbox.bytes < 20 * MIB)
})

test('a consumer that stops on purpose is not reported as trouble', async t => {
  const queue = await openQueueOnBroker(t)
  await queue.publish(eventOf({ event: 'e', n: 0 }))
  const inbox = new Inbox(queue)
  await inbox.receives(1)
  const troubles = new Set<string | undefined>()
  let isStopped = false
  const stopping = inbox.consumer.stop().then(() => {
    isStopped = true
  })
  while (!isStopped) {
    for (const { trouble } of queue.outlet) troubles.add(trouble)
    await new Promise(resolve => setImmediate(resolve))
  }
  await stopping
  t.strictSame([...troubles], [undefined])
})

test('a publish to a deleted queue is refused', async t => {
  const name = uniqueQueueName(t)
  const queue = await openQueueOnBroker(t, { AMQP_QUEUE: name })
  const channel = await openChannel(t)
  const { body } = eventOf({ event: 'e' })
  const messageIds: Record<string, (i: number) => string> = {
    'different messageIds': i => `m${i}`,
    'one messageId': () => 'm',
    'a messageId that is not valid UTF-16': () => '\ud800',
  }
  for (const [what, messageId] of Object.entries(messageIds)) {
    await queue.publish({ messageId: messageId(0), body })
    await channel.queueDelete({ queue: name })
    const publishes = range(200).map(i => queue.publish({ messageId: messageId(i), body }))
    const outcomes = await Promise.allSettled(publishes)
    t.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 0, what)
    t.match(outcomes[0], { reason: UNAVAILABLE })
    await publishesAgain(queue)
  }
  t.ok((await queue.depth()) > 0)
})

test('a consumer whose queue is deleted continues with the new queue', async t => {
  const name = uniqueQueueName(t)
  const queue = await openQueueOnBroker(t, { AMQP_QUEUE: name })
  const inbox = new Inbox(queue)
  await queue.publish(eventOf({ event: 'e', n: 1 }))
  await inbox.receives(1)
  const channel = await openChannel(t)
  await channel.queueDelete({ queue: name })
  await until('the consumer reports the loss', WAIT_MS_MAX, () => inbox.losses === 1)
  await publishesAgain(queue)
  await inbox.receives(1)
  t.notOk(inbox.numbers.includes(1), 'events of the deleted queue are lost')
  t.equal(queue.trouble, undefined)
})

test('large messages travel through a broker that accepts only smaller frames', async t => {
  const setFrameMax = (bytes: number) =>
    rabbitmqctl('eval', `application:set_env(rabbit, frame_max, ${bytes}).`)
  await setFrameMax(16_384)
  t.teardown(() => setFrameMax(131_072))
  const queue = await openQueueOnBroker(t)
  const sent = eventOf({ event: 'large', filler: 'x'.repeat(100_000) })
  await queue.publish(sent)
  const received = await new Promise<Delivery>(resolve => {
    queue.consume({ delivery: resolve, lost: () => {} })
  })
  t.ok(received.body.equals(sent.body))
})

test('a full queue refuses events, and accepts them again when there is room', async t => {
  const name = uniqueQueueName(t)
  const queue = await openQueueOnBroker(t, { AMQP_QUEUE: name })
  await rabbitmqctl('set_policy', '--apply-to', 'queues', name, `^${name}$`, '{"max-length":5}')
  t.teardown(() => rabbitmqctl('clear_policy', name))
  let refusal: unknown
  await until('the queue is full', WAIT_MS_MAX, () =>
    queue.publish(eventOf({ event: 'e', n: 1 })).then(
      () => false,
      error => {
        refusal = error
        return true
      },
    ),
  )
  t.match(refusal, { ...UNAVAILABLE, message: /the queue is full/ })
  new Inbox(queue, (delivery, consumer) => consumer.ack([delivery]))
  await publishesAgain(queue)
})

test('a wrong password, user or virtual host is refused with a message of one line', async t => {
  const secret = 'hunter2'
  const { host } = new URL(brokerUrl())
  const refused: [string, Record<string, string>, RegExp][] = [
    ['wrong password', { AMQP_URL: `amqp://guest:${secret}@${host}` }, /^AMQP_URL: .*ACCESS_REFUSED/],
    ['unknown user', { AMQP_URL: `amqp://nobody:${secret}@${host}` }, /^AMQP_URL: .*ACCESS_REFUSED/],
    ['no such vhost', { AMQP_URL: `${brokerUrl()}/nowhere` }, /^AMQP_URL: .*nowhere/],
  ]
  for (const [what, settings, message] of refused) {
    const network = await openNetwork(t)
    const url = new URL(settings.AMQP_URL ?? brokerUrl())
    url.port = String(network.port)
    const opening = openQueue(
      configOf({
        AMQP_QUEUE: 'never',
        ARCHIVE_URL: '/not-opened',
        SPOOL: 'off',
        ...settings,
        AMQP_URL: url.href,
      }),
      silent,
    )
    const error = await opening.then(
      () => new Error('not refused'),
      reason => reason as Error,
    )
    t.type(error, ConfigInvalid, what)
    t.match(error.message, message, what)
    t.notMatch(error.message, /[\r\n]/, what)
    t.notMatch(`${error.stack}${JSON.stringify(error)}`, secret, what)
    await until('the connection is closed', WAIT_MS_MAX, () => network.connections === 0)
  }
})

test('an existing queue or exchange with other arguments is refused', async t => {
  const channel = await openChannel(t)
  const declarations: ((name: string) => Promise<unknown>)[] = [
    name => channel.queueDeclare({ queue: name, durable: true }),
    name => channel.queueDeclare({ queue: name, durable: true, arguments: { 'x-queue-type': 'quorum' } }),
    name => channel.queueDeclare({ queue: `${name}.dead`, durable: true }),
    name => channel.exchangeDeclare({ exchange: `${name}.dead`, type: 'fanout', durable: true }),
  ]
  for (const declare of declarations) {
    const name = uniqueQueueName(t)
    await declare(name)
    const config = configOf({ AMQP_URL: brokerUrl(), AMQP_QUEUE: name, ARCHIVE_URL: '/not-opened' })
    await t.rejects(openQueue(config, silent), {
      code: 'FRQ_CONFIG_INVALID',
      message: new RegExp(`^AMQP_QUEUE: .*"${name}".* with other arguments.*Use another name.*$`),
    })
  }
})

test('a queue with a single active consumer (an earlier version) is refused with what to do', async t => {
  const name = uniqueQueueName(t)
  const channel = await openChannel(t)
  await channel.queueDeclare({
    queue: name,
    durable: true,
    arguments: { ...queueDeclaration(name).arguments, 'x-single-active-consumer': true },
  })
  const config = configOf({ AMQP_URL: brokerUrl(), AMQP_QUEUE: name, ARCHIVE_URL: '/not-opened' })
  await t.rejects(openQueue(config, silent), {
    code: 'FRQ_CONFIG_INVALID',
    message: /^AMQP_QUEUE: .* frequency 0\.1 declared .* another AMQP_QUEUE\. .* docs\/upgrading\.md/,
  })
})
