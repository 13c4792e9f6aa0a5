import { Type } from '@sinclair/typebox'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Config } from '../src/config/config.ts'
import { assertEventFields, type EventFields, eventSchema, stampEvent } from '../src/event/event.ts'
import { contextIp } from '../src/http/client-ip.ts'
import { validatorOf } from '../src/http/validator.ts'
import type { Durability } from '../src/queue/queue.ts'

const description = {
  summary: 'Take one event',
  operationId: 'track',
  tags: ['events'],
  consumes: ['application/json', 'application/x-www-form-urlencoded', 'text/plain'],
  response: {
    200: {
      description: 'The event is durable.',
      headers: { 'frequency-ack': Type.String({ description: 'Where it is durable: broker or disk.' }) },
      content: { 'text/plain': { schema: Type.Literal('200') } },
    },
  },
}

const ANSWER_HEADERS: Record<Durability, Record<string, string>> = {
  broker: { 'frequency-ack': 'broker', 'content-type': 'text/plain; charset=utf-8' },
  disk: { 'frequency-ack': 'disk', 'content-type': 'text/plain; charset=utf-8' },
}

const validate = validatorOf<EventFields>(assertEventFields)

/** `POST /api/t`: one event, archived as it was sent. So the client's address is not added. */
async function track(app: FastifyInstance, { ipPolicy, bodyBytesMax: bodyLimit }: Config): Promise<void> {
  app.post<{ Body: EventFields }>(
    '/api/t',
    {
      bodyLimit,
      schema: { ...description, body: eventSchema },
      config: { takesEvents: true },
      validatorCompiler: () => validate,
    },
    // Not async: that would make two more promises for each event.
    (request, reply) => {
      const { bodyJson, body, source } = request
      const ip = contextIp(body, ipPolicy, source)
      const event = stampEvent(bodyJson as Buffer, body, new Date(), source, ip)
      app.publish(event, request).then(
        durability => reply.headers(ANSWER_HEADERS[durability]).send('200'),
        error => reply.send(error),
      )
    },
  )
}

export default fp(track, { name: 'track', dependencies: ['body', 'intake', 'write-keys'] })
