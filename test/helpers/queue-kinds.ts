/** The queues on which the tests of the contract run. */
import type { Test } from 'tap'
import type { Durability } from '../../src/queue/queue.ts'
import { temporaryDirectory } from './helper.ts'
import { brokerUrl, uniqueQueueName } from './queue-helper.ts'

export interface Kind {
  readonly name: string
  readonly durability: Durability
  /** The settings of a new queue, which is removed after the test. */
  settings(t: Test): Record<string, string>
}

export const KINDS: readonly Kind[] = [
  {
    name: 'embedded',
    durability: 'disk',
    settings: t => ({ DATA_DIR: temporaryDirectory(t), PUBLISH_EVENTS_MAX: '1' }),
  },
  {
    name: 'RabbitMQ',
    durability: 'broker',
    settings: t => ({
      AMQP_URL: brokerUrl(),
      ARCHIVE_URL: '/not-opened',
      AMQP_QUEUE: uniqueQueueName(t),
      SPOOL: 'off',
      PUBLISH_MS_MAX: '60000',
      PUBLISH_EVENTS_MAX: '1',
    }),
  },
]
