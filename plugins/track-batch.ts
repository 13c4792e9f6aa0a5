import { Type } from '@sinclair/typebox'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { textOf } from '../src/body.ts'
import type { Config } from '../src/config.ts'
import { BatchRefused } from '../src/errors.ts'
import { type EventBatch, readBatch, readLines } from '../src/event-batch.ts'
import { startTrace } from '../src/tracing.ts'

const NDJSON = ['application/x-ndjson', 'application/ndjson', 'application/jsonl']

const refusedSchema = Type.Array(
  Type.Object({
    index: Type.Integer({ description: 'Counted from 0, as it stands in the request.' }),
    code: Type.String(),
    message: Type.String({ description: 'What to mend.' }),
  }),
)

const answerSchema = Type.Object({
  accepted: Type.Integer({ description: 'Events that are durable.' }),
  refused: refusedSchema,
})

const refusalSchema = Type.Object({
  statusCode: Type.Integer(),
  code: Type.String(),
  error: Type.String(),
  message: Type.String(),
  refused: Type.Optional(refusedSchema),
})

/**
 * `POST /api/t/batch`: an array of events, an object with an array `batch`, or NDJSON. Answers once all
 * events that are valid are durable; those that are not are named, and nothing of them is kept.
 */
async function trackBatch(app: FastifyInstance, config: Config): Promise<void> {
  const { batchBodyBytesMax: bodyLimit, bodyBytesMax } = config
  await app.register(async scope => {
    scope.removeAllContentTypeParsers()
    addParser(scope, ['application/json'], readBatch)
    addParser(scope, NDJSON, readLines)

    scope.post<{ Body: EventBatch }>(
      '/api/t/batch',
      {
        bodyLimit,
        config: { bodyLimitSetting: 'BATCH_BODY_BYTES_MAX' },
        schema: { response: { 200: answerSchema, 400: refusalSchema } },
      },
      async (request, reply) => {
        const { events, refused } = request.body
        for (const { code, message } of refused) app.requests.refuse(code, message)
        if (events.length === 0 && refused.length > 0) {
          const { statusCode = 400, code, message } = new BatchRefused()
          return reply.code(statusCode).send({ statusCode, code, error: 'Bad Request', message, refused })
        }
        if (events.length > 0) {
          const trace = startTrace(request.headers)
          const published = app.queue.publishAll(events, trace?.context)
          void reply.header('frequency-ack', await (trace?.through(published) ?? published))
        }
        return { accepted: events.length, refused }
      },
    )
  })

  function addParser(scope: FastifyInstance, contentTypes: string[], read: typeof readBatch): void {
    scope.addContentTypeParser<Buffer>(contentTypes, { parseAs: 'buffer' }, (_, bytes, done) => {
      try {
        done(null, read(textOf(bytes), bodyBytesMax, new Date()))
      } catch (error) {
        done(error as Error)
      }
    })
  }
}

export default fp(trackBatch, { name: 'track-batch', dependencies: ['body', 'queue', 'requests'] })
