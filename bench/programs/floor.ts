/** The floor: only node:http and one persistent message an event, answered after the publisher confirm of a quorum queue. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Connection } from 'rabbitmq-client'

const { AMQP_URL = 'amqp://127.0.0.1', AMQP_QUEUE = 'floor', PORT = '0' } = process.env
const ENVELOPE = { routingKey: AMQP_QUEUE, durable: true, contentType: 'application/json' }

const connection = new Connection({ url: AMQP_URL, noDelay: true })
connection.on('error', error => process.stderr.write(`${error}\n`))
await connection.queueDeclare({
  queue: AMQP_QUEUE,
  durable: true,
  arguments: { 'x-queue-type': 'quorum' },
})
const channel = await connection.acquire()
await channel.confirmSelect()

const server = createServer((request, response) => {
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => {
    const body = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks)
    channel.basicPublish(ENVELOPE, body).then(
      () => response.end('200'),
      () => response.writeHead(503).end(),
    )
  })
})
server.listen(Number(PORT), '127.0.0.1', () => {
  process.stdout.write(`listens on http://127.0.0.1:${(server.address() as AddressInfo).port}\n`)
})
