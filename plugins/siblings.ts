import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { Siblings } from '../src/siblings.ts'

declare module 'fastify' {
  interface FastifyInstance {
    siblings: Siblings
  }
}

/** The other processes behind the same port. */
async function siblings(app: FastifyInstance): Promise<void> {
  const opened = new Siblings()
  app.decorate('siblings', opened)
  app.addHook('onClose', async () => opened.close())
}

export default fp(siblings, { name: 'siblings' })
