import { EventEmitter } from 'node:events'
import type { Channel } from 'rabbitmq-client'
import { test } from 'tap'
import { GroupBuilder } from '../../../src/event/event-group.ts'
import type { RabbitmqConnection } from '../../../src/queue/rabbitmq/rabbitmq-connection.ts'
import { RabbitmqPublisher } from '../../../src/queue/rabbitmq/rabbitmq-publisher.ts'
import type { RabbitmqConfig } from '../../../src/queue/rabbitmq/rabbitmq-topology.ts'
import { configOf, elapsed, eventOf } from '../../helpers/helper.ts'
import { until } from '../../services/wait.ts'

const STALL_MS_MAX = 10_000

/** A channel whose broker confirms every message, or none. */
class TestChannel extends EventEmitter {
  isClosed = false
  readonly #confirms: boolean

  constructor(confirms: boolean) {
    super()
    this.#confirms = confirms
  }

  basicPublish(): Promise<void> {
    return this.#confirms ? Promise.resolve() : new Promise(() => {})
  }

  async close(): Promise<void> {
    this.isClosed = true
  }
}

function groupOf() {
  const builder = new GroupBuilder()
  builder.add(eventOf({ event: 'e' }))
  return builder.build()
}

test('a channel without confirms is closed, and the next channel publishes again', async t => {
  const silent = new TestChannel(false)
  const connection = { channel: silent as unknown as Channel, trouble: undefined }
  const config = configOf({ AMQP_URL: 'amqp://localhost', ARCHIVE_URL: 's3://b', PUBLISH_MS_MAX: '100' })
  const publisher = new RabbitmqPublisher(
    connection as unknown as RabbitmqConnection,
    config as RabbitmqConfig,
  )
  publisher.watch(connection.channel)
  await t.rejects(publisher.publish(groupOf()), { code: 'FRQ_QUEUE_UNAVAILABLE' })
  t.match(publisher.trouble, /no confirm within 100 ms/)
  const ms = await elapsed(until('it is closed', 2 * STALL_MS_MAX, () => silent.isClosed))
  t.ok(ms > STALL_MS_MAX / 2, 'not before a late confirm could come')
  connection.channel = new TestChannel(true) as unknown as Channel
  publisher.watch(connection.channel)
  t.equal(publisher.trouble, undefined)
  t.equal(await publisher.publish(groupOf()), 'broker')
})
