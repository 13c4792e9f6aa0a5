import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Config } from '../src/config/config.ts'
import { openQueue } from '../src/queue/open-queue.ts'
import type { Queue } from '../src/queue/queue.ts'

declare module 'fastify' {
  interface FastifyInstance {
    queue: Queue
  }
}

async function queue(app: FastifyInstance, config: Config): Promise<void> {
  const opened = await openQueue(config, app.log)
  app.decorate('queue', opened)
  app.addHook('onClose', () => opened.close())
}

export default fp(queue, { name: 'queue' })
