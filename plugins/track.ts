import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { assertEventFields, type EventFields, eventSchema, stampEvent } from '../src/event.ts'

async function track(app: FastifyInstance): Promise<void> {
  app.post<{ Body: EventFields }>(
    '/api/t',
    { schema: { body: eventSchema }, validatorCompiler: () => validateEvent },
    async (request, reply) => {
      const event = stampEvent(request.bodyJson as Buffer, request.body, new Date())
      const durability = await app.queue.publish(event)
      return reply.header('frequency-ack', durability).type('text/plain').send('200')
    },
  )
}

function validateEvent(value: unknown): { value: EventFields } | { error: Error } {
  try {
    assertEventFields(value)
    return { value }
  } catch (error) {
    return { error: error as Error }
  }
}

export default fp(track, { name: 'track', dependencies: ['body', 'queue'] })
