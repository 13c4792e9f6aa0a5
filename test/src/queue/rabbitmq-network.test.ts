/** Tests of RabbitMQ over a network that refuses, cuts and stalls connections. */
import { test } from 'tap'
import type { Logger } from '../../../src/process/logger.ts'
import { openQueue } from '../../../src/queue/open-queue.ts'
import { configOf, elapsed, eventOf, numberedEvents, range, silent } from '../../helpers/helper.ts'
import {
  Inbox,
  keepConsuming,
  keepPublishing,
  openChannel,
  openNetwork,
  publishesAgain,
  uniqueQueueName,
} from '../../helpers/queue-helper.ts'
import { holds, openQueueOnBroker } from '../../helpers/rabbitmq-helper.ts'
import { until } from '../../services/wait.ts'

const WAIT_MS_MAX = 60_000
const PROMPT_MS = 1_000
const PUBLISH_MS_MAX = 1_000
const MIB = 1024 * 1024
const UNAVAILABLE = { code: 'FRQ_QUEUE_UNAVAILABLE', statusCode: 503 }

test('unsettled deliveries of a lost connection go to another consumer, and cannot be settled any more', async t => {
  const network = await openNetwork(t)
  const AMQP_QUEUE = uniqueQueueName(t)
  const one = await openQueueOnBroker(t, { AMQP_QUEUE, AMQP_URL: network.url })
  const inbox = new Inbox(one)
  await Promise.all(numberedEvents(20).map(event => one.publish(event)))
  await inbox.receives(20)
  const held = [...inbox.deliveries]
  inbox.consumer.ack(held.slice(10))
  await holds(AMQP_QUEUE, 10)
  const other = new Inbox(await openQueueOnBroker(t, { AMQP_QUEUE }))
  await network.refuse()
  network.cut()
  await until('the connection is lost', WAIT_MS_MAX, () => inbox.losses === 1)
  await other.receives(10)
  t.same(
    other.numbers.toSorted((a, b) => a - b),
    range(10),
    'the others were acknowledged',
  )
  t.ok(other.deliveries.every(({ redelivered }) => redelivered))

  await network.accept()
  inbox.consumer.ack(held)
  for (const delivery of held) inbox.consumer.dead(delivery)
  await other.consumer.stop()
  await inbox.receives(10)
  inbox.consumer.ack(held)
  for (const delivery of held) inbox.consumer.dead(delivery)
  await inbox.consumer.stop()
  const third = new Inbox(one)
  await third.receives(10)
  t.same(
    third.numbers.toSorted((a, b) => a - b),
    range(10),
    'deliveries that were settled too late are redelivered',
  )
})

test('a queue opens before its broker is reachable, and connects later', async t => {
  const network = await openNetwork(t)
  await network.refuse()
  const queue = await openQueueOnBroker(t, { AMQP_URL: network.url })
  t.match(queue.trouble, /^RabbitMQ at 127\.0\.0\.1:\d+, queue .+: .*ECONNREFUSED/)
  const ms = await elapsed(t.rejects(queue.publish(eventOf({ event: 'e' })), UNAVAILABLE))
  t.ok(ms < PROMPT_MS, 'a publish is refused at once')
  await t.rejects(queue.depth(), UNAVAILABLE)
  const inbox = new Inbox(queue)

  await network.accept()
  await until('it works', WAIT_MS_MAX, () => queue.trouble === undefined)
  await queue.publish(eventOf({ event: 'e', n: 7 }))
  await inbox.receives(1)
  t.same(inbox.numbers, [7])
  t.equal(inbox.losses, 0)
})

test('a refusal after the broker was away at the start is logged', async t => {
  const network = await openNetwork(t)
  const AMQP_QUEUE = uniqueQueueName(t)
  const channel = await openChannel(t)
  await channel.queueDeclare({ queue: AMQP_QUEUE, durable: true, arguments: { 'x-queue-type': 'classic' } })
  await network.refuse()
  const reasons: unknown[] = []
  const log = {
    ...silent,
    warn: (fields: { reason?: string }) => reasons.push(fields.reason),
  } as unknown as Logger
  const settings = { AMQP_URL: network.url, AMQP_QUEUE, ARCHIVE_URL: '/not-opened', SPOOL: 'off' }
  const queue = await openQueue(configOf(settings), log)
  t.teardown(() => queue.close())
  await network.accept()
  await until('the refusal is logged', WAIT_MS_MAX, () =>
    reasons.some(reason => String(reason).includes('PRECONDITION_FAILED')),
  )
  t.match(queue.trouble, /PRECONDITION_FAILED/)
})

test('a queue and a consumer can be closed before the broker is reachable', async t => {
  const network = await openNetwork(t)
  await network.refuse()
  const queue = await openQueueOnBroker(t, { AMQP_URL: network.url })
  const inbox = new Inbox(queue)
  t.ok((await elapsed(inbox.consumer.stop())) < PROMPT_MS)
  t.ok((await elapsed(queue.close())) < PROMPT_MS)
})

test('cut connections lose no confirmed event', async t => {
  const network = await openNetwork(t)
  const queue = await openQueueOnBroker(t, { AMQP_URL: network.url })
  const { seen, inbox } = keepConsuming(queue)
  const publishing = keepPublishing(t, queue)
  for (const cut of range(3)) {
    const confirmedBefore = publishing.confirmed.length
    const seenBefore = seen.size
    await until('events flow', WAIT_MS_MAX, () => {
      return publishing.confirmed.length > confirmedBefore + 50 && seen.size > seenBefore
    })
    network.cut()
    await until('the consumer reports the loss', WAIT_MS_MAX, () => inbox.losses > cut)
  }
  const before = publishing.confirmed.length
  await until('events flow again', WAIT_MS_MAX, () => publishing.confirmed.length > before + 50)
  await publishing.stop()
  const missing = () => publishing.confirmed.filter(n => !seen.has(n))
  await until('all confirmed events are delivered', WAIT_MS_MAX, () => missing().length === 0)
  t.same(missing(), [])
  t.equal(queue.trouble, undefined)
})

test('after a cut, unacknowledged messages are delivered again, marked as redelivered', async t => {
  const network = await openNetwork(t)
  const queue = await openQueueOnBroker(t, {
    AMQP_URL: network.url,
    AMQP_PREFETCH: '10',
    BATCH_EVENTS_MAX: '10',
  })
  const inbox = new Inbox(queue)
  await Promise.all(numberedEvents(11).map(event => queue.publish(event)))
  await inbox.receives(10)
  // On the new channel another delivery has the same tag.
  const ofOldConnection = inbox.at(3)
  inbox.consumer.ack(inbox.through(4))
  // One more delivery: the broker has read the acknowledgement.
  await inbox.receives(11)
  network.cut()
  await until('the consumer reports the loss', WAIT_MS_MAX, () => inbox.losses === 1)
  await inbox.receives(6)
  t.same(inbox.numbers, [5, 6, 7, 8, 9, 10])
  t.ok(inbox.deliveries.slice(0, 5).every(({ redelivered }) => redelivered))

  inbox.consumer.ack([ofOldConnection])
  inbox.consumer.dead(ofOldConnection)
  inbox.consumer.ack(inbox.through(1))
  await inbox.consumer.stop()
  const second = new Inbox(queue)
  await second.receives(4)
  t.same(second.numbers, [7, 8, 9, 10], 'a delivery of the old connection settles nothing')
})

test('publishes to a stalled broker are refused after PUBLISH_MS_MAX', async t => {
  const network = await openNetwork(t)
  const queue = await openQueueOnBroker(t, { AMQP_URL: network.url, PUBLISH_MS_MAX: String(PUBLISH_MS_MAX) })
  await queue.publish(eventOf({ event: 'e' }))
  network.stall()
  for (const _ of range(2)) {
    const ms = await elapsed(t.rejects(queue.publish(eventOf({ event: 'e' })), UNAVAILABLE))
    t.ok(ms < PUBLISH_MS_MAX * 1.5, `refused after ${ms} ms`)
  }
  network.resume()
  await publishesAgain(queue)
})

test('the bytes in flight to a stalled broker are bounded', async t => {
  const network = await openNetwork(t)
  const queue = await openQueueOnBroker(t, { AMQP_URL: network.url, PUBLISH_MS_MAX: '60000' })
  network.stall()
  const refused: unknown[] = []
  const body = Buffer.alloc(MIB, 'x')
  const publishes = range(100).map(i =>
    queue.publish({ messageId: `m${i}`, body }).catch(error => refused.push(error)),
  )
  await until('some are refused', PROMPT_MS, () => refused.length > 0)
  t.match(refused[0], UNAVAILABLE)
  t.ok(refused.length >= 30, `${refused.length} of 100 MiB`)
  t.ok((await elapsed(queue.close())) < 10_000, 'the queue can be closed')
  await Promise.all(publishes)
  t.equal(refused.length, 100)
})

test('a consumer can stop while its broker is stalled', async t => {
  const network = await openNetwork(t)
  const queue = await openQueueOnBroker(t, { AMQP_URL: network.url })
  const inbox = new Inbox(queue)
  await queue.publish(eventOf({ event: 'e', n: 1 }))
  await inbox.receives(1)
  network.stall()
  inbox.consumer.ack(inbox.through(0))
  t.ok((await elapsed(inbox.consumer.stop())) < 10_000)
})
