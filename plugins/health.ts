import { Type } from '@sinclair/typebox'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Config } from '../src/config.ts'

const healthSchema = Type.Object({
  status: Type.Union([Type.Literal('ok'), Type.Literal('waiting')]),
  role: Type.String(),
  waitingFor: Type.Array(Type.String(), {
    description: 'What keeps the process from its work now, in words.',
  }),
})

/** `GET /healthz` answers 200 while the process is alive, and says what it is waiting for. */
async function health(app: FastifyInstance, { role }: Config): Promise<void> {
  app.get('/healthz', { schema: { response: { 200: healthSchema } } }, async () => {
    const troubles = [app.queue.trouble, app.hasDecorator('archiver') ? app.archiver.trouble : undefined]
    const waitingFor = troubles.filter(trouble => trouble !== undefined)
    return { status: waitingFor.length === 0 ? 'ok' : 'waiting', role, waitingFor }
  })
}

export default fp(health, { name: 'health', dependencies: ['queue'] })
