import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { assertEventFields, type EventFields, eventSchema, stampEvent } from '../src/event.ts'
import { startTrace } from '../src/tracing.ts'

async function track(app: FastifyInstance): Promise<void> {
  app.post<{ Body: EventFields }>(
    '/api/t',
    { schema: { body: eventSchema }, validatorCompiler: () => validateEvent },
    async (request, reply) => {
      const event = stampEvent(request.bodyJson as Buffer, request.body, new Date())
      const trace = startTrace(request.headers)
      const published = app.queue.publish(event, trace?.context)
      const durability = await (trace?.through(published) ?? published)
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
