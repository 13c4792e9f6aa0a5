import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { Archiver } from '../src/archive/archiver.ts'
import type { Config } from '../src/config.ts'

declare module 'fastify' {
  interface FastifyInstance {
    archiver: Archiver
  }
}

async function archiver(app: FastifyInstance, config: Config): Promise<void> {
  const running = new Archiver({ queue: app.queue, store: app.store, config, log: app.log })
  app.decorate('archiver', running)
  app.addHook('onReady', async () => running.start())
  app.addHook('onClose', () => running.stop())
}

export default fp(archiver, { name: 'archiver', dependencies: ['queue', 'store'] })
