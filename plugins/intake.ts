import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Config } from '../src/config/config.ts'
import { assertEventFields, type Event, stampEvent } from '../src/event/event.ts'
import { publishAllTraced, publishTraced } from '../src/event/tracing.ts'
import { type EnrichHook, Enrichment } from '../src/http/enrichment.ts'
import { EnrichStats } from '../src/observability/enrich-stats.ts'
import type { Durability } from '../src/queue/queue.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Adds a hook that may add members to each event that a request sends. */
    enrich(hook: EnrichHook<FastifyRequest>): void
    /**
     * Publishes an event that no client has sent. Enrich hooks do not see it.
     *
     * @throws EventInvalid if it is not an event
     * @throws QueueUnavailable if nothing took it durably
     */
    track(fields: { readonly event: string; readonly [name: string]: unknown }): Promise<Durability>
    /** Publishes an event of a request, after the enrich hooks. */
    publish(event: Event, request: FastifyRequest): Promise<Durability>
    /** Publishes all events of a request, after the enrich hooks. */
    publishAll(events: readonly Event[], request: FastifyRequest): Promise<Durability>
    enrichStats: EnrichStats
  }
}

/** From stamped events to the queue, through the enrich hooks of users' own plugins. */
async function intake(app: FastifyInstance, { enrichMsMax: msMax }: Config): Promise<void> {
  const { queue, log } = app
  const stats = new EnrichStats()
  const enrichment = new Enrichment<FastifyRequest>({ msMax, log, stats })

  app.decorate('enrichStats', stats)
  app.decorate('enrich', (hook: EnrichHook<FastifyRequest>) => enrichment.add(hook))
  app.decorate('publish', (event: Event, request: FastifyRequest) =>
    enrichment.isIdle ? publishTraced(queue, event, request.headers) : publishEnriched(event, request),
  )
  app.decorate('publishAll', async (events: readonly Event[], request: FastifyRequest) => {
    const enriched = enrichment.isIdle ? events : await enrichment.enriched(events, request)
    return publishAllTraced(queue, enriched, request.headers)
  })
  app.decorate('track', async (fields: { readonly event: string }) => {
    const json = Buffer.from(JSON.stringify(fields))
    const value: unknown = JSON.parse(json.toString())
    assertEventFields(value)
    return queue.publish(stampEvent(json, value, new Date()))
  })

  async function publishEnriched(event: Event, request: FastifyRequest): Promise<Durability> {
    const [enriched = event] = await enrichment.enriched([event], request)
    return publishTraced(queue, enriched, request.headers)
  }
}

export default fp(intake, { name: 'intake', dependencies: ['queue'] })
