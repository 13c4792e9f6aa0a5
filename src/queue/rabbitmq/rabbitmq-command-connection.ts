import { AMQPError, type Channel, Connection } from 'rabbitmq-client'
import { ConfigInvalid, QueueUnavailable } from '../../errors.ts'
import { withTimeLimit } from '../../process/time-limit.ts'
import { socketOf } from './client-internals.ts'
import { brokerPlace, brokerReason, isFinalRefusal, refuseOtherProtocols } from './rabbitmq-refusal.ts'

const CONNECT_MS_MAX = 10_000
const CLOSE_MS_MAX = 2_000

/** The connection of a command. It does not reconnect. */
export interface CommandConnection {
  readonly connection: Connection
  /** Channels are closed with the connection. */
  openChannel(): Promise<Channel>
  close(): Promise<void>
}

/**
 * Connects to RabbitMQ, within 10 seconds.
 *
 * @param name shown in RabbitMQ's list of connections
 * @throws ConfigInvalid if RabbitMQ refuses the login or the virtual host.
 * @throws QueueUnavailable if RabbitMQ cannot be reached, or does not answer in time.
 */
export async function connectForCommand(url: string, name: string): Promise<CommandConnection> {
  const connection = new Connection({ url, connectionName: name, acquireTimeout: CONNECT_MS_MAX })
  refuseOtherProtocols(socketOf(connection))
  const failed = new Promise<never>((_, reject) => connection.on('error', reject))
  // Later failures reject the calls that wait for an answer. This `catch` prevents an unhandled rejection.
  failed.catch(() => {})
  try {
    await withTimeLimit(Promise.race([connection.onConnect(0), failed]), CONNECT_MS_MAX, () => {
      throw new Error(`no answer within ${CONNECT_MS_MAX} ms`)
    })
  } catch (cause) {
    connection.unsafeDestroy()
    throw asRefusal(cause, url)
  }
  const channels: Channel[] = []
  return {
    connection,
    openChannel: async () => {
      const channel = await connection.acquire({ emitErrorsFromChannel: true })
      // A channel that fails rejects its pending calls, so the event is not needed.
      channel.on('error', () => {})
      channels.push(channel)
      return channel
    },
    close: async () => {
      const closed = Promise.all(channels.map(channel => channel.close())).then(() => connection.close())
      await withTimeLimit(
        closed.catch(() => {}),
        CLOSE_MS_MAX,
        () => {},
      )
      connection.unsafeDestroy()
    },
  }
}

function asRefusal(cause: unknown, url: string): Error {
  const place = brokerPlace(url)
  if (isFinalRefusal(cause))
    return new ConfigInvalid(`AMQP_URL: ${place} refuses the connection: ${brokerReason(cause)}.`, { cause })
  return new QueueUnavailable(`${place} cannot be reached: ${brokerReason(cause)}.`, { cause })
}

/** Whether RabbitMQ, or the client library, answered with this AMQP error code. */
export function isCode(error: unknown, code: string): boolean {
  return error instanceof AMQPError && error.code === code
}
