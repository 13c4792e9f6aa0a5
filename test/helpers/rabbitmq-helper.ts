/** Helpers of the tests that need RabbitMQ alone. */
import type { Test } from 'tap'
import { openQueue } from '../../src/queue/open-queue.ts'
import type { Queue } from '../../src/queue/queue.ts'
import { rabbitmqctl } from '../services/rabbitmq.ts'
import { until } from '../services/wait.ts'
import { configOf, silent } from './helper.ts'
import { brokerUrl, uniqueQueueName } from './queue-helper.ts'

const WAIT_MS_MAX = 60_000

/** Opens a queue on the broker, without a spool, and with one event per message. It is closed after the test. */
export async function openQueueOnBroker(t: Test, settings: Record<string, string> = {}): Promise<Queue> {
  const name = settings.AMQP_QUEUE ?? uniqueQueueName(t)
  const queue = await openQueue(
    configOf({
      AMQP_URL: brokerUrl(),
      ARCHIVE_URL: '/not-opened',
      AMQP_QUEUE: name,
      SPOOL: 'off',
      PUBLISH_EVENTS_MAX: '1',
      PUBLISH_MS_MAX: '60000',
      ...settings,
    }),
    silent,
  )
  t.teardown(() => queue.close())
  return queue
}

/** Resolves once the queue has this many unacknowledged deliveries. */
export async function holds(name: string, count: number): Promise<void> {
  await until(`${count} are unacknowledged`, WAIT_MS_MAX, async () => {
    const list = await rabbitmqctl('list_queues', 'name', 'messages_unacknowledged')
    return list.includes(`${name}\t${count}\n`)
  })
}
