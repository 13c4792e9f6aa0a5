import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { WorkerMessages } from '../src/process/worker-messages.ts'

declare module 'fastify' {
  interface FastifyInstance {
    workerMessages: WorkerMessages
  }
}

/** Messages to and from the other processes of WORKERS, which listen on the same port. */
async function workerMessages(
  app: FastifyInstance,
  { isOwnServer }: { isOwnServer: boolean },
): Promise<void> {
  const opened = new WorkerMessages(isOwnServer)
  app.decorate('workerMessages', opened)
  app.addHook('onClose', async () => opened.close())
}

export default fp(workerMessages, { name: 'worker-messages' })
