import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Config } from '../src/config/config.ts'
import { brokerWatch } from '../src/queue/broker-watch.ts'

/** `GET /metrics`, in the text format of Prometheus. The counts are read at each request. */
async function metrics(app: FastifyInstance, { role }: Config): Promise<void> {
  const { queue, requests, readiness, enrichStats } = app
  const waiting = brokerWatch(queue)

  // Loaded at the first request, to keep the start fast.
  async function loaded() {
    const [{ aggregate, CONTENT_TYPE }, { expositionOf }] = await Promise.all([
      import('../src/observability/exposition.ts'),
      import('../src/observability/metrics.ts'),
    ])
    const exposition = expositionOf({
      role,
      queue,
      requests,
      enrichments: enrichStats,
      readiness,
      archiver: app.hasDecorator('archiver') ? app.archiver : undefined,
      store: app.hasDecorator('store') ? app.store : undefined,
      waiting,
    })
    return { exposition, aggregate, CONTENT_TYPE }
  }

  let loading: ReturnType<typeof loaded> | undefined
  const load = () => (loading ??= loaded())

  app.workerMessages.answer('metrics', async () => (await load()).exposition.json())

  app.get('/metrics', { config: { forOperators: true } }, async (_, reply) => {
    const { exposition, aggregate, CONTENT_TYPE } = await load()
    const all = (await app.workerMessages.ask('metrics')) as object[][]
    return reply.type(CONTENT_TYPE).send(all.length === 1 ? await exposition.text() : await aggregate(all))
  })
}

export default fp(metrics, {
  name: 'metrics',
  dependencies: ['queue', 'intake', 'requests', 'health', 'worker-messages'],
})
