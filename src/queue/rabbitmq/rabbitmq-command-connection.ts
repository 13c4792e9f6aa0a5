import { setTimeout as delay } from 'node:timers/promises'
import { AMQPError, type Channel, Connection } from 'rabbitmq-client'
import { ConfigInvalid, QueueUnavailable } from '../../errors.ts'

const CONNECT_MS_MAX = 10_000
const CLOSE_MS_MAX = 2_000

/** A connection of a command: made once, and not again when it is lost. */
export interface CommandConnection {
  readonly connection: Connection
  /** Channels are closed with the connection. */
  openChannel(): Promise<Channel>
  close(): Promise<void>
}

/**
 * @param name shown in RabbitMQ's list of connections
 * @throws ConfigInvalid where RabbitMQ turns us away.
 * @throws QueueUnavailable where it does not answer.
 */
export async function connectForCommand(url: string, name: string): Promise<CommandConnection> {
  const connection = new Connection({ url, connectionName: name, acquireTimeout: CONNECT_MS_MAX })
  const failed = new Promise<never>((_, reject) => connection.on('error', reject))
  // What fails later is heard by whoever waits for it.
  failed.catch(() => {})
  const patience = new AbortController()
  const overdue = delay(CONNECT_MS_MAX, undefined, patience).then(() => {
    throw new Error(`no answer within ${CONNECT_MS_MAX} ms`)
  })
  overdue.catch(() => {})
  try {
    await Promise.race([connection.onConnect(0), failed, overdue])
  } catch (cause) {
    connection.unsafeDestroy()
    throw asRefusal(cause, url)
  } finally {
    patience.abort()
  }
  const channels: Channel[] = []
  return {
    connection,
    openChannel: async () => {
      const channel = await connection.acquire({ emitErrorsFromChannel: true })
      // A channel that ends rejects what is asked of it, and so tells whoever waits for it.
      channel.on('error', () => {})
      channels.push(channel)
      return channel
    },
    close: async () => {
      const closed = Promise.all(channels.map(channel => channel.close())).then(() => connection.close())
      const patience = new AbortController()
      await Promise.race([closed.catch(() => {}), delay(CLOSE_MS_MAX, undefined, patience).catch(() => {})])
      patience.abort()
      connection.unsafeDestroy()
    },
  }
}

function asRefusal(cause: unknown, url: string): Error {
  const { message } = cause as Error
  if (cause instanceof AMQPError && /^(ACCESS_REFUSED|NOT_ALLOWED)$/.test(cause.code))
    return new ConfigInvalid(`AMQP_URL: RabbitMQ refuses the connection: ${message}`, { cause })
  return new QueueUnavailable(`RabbitMQ at ${new URL(url).host} cannot be reached: ${message}`, { cause })
}

export function isCode(error: unknown, code: string): boolean {
  return error instanceof AMQPError && error.code === code
}
