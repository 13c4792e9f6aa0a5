import { randomUUID } from 'node:crypto'
import type { Channel } from 'rabbitmq-client'
import {
  type CommandConnection,
  connectForCommand,
  isCode,
} from '../../queue/rabbitmq/rabbitmq-command-connection.ts'
import { deadDeclaration, deadName, queueDeclaration } from '../../queue/rabbitmq/rabbitmq-topology.ts'
import { type Finding, type Findings, inTime, messageOf } from './finding.ts'

interface BrokerConfig {
  readonly amqpUrl: string
  readonly amqpQueue: string
}

/** Tests whether RabbitMQ accepts the login, confirms messages, and has its queues declared as `serve` declares them. */
export async function* checkBroker(config: BrokerConfig): Findings {
  const broker = `RabbitMQ at ${new URL(config.amqpUrl).host}`
  const startedAt = performance.now()
  let connection: CommandConnection
  try {
    connection = await connectForCommand(config.amqpUrl, 'frequency check')
  } catch (error) {
    yield { name: 'broker', result: 'trouble', detail: messageOf(error) }
    yield { name: 'queue', result: 'skipped', detail: 'the broker was not reached' }
    return
  }
  try {
    const ms = Math.ceil(performance.now() - startedAt)
    yield { name: 'broker', result: 'ok', detail: `${broker} accepts the login, within ${ms} ms` }
    yield await checkConfirms(config.amqpUrl)
    yield await checkQueue(connection, config.amqpQueue)
    yield await checkDeadLetters(connection, config.amqpQueue)
  } finally {
    await connection.close()
  }
}

/**
 * Publishes two messages with a routing key that no queue has. The broker confirms such a message and drops it.
 *
 * A broker that is short of memory or disk confirms the first message of a connection, sends `connection.blocked`, and
 * then reads nothing more from that connection until it has room. So a second message is needed, and the other tests
 * use another connection.
 */
async function checkConfirms(amqpUrl: string): Promise<Finding> {
  const name = 'confirms'
  let connection: CommandConnection | undefined
  try {
    connection = await connectForCommand(amqpUrl, 'frequency check: confirms')
    return { name, result: 'ok', detail: `a message is confirmed within ${await msToConfirm(connection)} ms` }
  } catch (error) {
    return { name, result: 'trouble', detail: messageOf(error) }
  } finally {
    await connection?.close()
  }
}

async function msToConfirm({ connection, openChannel }: CommandConnection): Promise<number> {
  const blocked = new Promise<never>((_, reject) => {
    connection.on('connection.blocked', reason => reject(new Error(`RabbitMQ blocks publishers: ${reason}`)))
  })
  blocked.catch(() => {})
  const channel = await inTime(openChannel())
  await inTime(channel.confirmSelect())
  const publish = () =>
    channel.basicPublish({ routingKey: `frequency-check-${randomUUID()}` }, Buffer.alloc(0))
  const startedAt = performance.now()
  await inTime(publish())
  const ms = Math.ceil(performance.now() - startedAt)
  await inTime(Promise.race([publish(), blocked]))
  return ms
}

/** Declares only queues that exist, so it creates none. A declaration with other arguments fails. */
async function checkQueue(connection: CommandConnection, queue: string): Promise<Finding> {
  const name = 'queue'
  try {
    for (const declaration of [deadDeclaration(queue), queueDeclaration(queue)]) {
      if ((await depthOf(connection, String(declaration.queue))) === undefined)
        return { name, result: 'ok', detail: `${declaration.queue} does not exist yet: serve declares it` }
      const channel = await inTime(connection.openChannel())
      await inTime(channel.queueDeclare(declaration))
    }
    const depth = await depthOf(connection, queue)
    return {
      name,
      result: 'ok',
      detail: `${queue} is declared as it should be; ${depth} messages are ready in it`,
    }
  } catch (error) {
    const remedy = isCode(error, 'PRECONDITION_FAILED')
      ? '. Use another AMQP_QUEUE, or empty and delete this queue'
      : ''
    return { name, result: 'trouble', detail: `${messageOf(error)}${remedy}` }
  }
}

async function checkDeadLetters(connection: CommandConnection, queue: string): Promise<Finding> {
  const name = 'dead letters'
  try {
    const count = (await depthOf(connection, deadName(queue))) ?? 0
    if (count === 0) return { name, result: 'ok', detail: 'none' }
    return { name, result: 'warning', detail: `${count}: frequency dead says why` }
  } catch (error) {
    return { name, result: 'trouble', detail: messageOf(error) }
  }
}

/** @returns the number of ready messages, or undefined if the queue does not exist. */
async function depthOf(connection: CommandConnection, queue: string): Promise<number | undefined> {
  // A passive declaration of a missing queue closes the channel, so each call opens its own.
  const channel: Channel = await inTime(connection.openChannel())
  try {
    return (await inTime(channel.queueDeclare({ queue, passive: true }))).messageCount
  } catch (error) {
    if (isCode(error, 'NOT_FOUND')) return undefined
    throw error
  }
}
