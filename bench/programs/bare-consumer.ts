/**
 * Peer: a consumer that acknowledges and drops each message. It prints a line for each thousand messages.
 *
 * It uses the channel, which takes a little less CPU time than the Consumer of the client library. A prefetch above
 * 1,000 is not faster.
 */
import { Connection } from 'rabbitmq-client'

const { AMQP_URL = 'amqp://127.0.0.1', AMQP_QUEUE = 'bare', PREFETCH = '1000' } = process.env
const LINE_EVERY = 1_000

const connection = new Connection({ url: AMQP_URL, noDelay: true })
connection.on('error', error => process.stderr.write(`${error}\n`))

let count = 0
const channel = await connection.acquire()
await channel.basicQos({ prefetchCount: Number(PREFETCH) })
await channel.basicConsume({ queue: AMQP_QUEUE }, ({ deliveryTag }) => {
  channel.basicAck({ deliveryTag })
  if (++count % LINE_EVERY === 0)
    process.stdout.write(`{"time":${Date.now()},"events":${LINE_EVERY},"reason":"events"}\n`)
})
