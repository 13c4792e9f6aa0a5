import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Config } from '../src/config.ts'
import { CONTENT_TYPE, type Exposition } from '../src/metrics/exposition.ts'
import { expositionOf } from '../src/metrics/metrics.ts'
import { brokerWatch } from '../src/queue/broker-watch.ts'

declare module 'fastify' {
  interface FastifyInstance {
    metrics: Exposition
  }
}

/** `GET /metrics`, in the text format of Prometheus. What is counted is read when it is asked for. */
async function metrics(app: FastifyInstance, { role }: Config): Promise<void> {
  const { queue, requests, readiness } = app
  const exposition = expositionOf({
    role,
    queue,
    requests,
    readiness,
    archiver: app.hasDecorator('archiver') ? app.archiver : undefined,
    store: app.hasDecorator('store') ? app.store : undefined,
    waiting: brokerWatch(queue),
  })
  app.decorate('metrics', exposition)

  app.get('/metrics', async (_, reply) => reply.type(CONTENT_TYPE).send(await exposition.text()))
}

export default fp(metrics, { name: 'metrics', dependencies: ['queue', 'requests', 'health'] })
