/** Events during failures of RabbitMQ: a memory alarm, and a kill. */
import { type Test, test } from 'tap'
import { openQueue } from '../../../src/queue/open-queue.ts'
import type { Queue } from '../../../src/queue/queue.ts'
import { configOf, elapsed, eventOf, silent } from '../../helpers/helper.ts'
import {
  Inbox,
  keepConsuming,
  keepPublishing,
  publishesAgain,
  uniqueQueueName,
} from '../../helpers/queue-helper.ts'
import { startRabbitmq } from '../../services/rabbitmq.ts'
import { until } from '../../services/wait.ts'

const WAIT_MS_MAX = 60_000
const PROMPT_MS = 1_000
const PUBLISH_MS_MAX = 1_000
const UNAVAILABLE = { code: 'FRQ_QUEUE_UNAVAILABLE', statusCode: 503 }

test('RabbitMQ', async t => {
  const broker = await startRabbitmq()
  t.teardown(() => broker.close())

  async function open(t: Test, settings: Record<string, string> = {}): Promise<Queue> {
    const AMQP_QUEUE = uniqueQueueName(t, broker.url)
    const queue = await openQueue(
      configOf({ AMQP_URL: broker.url, AMQP_QUEUE, ARCHIVE_URL: '/not-opened', SPOOL: 'off', ...settings }),
      silent,
    )
    t.teardown(() => queue.close())
    return queue
  }

  t.test('a broker with a memory alarm refuses events, and accepts them after the alarm', async t => {
    const queue = await open(t, { PUBLISH_MS_MAX: String(PUBLISH_MS_MAX) })
    const other = await open(t, { PUBLISH_MS_MAX: String(PUBLISH_MS_MAX) })
    const inbox = new Inbox(queue)
    await queue.publish(eventOf({ event: 'e', n: 0 }))
    await inbox.receives(1)
    t.teardown(() => broker.ctl('set_vm_memory_high_watermark', '0.4'))
    await broker.ctl('set_vm_memory_high_watermark', '0.0000001')

    const ms = await elapsed(t.rejects(queue.publish(eventOf({ event: 'e' })), UNAVAILABLE))
    t.ok(ms < PUBLISH_MS_MAX * 1.5, `refused after ${ms} ms`)
    t.match(queue.trouble, /blocks publishers/)
    const msAgain = await elapsed(t.rejects(queue.publish(eventOf({ event: 'e' })), UNAVAILABLE))
    t.ok(msAgain < PROMPT_MS / 2, 'later publishes are refused at once')
    inbox.consumer.ack(inbox.through(0))
    await t.rejects(other.publish(eventOf({ event: 'e' })), UNAVAILABLE)
    t.ok((await elapsed(other.close())) < 10_000, 'a blocked queue can be closed')

    await broker.ctl('set_vm_memory_high_watermark', '0.4')
    await until('it works again', WAIT_MS_MAX, () => queue.trouble === undefined)
    await publishesAgain(queue)
  })

  t.test('a broker that is killed and restarted loses no confirmed event', async t => {
    const queue = await open(t)
    // RabbitMQ saves the tables with new queues only after a while. A kill before that would lose the queue.
    await broker.ctl('eval', '[dets:sync(Table) || Table <- dets:all()].')
    const { seen, inbox } = keepConsuming(queue)
    const publishing = keepPublishing(t, queue)
    await until(
      'events flow',
      WAIT_MS_MAX,
      () => publishing.confirmed.length > 100 && inbox.deliveries.length > 0,
    )
    await broker.kill()
    await until('the consumer reports the loss', WAIT_MS_MAX, () => inbox.losses === 1)
    t.match(queue.trouble, /RabbitMQ/)
    const ms = await elapsed(t.rejects(queue.publish(eventOf({ event: 'e' })), UNAVAILABLE))
    t.ok(ms < PROMPT_MS, 'a publish is refused at once')

    await broker.start()
    const before = publishing.confirmed.length
    await until('events flow again', WAIT_MS_MAX, () => publishing.confirmed.length > before + 100)
    await publishing.stop()
    const missing = () => publishing.confirmed.filter(n => !seen.has(n))
    await until('all confirmed events are delivered', WAIT_MS_MAX, () => missing().length === 0)
    t.same(missing(), [])
    t.equal(queue.trouble, undefined)
  })
})
