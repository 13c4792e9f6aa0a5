import { Type } from '@sinclair/typebox'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Config } from '../src/config/config.ts'
import { BodyInvalid, MediaTypeUnsupported } from '../src/errors.ts'
import { eventSchema, stampEvent } from '../src/event/event.ts'
import { contextIp } from '../src/http/client-ip.ts'
import { beginningOf } from '../src/http/read-body.ts'
import {
  checkBatch,
  isNotEmpty,
  readBatch,
  readLines,
  refusalOf,
  type UncheckedBatch,
} from '../src/http/request-events.ts'

const NDJSON = [
  'application/x-ndjson',
  'application/ndjson',
  'text/x-ndjson',
  'application/json-lines',
  'application/x-jsonlines',
  'application/jsonlines',
  'application/x-jsonl',
  'application/jsonl',
]
const EVENTS_WANTED = 'the events with content-type application/json or application/x-ndjson'
const JSON_START = /^\s*[[{]/

const refusedSchema = Type.Array(
  Type.Object({
    index: Type.Integer({ description: 'Position of the event in the request, from 0.' }),
    code: Type.String(),
    message: Type.String({ description: 'What is wrong, and how to correct it.' }),
  }),
  { description: 'The refused events, at most the first 1,000. Nothing of them is archived.' },
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
 * For the API reference only. The route checks each event by itself, so that a refused one does not affect the
 * others.
 */
const eventsSchema = Type.Array(eventSchema)
const batchSchema = Type.Union([
  Type.Object({ batch: eventsSchema, writeKey: Type.Optional(Type.String()) }),
  eventsSchema,
])
const bodySchema = {
  content: {
    'application/json': { schema: batchSchema },
    'application/x-ndjson': { schema: Type.String({ description: 'One event on each line.' }) },
    'text/plain': { schema: Type.String({ description: 'The same JSON, labelled as sendBeacon does.' }) },
  },
}

const description = {
  summary: 'Take several events',
  description:
    'An array of events, an object with an array `batch`, or one event on each line (NDJSON): up to REQUEST_EVENTS_MAX events. Answers when all valid events are durable, and lists the refused ones.',
  operationId: 'trackBatch',
  tags: ['events'],
}

/**
 * `POST /api/t/batch`: an array of events, an object with an array `batch`, or NDJSON. Answers when all valid events
 * are durable. Lists the refused events; nothing of them is archived.
 */
async function trackBatch(app: FastifyInstance, config: Config): Promise<void> {
  const { batchBodyBytesMax: bodyLimit, bodyBytesMax, requestEventsMax, ipPolicy: policy } = config
  await app.register(async scope => {
    scope.removeAllContentTypeParsers()
    addParser(scope, ['application/json', 'text/plain'], readBatch)
    addParser(scope, ['application/x-www-form-urlencoded'], readMislabelled)
    addParser(scope, NDJSON, readLines)

    scope.post<{ Body: UncheckedBatch }>(
      '/api/t/batch',
      {
        bodyLimit,
        config: {
          bodyLimitSetting: 'BATCH_BODY_BYTES_MAX',
          bodyWanted: EVENTS_WANTED,
          takesEvents: true,
        },
        validatorCompiler: () => () => true,
        schema: { ...description, body: bodySchema, response: { 200: answerSchema, 400: refusalSchema } },
      },
      async (request, reply) => {
        const { body, source } = request
        // No parser has read a request without a content type and without a body.
        if (body == null) throw new BodyInvalid('The body is empty: send the events in it.')
        const receivedAt = new Date()
        const { events, refused, refusedCount } = checkBatch(body, bodyBytesMax, (json, fields) =>
          stampEvent(json, fields, receivedAt, source, contextIp(fields, policy, source)),
        )
        for (const { code, message } of refused) app.requests.refuse(code, message)
        if (events.length === 0 && isNotEmpty(refused)) {
          const refusal = refusalOf(refused, refusedCount)
          return reply.code(refusal.statusCode).send(refusal)
        }
        if (events.length > 0) void reply.header('frequency-ack', await app.publishAll(events, request))
        return { accepted: events.length, refused }
      },
    )
  })

  function addParser(scope: FastifyInstance, contentTypes: string[], read: typeof readBatch): void {
    scope.addContentTypeParser<Buffer>(contentTypes, { parseAs: 'buffer' }, (_, bytes, done) => {
      try {
        done(null, read(bytes, requestEventsMax))
      } catch (error) {
        done(error as Error)
      }
    })
  }
}

/** Reads JSON that is labelled as a form, as some clients label every body by default. */
function readMislabelled(body: Buffer, eventsMax: number): UncheckedBatch {
  if (!JSON_START.test(beginningOf(body))) throw new MediaTypeUnsupported(EVENTS_WANTED)
  return readBatch(body, eventsMax)
}

export default fp(trackBatch, {
  name: 'track-batch',
  dependencies: ['body', 'intake', 'requests', 'write-keys'],
})
