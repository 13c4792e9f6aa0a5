import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Config } from '../src/config/config.ts'
import { openStore } from '../src/store/open-store.ts'
import type { ObjectStore } from '../src/store/store.ts'

declare module 'fastify' {
  interface FastifyInstance {
    store: ObjectStore
  }
}

async function store(app: FastifyInstance, config: Config): Promise<void> {
  const opened = await openStore(config)
  app.decorate('store', opened)
  app.addHook('onClose', () => opened.close())
}

export default fp(store, { name: 'store' })
