import type { Channel } from 'rabbitmq-client'
import type { Config } from '../../config/config.ts'

/**
 * How often RabbitMQ may redeliver a message before it dead-letters it. The default of RabbitMQ 4 (20)
 * would throw away good events after a store has been down for a while; what can never be archived is
 * dead-lettered here at its first delivery, so the limit has nothing left to catch.
 */
const DELIVERY_LIMIT = 1_000_000

export type RabbitmqConfig = Pick<
  Config,
  'amqpQueue' | 'amqpPrefetch' | 'prefetchEvents' | 'publishMsMax' | 'role'
> & { readonly amqpUrl: string }

type Declaration = Exclude<Parameters<Channel['queueDeclare']>[0], string | undefined>

/** `tracks.dead`: the name of the queue, and of the exchange, for what can never be archived. */
export function deadName(queue: string): string {
  return `${queue}.dead`
}

/**
 * The quorum queue of the events. Dead-lettering is at-least-once, which RabbitMQ offers only together with
 * `x-overflow: reject-publish`. Works on RabbitMQ 3.10 and later.
 */
export function queueDeclaration(queue: string): Declaration {
  const dead = deadName(queue)
  return {
    queue,
    durable: true,
    arguments: {
      'x-queue-type': 'quorum',
      'x-dead-letter-exchange': dead,
      'x-dead-letter-routing-key': queue,
      'x-dead-letter-strategy': 'at-least-once',
      'x-overflow': 'reject-publish',
      'x-delivery-limit': DELIVERY_LIMIT,
    },
  }
}

/**
 * The queue of what can never be archived. Looking at a message there counts as a delivery: at the default
 * limit of RabbitMQ 4 the twentieth look would throw it away.
 */
export function deadDeclaration(queue: string): Declaration {
  return {
    queue: deadName(queue),
    durable: true,
    arguments: { 'x-queue-type': 'quorum', 'x-delivery-limit': DELIVERY_LIMIT },
  }
}

/** The queues, and the exchange between them. */
export async function declareTopology(channel: Channel, queue: string): Promise<void> {
  const dead = deadName(queue)
  await channel.exchangeDeclare({ exchange: dead, type: 'direct', durable: true })
  await channel.queueDeclare(deadDeclaration(queue))
  await channel.queueBind({ queue: dead, exchange: dead, routingKey: queue })
  await channel.queueDeclare(queueDeclaration(queue))
}
