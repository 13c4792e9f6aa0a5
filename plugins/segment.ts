import { type TSchema, Type } from '@sinclair/typebox'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Config } from '../src/config/config.ts'
import { readJsonOrForm, textOf } from '../src/http/read-body.ts'
import { isNotEmpty, readWhole, refusalOf } from '../src/http/request-events.ts'
import { validatorOf } from '../src/http/validator.ts'
import {
  anyCallSchema,
  assertBatch,
  assertCall,
  type BatchFields,
  batchSchema,
  type CallFields,
  type CallType,
  callSchemas,
  callTypes,
  typeOf,
} from '../src/segment/call.ts'
import { stampCallBatch } from '../src/segment/call-batch.ts'
import { CallStamper } from '../src/segment/call-event.ts'
import { dropInvalidContentType } from './body.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Whether the batch has a key that would poison a prototype. Then each call is parsed and checked by itself. */
    isBodyPoisoned: boolean
  }
}

/** The paths of the specification, the short ones of browser libraries, and those of other vendors. */
const BATCH_PATHS = [
  '/v1/batch',
  '/v1/import',
  '/v1/b',
  '/v1/batch/b',
  '/beacon/v1/batch',
  '/api/s/s2s/batch',
]
/** The route `/v1/call` takes a call of any type, by its member `type`. */
const ANY_CALL = 'call'
/** `/v1/m` is where analytics.js sends its own metrics. */
const HAS_NO_SHORT_PATH: ReadonlySet<string> = new Set([ANY_CALL, 'merge'])

function callPaths(type: string): string[] {
  const short = HAS_NO_SHORT_PATH.has(type) ? [] : [`/v1/${type.charAt(0)}`]
  return [`/v1/${type}`, ...short, `/api/s/${type}`, `/api/s/s2s/${type}`]
}

/** Each path with POST and PUT: some clients use PUT (analytics for Unity). */
function methodsAndPaths(paths: readonly string[]) {
  return (['POST', 'PUT'] as const).flatMap(method => paths.map(path => [method, path] as const))
}

const successSchema = Type.Object({ success: Type.Literal(true) })

const refusedSchema = Type.Optional(
  Type.Array(
    Type.Object({
      index: Type.Integer({ description: 'Position of the call in the batch, from 0.' }),
      messageId: Type.Optional(Type.String()),
      code: Type.String(),
      message: Type.String({ description: 'What is wrong, and how to correct it.' }),
    }),
    { description: 'The refused calls, at most the first 1,000. Nothing of them is archived.' },
  ),
)

const batchSuccessSchema = Type.Object({ success: Type.Literal(true), refused: refusedSchema })

const batchRefusalSchema = Type.Object({
  statusCode: Type.Integer(),
  code: Type.String(),
  error: Type.String(),
  message: Type.String(),
  refused: refusedSchema,
})

/**
 * The Segment HTTP Tracking API. Answers when all events are durable. Its libraries retry only after 429 or 5xx. So a
 * batch with some refused calls gets 200 and a list of them; a batch with refused calls only gets 400.
 */
async function segment(app: FastifyInstance, config: Config): Promise<void> {
  app.decorateRequest('isBodyPoisoned', false)
  await app.register(async scope => {
    addParser(scope, parseCall)
    for (const type of callTypes) addCalls(scope, type, callSchemas[type], () => type, config)
    addCalls(scope, ANY_CALL, anyCallSchema, typeOf, config)
  })
  await app.register(async scope => {
    addParser(scope, parseBatch)
    addBatch(scope, config)
  })
}

/**
 * Accepts any content type: browsers label JSON as text/plain to avoid a preflight, curl as a form, others not at
 * all.
 */
function addParser(
  scope: FastifyInstance,
  parse: (request: FastifyRequest, bytes: Buffer) => { json: Buffer; value: unknown },
): void {
  scope.removeAllContentTypeParsers()
  scope.addHook('onRequest', dropInvalidContentType)
  scope.addContentTypeParser<Buffer>('*', { parseAs: 'buffer' }, (request, bytes, done) => {
    try {
      const { json, value } = parse(request, bytes)
      request.bodyJson = json
      done(null, value)
    } catch (error) {
      done(error as Error)
    }
  })
}

function parseCall({ headers }: FastifyRequest, bytes: Buffer) {
  return readJsonOrForm(bytes, headers['content-type'])
}

function parseBatch(request: FastifyRequest, bytes: Buffer) {
  const whole = readWhole(textOf(bytes))
  request.isBodyPoisoned = whole.isPoisoned
  return whole
}

/** @param typeOf returns the type of a call from its body. The route answers with the error that it throws. */
function addCalls(
  scope: FastifyInstance,
  name: string,
  schema: TSchema,
  typeOf: (body: unknown) => CallType,
  config: Config,
): void {
  const { segmentEventBytesMax, ipPolicy: policy } = config
  const assert: (value: unknown) => asserts value is CallFields = value => assertCall(typeOf(value), value)
  const validate = validatorOf(assert)
  for (const [method, url] of methodsAndPaths(callPaths(name))) {
    scope.route<{ Body: CallFields }>({
      method,
      url,
      bodyLimit: segmentEventBytesMax,
      config: { takesEvents: true, bodyLimitSetting: 'SEGMENT_EVENT_BYTES_MAX' },
      schema: { ...describeCall(name, method, url), body: schema, response: { 200: successSchema } },
      validatorCompiler: () => validate,
      handler: async (request, reply) => {
        const { bodyJson, body, source, ip: address } = request
        const stamper = new CallStamper({ receivedAt: new Date(), sender: { policy, source, address } })
        const event = stamper.event(typeOf(body), bodyJson as Buffer, body)
        void reply.header('frequency-ack', await scope.publish(event, request))
        return { success: true as const }
      },
    })
  }
}

function addBatch(scope: FastifyInstance, config: Config): void {
  const {
    segmentEventBytesMax: eventBytesMax,
    segmentBatchBytesMax: batchBytesMax,
    ipPolicy: policy,
  } = config
  const validate = validatorOf(assertBatch)
  for (const [method, url] of methodsAndPaths(BATCH_PATHS)) {
    scope.route<{ Body: BatchFields }>({
      method,
      url,
      bodyLimit: batchBytesMax,
      config: { takesEvents: true, bodyLimitSetting: 'SEGMENT_BATCH_BYTES_MAX' },
      schema: {
        ...describeBatch(method, url),
        body: batchSchema,
        response: { 200: batchSuccessSchema, 400: batchRefusalSchema },
      },
      validatorCompiler: () => validate,
      handler: async (request, reply) => {
        const { bodyJson, body, isBodyPoisoned, source, ip: address } = request
        const batch = { json: bodyJson as Buffer, value: body, isPoisoned: isBodyPoisoned }
        const sender = { policy, source, address }
        const limits = { eventBytesMax, batchBytesMax }
        const { events, refused } = stampCallBatch(batch, limits, { receivedAt: new Date(), sender })
        for (const { code, message } of refused) scope.requests.refuse(code, message)
        if (events.length === 0 && isNotEmpty(refused)) {
          const refusal = refusalOf(refused, body.batch.length)
          return reply.code(refusal.statusCode).send(refusal)
        }
        if (events.length > 0) void reply.header('frequency-ack', await scope.publishAll(events, request))
        return { success: true as const, ...(refused.length > 0 && { refused }) }
      },
    })
  }
}

const TAG = { tags: ['segment'], consumes: ['application/json'] }

/** Only the paths of the specification are in the API reference. */
function describeCall(name: string, method: string, url: string) {
  if (method !== 'POST' || url !== `/v1/${name}`) return { hide: true }
  const summary = name === ANY_CALL ? 'Take one call of any type' : `Take one ${name} call`
  return { ...TAG, summary, operationId: `segment-${name}` }
}

function describeBatch(method: string, url: string) {
  if (method !== 'POST' || url !== BATCH_PATHS[0]) return { hide: true }
  const description =
    'Up to 2,500 calls. Answers when all valid calls are durable, and lists the refused ones. If all calls are refused, the status is 400.'
  return { ...TAG, summary: 'Take several calls', operationId: 'segment-batch', description }
}

export default fp(segment, { name: 'segment', dependencies: ['body', 'intake', 'requests'] })
