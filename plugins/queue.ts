import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Config } from '../src/config/config.ts'
import { withSlowNotice } from '../src/process/slow-notice.ts'
import { GroupingQueue } from '../src/queue/grouping-queue.ts'
import { openQueue } from '../src/queue/open-queue.ts'
import type { Queue, Transport } from '../src/queue/queue.ts'

declare module 'fastify' {
  interface FastifyInstance {
    queue: Queue
  }
}

export interface QueueOptions {
  readonly config: Config
  /** A transport that the caller has opened, and closes. */
  readonly given: Transport | undefined
}

async function queue(app: FastifyInstance, { config, given }: QueueOptions): Promise<void> {
  if (given !== undefined) {
    app.decorate('queue', new GroupingQueue(given, config))
    return
  }
  const opened = await withSlowNotice(openQueue(config, app.log), () => sayWhatIsAwaited(app, config))
  app.decorate('queue', opened)
  app.addHook('onClose', () => opened.close())
}

function sayWhatIsAwaited({ log }: FastifyInstance, { amqpUrl, dataDir }: Config): void {
  if (amqpUrl === undefined) log.info({ dataDir }, 'Still opening the queue on disk.')
  else log.info({ broker: new URL(amqpUrl).host }, 'Still waiting for RabbitMQ to answer.')
}

export default fp(queue, { name: 'queue' })
