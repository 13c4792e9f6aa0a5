import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Config } from '../src/config/config.ts'
import { withSlowNotice } from '../src/process/slow-notice.ts'
import { openQueue } from '../src/queue/open-queue.ts'
import type { Queue } from '../src/queue/queue.ts'

declare module 'fastify' {
  interface FastifyInstance {
    queue: Queue
  }
}

async function queue(app: FastifyInstance, config: Config): Promise<void> {
  const opened = await withSlowNotice(openQueue(config, app.log), () => sayWhatIsAwaited(app, config))
  app.decorate('queue', opened)
  app.addHook('onClose', () => opened.close())
}

function sayWhatIsAwaited({ log }: FastifyInstance, { amqpUrl, dataDir }: Config): void {
  if (amqpUrl === undefined) log.info({ dataDir }, 'Still opening the queue on disk.')
  else log.info({ broker: new URL(amqpUrl).host }, 'Still waiting for RabbitMQ to answer.')
}

export default fp(queue, { name: 'queue' })
