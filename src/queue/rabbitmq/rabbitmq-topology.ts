import type { Channel } from 'rabbitmq-client'
import type { Config } from '../../config/config.ts'

/**
 * How often RabbitMQ may redeliver a message before it dead-letters it. With the default of RabbitMQ 4 (20) good
 * events would become dead letters while a store is down. The limit is not needed otherwise: a message that
 * cannot be archived is dead-lettered at its first delivery.
 */
const DELIVERY_LIMIT = 1_000_000

export type RabbitmqConfig = Pick<
  Config,
  'amqpQueue' | 'amqpPrefetch' | 'prefetchEvents' | 'publishMsMax' | 'role'
> & { readonly amqpUrl: string }

type Declaration = Exclude<Parameters<Channel['queueDeclare']>[0], string | undefined>

/** Name of the dead-letter queue, and of its exchange: `<queue>.dead`. */
export function deadName(queue: string): string {
  return `${queue}.dead`
}

/**
 * The quorum queue of the events. RabbitMQ has at-least-once dead-lettering since 3.10, and only together with
 * `x-overflow: reject-publish`.
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
 * The queue of the dead letters. To read a message there counts as a delivery. With the default limit of
 * RabbitMQ 4 the twentieth read would delete it.
 */
export function deadDeclaration(queue: string): Declaration {
  return {
    queue: deadName(queue),
    durable: true,
    arguments: { 'x-queue-type': 'quorum', 'x-delivery-limit': DELIVERY_LIMIT },
  }
}

/** Declares both queues, and the exchange that routes dead letters. @throws AMQPError if RabbitMQ refuses */
export async function declareTopology(channel: Channel, queue: string): Promise<void> {
  const dead = deadName(queue)
  await channel.exchangeDeclare({ exchange: dead, type: 'direct', durable: true })
  await channel.queueDeclare(deadDeclaration(queue))
  await channel.queueBind({ queue: dead, exchange: dead, routingKey: queue })
  await channel.queueDeclare(queueDeclaration(queue))
}
