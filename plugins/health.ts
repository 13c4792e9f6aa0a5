import { Type } from '@sinclair/typebox'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Config } from '../src/config/config.ts'
import { Readiness } from '../src/observability/readiness.ts'

const REPORT_EVERY_MS = 1_000

const healthSchema = Type.Object({
  status: Type.Union([Type.Literal('ok'), Type.Literal('waiting')]),
  role: Type.String(),
  waitingFor: Type.Array(Type.String(), {
    description: 'The reasons why the process cannot do its work now, for people.',
  }),
})

const readinessSchema = Type.Object({
  ready: Type.Boolean(),
  role: Type.String(),
  takesEvents: Type.Optional(
    Type.Boolean({ description: 'Whether events are taken durably. Absent if the role takes no events.' }),
  ),
  archives: Type.Optional(
    Type.Boolean({
      description: 'Whether the process can archive. Absent if the role does not archive.',
    }),
  ),
  parts: Type.Array(
    Type.Object({
      part: Type.String(),
      well: Type.Boolean({ description: 'Whether the part works.' }),
      since: Type.String({ format: 'date-time', description: 'When `well` last changed.' }),
      trouble: Type.Optional(Type.String({ description: 'Why the part does not work, for people.' })),
    }),
  ),
})

declare module 'fastify' {
  interface FastifyInstance {
    readiness: Readiness
  }
}

function readinessOf(app: FastifyInstance, { role }: Config): Readiness {
  return new Readiness({
    intake: role === 'archive' ? undefined : () => app.queue.intake,
    archiving: app.hasDecorator('archiver')
      ? () => [...app.queue.outlet, { name: 'archive', trouble: app.archiver.trouble }]
      : undefined,
  })
}

/**
 * `GET /healthz` answers 200 while the process is alive, and lists what it is waiting for.
 *
 * `GET /readyz` answers 200 while the process can take events durably (`ROLE=archive`: can archive them), else 503.
 */
async function health(app: FastifyInstance, config: Config): Promise<void> {
  const { role } = config
  const readiness = readinessOf(app, config)
  app.decorate('readiness', readiness)
  const timer = setInterval(() => readiness.report(), REPORT_EVERY_MS).unref()
  app.addHook('preClose', async () => readiness.end())
  app.addHook('onClose', async () => clearInterval(timer))

  app.get(
    '/healthz',
    { config: { forOperators: true }, schema: { response: { 200: healthSchema } } },
    async () => {
      const troubles = [app.queue.trouble, app.hasDecorator('archiver') ? app.archiver.trouble : undefined]
      const waitingFor = troubles.filter(trouble => trouble !== undefined)
      return { status: waitingFor.length === 0 ? 'ok' : 'waiting', role, waitingFor }
    },
  )

  app.get(
    '/readyz',
    {
      config: { forOperators: true },
      schema: { response: { 200: readinessSchema, 503: readinessSchema } },
    },
    async (_, reply) => {
      const report = readiness.report()
      return reply.code(report.ready ? 200 : 503).send({ role, ...report })
    },
  )
}

export default fp(health, { name: 'health', dependencies: ['queue'] })
