import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { Archiver } from '../src/archive/archiver.ts'
import type { Config } from '../src/config/config.ts'
import { openIdIndex } from '../src/dedupe/open-id-index.ts'

declare module 'fastify' {
  interface FastifyInstance {
    archiver: Archiver
  }
}

async function archiver(app: FastifyInstance, config: Config): Promise<void> {
  const { queue, store, log } = app
  const index = await openIdIndex(join(config.dataDir, 'dedupe'), config, log)
  const running = new Archiver({ queue, store, index, config, log })
  app.decorate('archiver', running)
  app.addHook('onReady', async () => {
    await running.start()
    // What failed is in the log already.
    if (running.trouble !== undefined && running.stats.failures === 0)
      log.warn(
        { reason: running.trouble },
        'The server starts without its archive. Events wait in the queue.',
      )
  })
  app.addHook('onClose', async () => {
    await running.stop()
    await index.close()
  })
}

export default fp(archiver, { name: 'archiver', dependencies: ['queue', 'store'] })
