/** The contract of a queue (src/queue/queue.ts), tested on the embedded queue and on RabbitMQ. */
import { randomBytes } from 'node:crypto'
import { type Test, test } from 'tap'
import { idDigest } from '../../src/event/message-id.ts'
import { openQueue } from '../../src/queue/open-queue.ts'
import type { Delivery, Queue } from '../../src/queue/queue.ts'
import { configOf, eventOf, numberedEvents, range, silent } from '../helpers/helper.ts'
import { Inbox } from '../helpers/queue-helper.ts'
import { KINDS } from '../helpers/queue-kinds.ts'
import { until } from '../services/wait.ts'

const WAIT_MS_MAX = 30_000
const KIB = 1024
const MIB = 1024 * KIB

for (const kind of KINDS) {
  /** Opens a new queue, or the queue of these settings again. */
  async function open(t: Test, settings: Record<string, string> = kind.settings(t)): Promise<Queue> {
    const queue = await openQueue(configOf(settings), silent)
    t.teardown(() => queue.close())
    return queue
  }

  test(kind.name, async t => {
    t.test('works from the start, and has a description without secrets', async t => {
      const queue = await open(t)
      t.equal(queue.trouble, undefined)
      t.match(queue.description, kind.name)
      t.notMatch(queue.description, /guest/)
    })

    t.test('a publish resolves to where the event is durable', async t => {
      const queue = await open(t)
      t.equal(await queue.publish(eventOf({ event: 'e' })), kind.durability)
    })

    t.test('events are delivered in the order of their publishing', async t => {
      const queue = await open(t)
      for (const event of numberedEvents(20)) await queue.publish(event)
      const inbox = new Inbox(queue)
      await inbox.receives(20)
      await Promise.all(numberedEvents(500, 20).map(event => queue.publish(event)))
      await inbox.receives(520)
      t.same(inbox.numbers, range(520))
      t.notOk(inbox.deliveries.some(({ redelivered }) => redelivered))
      t.ok(inbox.deliveries.every(({ group }) => group !== undefined))
    })

    t.test('a body is delivered unchanged', async t => {
      const queue = await open(t)
      const sizes = [1, 2, 131_063, 131_064, 131_065, 262_128, 300_000, MIB, 5 * MIB]
      const bodies = [
        Buffer.from(range(256)),
        Buffer.from('{"id":9223372036854775807,"price":1.10,"😀":"\\ud83d\\ude00"}'),
        ...sizes.map(size => randomBytes(size)),
      ]
      await Promise.all(bodies.map((body, i) => queue.publish({ messageId: `m${i}`, body })))
      const inbox = new Inbox(queue)
      await inbox.receives(bodies.length)
      t.same(
        inbox.deliveries.map(({ body }, i) => body.equals(bodies[i] as Buffer)),
        bodies.map(() => true),
      )
    })

    t.test('a messageId may be any text of up to 255 bytes, and may repeat', async t => {
      const queue = await open(t)
      const ids = ['m', 'é'.repeat(127), '\ud800', '\0', 'm', 'm']
      await Promise.all(ids.map(messageId => queue.publish({ messageId, body: Buffer.from('{}') })))
      const inbox = new Inbox(queue)
      await inbox.receives(ids.length)
      t.equal(inbox.deliveries.length, ids.length)
    })

    t.test('many concurrent publishes are each delivered once', async t => {
      const queue = await open(t)
      const inbox = new Inbox(queue, (delivery, consumer) => consumer.ack([delivery]))
      const confirmed = await Promise.all(numberedEvents(5_000).map(event => queue.publish(event)))
      await inbox.receives(5_000)
      t.same(inbox.numbers, range(5_000))
      t.ok(confirmed.every(durability => durability === kind.durability))
    })

    t.test('concurrent events form groups, and a group is settled as one delivery', async t => {
      const settings = { ...kind.settings(t), PUBLISH_EVENTS_MAX: '40' }
      const queue = await open(t, settings)
      await Promise.all(numberedEvents(100).map(event => queue.publish(event)))
      await queue.publish(eventOf({ event: 'alone', n: 100 }))
      const first = new Inbox(queue)
      await first.receives(4)
      t.same(
        first.deliveries.map(({ group }) => group?.count),
        [40, 40, 20, 1],
      )
      t.same(first.numbers, range(101))
      for (const { group } of first.deliveries) {
        const ids = group?.lines
          .toString()
          .split('\n')
          .map(line => idDigest(JSON.parse(line).messageId))
        t.same(group?.ids, Buffer.concat(ids ?? []))
      }
      first.consumer.ack(first.through(0))
      await queue.close()

      const second = new Inbox(await open(t, settings))
      await second.receives(3)
      t.same(second.numbers, range(101).slice(40))
    })

    t.test('large events form groups of bounded size', async t => {
      const queue = await open(t, { ...kind.settings(t), PUBLISH_EVENTS_MAX: '4096' })
      const events = range(40).map(n => eventOf({ event: 'e', n, filler: 'x'.repeat(30 * KIB) }))
      await Promise.all(events.map(event => queue.publish(event)))
      const inbox = new Inbox(queue)
      await until('all events are delivered', WAIT_MS_MAX, () => inbox.numbers.length === 40)
      t.same(inbox.numbers, range(40))
      t.ok(inbox.deliveries.length > 1)
      t.ok(inbox.deliveries.every(({ body }) => body.length < 160 * KIB))
    })

    t.test('unsettled deliveries come again after the consumer has stopped', async t => {
      const queue = await open(t)
      await Promise.all(numberedEvents(10).map(event => queue.publish(event)))
      const first = new Inbox(queue)
      await first.receives(10)
      await first.consumer.stop()

      const second = new Inbox(queue)
      await second.receives(10)
      t.same(second.numbers, range(10))
      t.ok(second.deliveries.every(({ redelivered }) => redelivered))
      await queue.publish(eventOf({ event: 'e', n: 10 }))
      await second.receives(11)
      t.equal(second.at(10).redelivered, false)
    })

    t.test('unsettled deliveries come again after the queue was closed', async t => {
      const settings = kind.settings(t)
      const queue = await open(t, settings)
      await Promise.all(numberedEvents(10).map(event => queue.publish(event)))
      const first = new Inbox(queue)
      await first.receives(10)
      await queue.close()

      const second = new Inbox(await open(t, settings))
      await second.receives(10)
      t.same(second.numbers, range(10))
      t.ok(second.deliveries.every(({ redelivered }) => redelivered))
    })

    t.test('deliveries may be acknowledged in any order, and only the others come again', async t => {
      const settings = kind.settings(t)
      const queue = await open(t, settings)
      await Promise.all(numberedEvents(12).map(event => queue.publish(event)))
      const first = new Inbox(queue)
      await first.receives(12)
      first.consumer.ack([first.at(7), first.at(2)])
      first.consumer.ack([])
      first.consumer.ack([first.at(0)])
      first.consumer.dead(first.at(1))
      first.consumer.ack([first.at(9), first.at(3)])
      await first.consumer.stop()
      first.consumer.ack(first.deliveries)

      const second = new Inbox(queue)
      const isDelivered = (n: number) => second.numbers.includes(n)
      await until('the others are delivered', WAIT_MS_MAX, () => [4, 5, 6, 8, 10, 11].every(isDelivered))
      t.notOk([0, 1].some(isDelivered), 'the settled deliveries at the front do not come again')
      second.consumer.ack(second.deliveries)
      await queue.close()
      const again = await open(t, settings)
      await again.publish(eventOf({ event: 'e', n: 12 }))
      const third = new Inbox(again)
      await third.receives(1)
      t.same(third.numbers, [12])
    })

    t.test('an unsettled delivery does not block others', async t => {
      const queue = await open(t, { ...kind.settings(t), AMQP_PREFETCH: '10', BATCH_EVENTS_MAX: '10' })
      let oldest: Delivery | undefined
      const inbox = new Inbox(queue, (delivery, consumer) => {
        oldest ??= delivery
        if (delivery !== oldest) consumer.ack([delivery])
      })
      await Promise.all(numberedEvents(500).map(event => queue.publish(event)))
      await inbox.receives(500)
      t.same(inbox.numbers, range(500))
      await until('only the unsettled one is left', WAIT_MS_MAX, async () => (await queue.depth()) === 0)
      inbox.consumer.ack(inbox.deliveries)
      await inbox.consumer.stop()
      await queue.publish(eventOf({ event: 'e', n: 500 }))
      const second = new Inbox(queue)
      await second.receives(1)
      t.same(second.numbers, [500])
    })

    t.test('settling a delivery again does nothing', async t => {
      const queue = await open(t)
      await Promise.all(numberedEvents(4).map(event => queue.publish(event)))
      const first = new Inbox(queue)
      await first.receives(4)
      const [acknowledged, dead] = first.deliveries as [Delivery, Delivery]
      first.consumer.ack([acknowledged, acknowledged])
      first.consumer.dead(acknowledged)
      first.consumer.dead(dead)
      first.consumer.dead(dead)
      first.consumer.ack([dead, acknowledged])
      await queue.publish(eventOf({ event: 'e', n: 4 }))
      await first.receives(5)
      t.equal(first.losses, 0)
      await first.consumer.stop()
      const second = new Inbox(queue)
      await second.receives(3)
      t.same(second.numbers, [2, 3, 4])
    })

    t.test('no acknowledged delivery comes again', async t => {
      const settings = kind.settings(t)
      const queue = await open(t, settings)
      await Promise.all(numberedEvents(2_000).map(event => queue.publish(event)))
      const first = new Inbox(queue)
      await first.receives(2_000)
      first.consumer.ack(first.deliveries)
      await queue.close()

      const again = await open(t, settings)
      await again.publish(eventOf({ event: 'e', n: 2_000 }))
      const second = new Inbox(again)
      await second.receives(1)
      t.same(second.numbers, [2_000])
    })

    t.test('a dead letter does not come again, and other deliveries do', async t => {
      const settings = kind.settings(t)
      const queue = await open(t, settings)
      await Promise.all(numberedEvents(6).map(event => queue.publish(event)))
      const first = new Inbox(queue)
      await first.receives(6)
      first.consumer.dead(first.at(0))
      first.consumer.dead(first.at(3))
      await first.consumer.stop()

      const second = new Inbox(queue)
      await second.receives(4)
      t.same(second.numbers, [1, 2, 4, 5])
      second.consumer.dead(second.at(1))
      second.consumer.ack(second.through(2))
      await queue.close()

      const third = new Inbox(await open(t, settings))
      await third.receives(1)
      t.same(third.numbers, [5])
    })

    t.test('at most the prefetch is unsettled', async t => {
      const queue = await open(t, { ...kind.settings(t), AMQP_PREFETCH: '10', BATCH_EVENTS_MAX: '10' })
      await Promise.all(numberedEvents(40).map(event => queue.publish(event)))
      const inbox = new Inbox(queue)
      await inbox.receives(10)
      await inbox.isQuiet()
      t.same(inbox.numbers, range(10))

      inbox.consumer.dead(inbox.at(1))
      await inbox.receives(11)
      inbox.consumer.ack(inbox.through(4))
      await inbox.receives(15)
      await inbox.isQuiet()
      t.same(inbox.numbers, range(15))
      inbox.consumer.ack(inbox.deliveries)
      await inbox.receives(25)
    })

    t.test('a paused consumer gets a bounded number of bytes', async t => {
      const queue = await open(t)
      const body = randomBytes(256 * KIB)
      await Promise.all(range(160).map(i => queue.publish({ messageId: `m${i}`, body })))
      const inbox = new Inbox(queue, (_, consumer) => consumer.pause())
      await inbox.receives(1)
      await inbox.isQuiet()
      t.ok(inbox.bytes < 4 * MIB, `${inbox.bytes} bytes`)

      const held = inbox.deliveries.length
      inbox.consumer.resume()
      await inbox.receives(held + 1)
      await inbox.isQuiet()
      t.ok(inbox.bytes < 8 * MIB, `${inbox.bytes} bytes after it resumed for a moment`)
      await inbox.consumer.stop()

      const rest = new Inbox(queue, (delivery, consumer) => consumer.ack([delivery]))
      await rest.receives(160)
      t.equal(rest.deliveries.length, 160)
    })

    t.test('a consumer may pause and resume at any time', async t => {
      const queue = await open(t)
      const inbox = new Inbox(queue)
      inbox.consumer.pause()
      inbox.consumer.pause()
      await queue.publish(eventOf({ event: 'e', n: 0 }))
      inbox.consumer.resume()
      inbox.consumer.resume()
      await inbox.receives(1)
      inbox.consumer.pause()
      inbox.consumer.ack(inbox.through(0))
      await Promise.all(numberedEvents(300, 1).map(event => queue.publish(event)))
      inbox.consumer.resume()
      await inbox.receives(301)
      t.same(inbox.numbers, range(301))
    })

    t.test('a paused consumer can stop', async t => {
      const queue = await open(t)
      await Promise.all(numberedEvents(10).map(event => queue.publish(event)))
      const first = new Inbox(queue)
      await first.receives(10)
      first.consumer.pause()
      first.consumer.ack(first.through(4))
      await first.consumer.stop()
      const second = new Inbox(queue)
      await second.receives(5)
      t.same(second.numbers, [5, 6, 7, 8, 9])
    })

    t.test('a stopped consumer gets no more deliveries', async t => {
      const queue = await open(t)
      const first = new Inbox(queue)
      await queue.publish(eventOf({ event: 'e', n: 0 }))
      await first.receives(1)
      first.consumer.ack(first.through(0))
      await first.consumer.stop()
      const count = first.deliveries.length
      await Promise.all(numberedEvents(10, 1).map(event => queue.publish(event)))
      const second = new Inbox(queue)
      await second.receives(10)
      t.same(second.numbers, range(11).slice(1))
      t.equal(first.deliveries.length, count)
    })

    t.test('the depth is the number of messages that wait for their delivery', async t => {
      const queue = await open(t, { ...kind.settings(t), AMQP_PREFETCH: '10', BATCH_EVENTS_MAX: '10' })
      const depthIs = (wanted: number) =>
        until(`the depth is ${wanted}`, WAIT_MS_MAX, async () => (await queue.depth()) === wanted)
      t.equal(await queue.depth(), 0)
      await Promise.all(numberedEvents(25).map(event => queue.publish(event)))
      await depthIs(25)
      const inbox = new Inbox(queue)
      await inbox.receives(10)
      await depthIs(15)
      inbox.consumer.ack(inbox.through(4))
      await inbox.receives(15)
      await depthIs(10)
      inbox.consumer.dead(inbox.at(6))
      await inbox.receives(16)
      await depthIs(9)
      await inbox.consumer.stop()
      await depthIs(19)
    })

    t.test('publishes in flight while the queue closes are kept or refused', async t => {
      const settings = kind.settings(t)
      const queue = await open(t, settings)
      const early = numberedEvents(300).map(event => queue.publish(event))
      await early[10]
      const late = numberedEvents(300, 300).map(event => queue.publish(event))
      const [outcomes] = await Promise.all([Promise.allSettled([...early, ...late]), queue.close()])
      const refusals = outcomes.flatMap(each => (each.status === 'rejected' ? [each.reason.code] : []))
      t.ok(refusals.every(code => code === 'FRQ_QUEUE_UNAVAILABLE'))

      const kept = range(600).filter(n => outcomes[n]?.status === 'fulfilled')
      const inbox = new Inbox(await open(t, settings))
      const missing = () => kept.filter(n => !inbox.numbers.includes(n))
      await until('all accepted events are delivered', WAIT_MS_MAX, () => missing().length === 0)
      t.same(missing(), [])
    })

    t.test('a closed queue refuses publishes, and can be closed again', async t => {
      const queue = await open(t)
      await queue.close()
      await t.rejects(queue.publish(eventOf({ event: 'e' })), { code: 'FRQ_QUEUE_UNAVAILABLE' })
      await queue.close()
    })
  })
}
