/** Peer: Express 5 and amqplib, with a confirm channel and one persistent message an event. */
import type { AddressInfo } from 'node:net'
import { connect } from 'amqplib'
import express from 'express'

const { AMQP_URL = 'amqp://127.0.0.1', AMQP_QUEUE = 'express', PORT = '0' } = process.env
const PUBLISH_OPTIONS = { persistent: true, contentType: 'application/json' }

const connection = await connect(AMQP_URL, { noDelay: true })
connection.on('error', error => process.stderr.write(`${error}\n`))
const channel = await connection.createConfirmChannel()
await channel.assertQueue(AMQP_QUEUE, { durable: true, arguments: { 'x-queue-type': 'quorum' } })

const app = express()
app.disable('x-powered-by')
app.disable('etag')
app.use(express.json({ limit: '1mb' }))
app.post('/api/t', (request, response) => {
  const { event } = request.body ?? {}
  if (typeof event !== 'string' || event === '') {
    response.status(400).json({ message: 'event is required' })
    return
  }
  publish([request.body], isConfirmed => {
    if (isConfirmed) response.type('text/plain').send('200')
    else response.status(503).end()
  })
})
app.post('/v1/batch', (request, response) => {
  const { batch } = request.body ?? {}
  if (!Array.isArray(batch) || batch.length === 0) {
    response.status(400).json({ message: 'batch is required' })
    return
  }
  publish(batch, isConfirmed => {
    if (isConfirmed) response.json({ success: true })
    else response.status(503).end()
  })
})

/** Publishes a message for each event. @param done called once when the broker has confirmed or rejected all messages */
function publish(events: readonly unknown[], done: (isConfirmed: boolean) => void): void {
  let left = events.length
  let failed = 0
  for (const event of events) {
    channel.sendToQueue(AMQP_QUEUE, Buffer.from(JSON.stringify(event)), PUBLISH_OPTIONS, error => {
      if (error) failed++
      if (--left === 0) done(failed === 0)
    })
  }
}

const server = app.listen(Number(PORT), '127.0.0.1', () => {
  process.stdout.write(`listens on http://127.0.0.1:${(server.address() as AddressInfo).port}\n`)
})
