import { Type } from '@sinclair/typebox'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Config } from '../src/config/config.ts'
import { MethodNotAllowed } from '../src/errors.ts'
import { assertEventFields, stampEvent } from '../src/event/event.ts'
import { contextIp } from '../src/http/client-ip.ts'
import { deliveryIdOf, hookEvent, readHookBody, snsConfirmationUrl } from '../src/http/webhook.ts'
import { dropInvalidContentType } from './body.ts'

/** The second path is for senders that accept only a URL without a query. */
const PATHS = ['/api/hook/:name', '/api/hook/:name/:writeKey'] as const

const name = Type.String({ description: 'The name of the event.' })
const PARAMS = {
  [PATHS[0]]: Type.Object({ name }),
  [PATHS[1]]: Type.Object({ name, writeKey: Type.String({ description: 'The write key.' }) }),
}

const answerSchema = Type.Object({ success: Type.Literal(true) })

const description = {
  summary: "Take another service's webhook",
  description:
    'Any JSON, or a form, becomes the properties of an event. JSON that is not an object becomes the property `body`. If the sender gives an id of the delivery, the id becomes the messageId, so that a repeated delivery is archived once.',
  tags: ['events'],
  body: {},
}

interface Params {
  readonly name: string
  readonly writeKey?: string
}

/** `POST /api/hook/:name`: takes webhooks of other services, for example of Stripe or GitHub. */
async function hook(app: FastifyInstance, { batchBodyBytesMax: bodyLimit, ipPolicy }: Config): Promise<void> {
  await app.register(async scope => {
    scope.removeAllContentTypeParsers()
    scope.addHook('onRequest', dropInvalidContentType)
    scope.addContentTypeParser<Buffer>('*', { parseAs: 'buffer' }, (request, bytes, done) => {
      try {
        request.bodyJson = readHookBody(bytes, request.headers['content-type'])
        done(null, undefined)
      } catch (error) {
        done(error as Error)
      }
    })
    for (const url of PATHS) {
      addHook(scope, url)
      refuseOtherMethods(scope, url)
    }
  })

  function addHook(scope: FastifyInstance, url: (typeof PATHS)[number]): void {
    scope.post<{ Params: Params }>(
      url,
      {
        bodyLimit,
        config: {
          takesEvents: true,
          hasForeignHeaders: true,
          bodyLimitSetting: 'BATCH_BODY_BYTES_MAX',
        },
        schema: {
          ...description,
          operationId: url === PATHS[0] ? 'hook' : 'hook-with-key',
          params: PARAMS[url],
          response: { 200: answerSchema },
        },
        validatorCompiler: () => value => ({ value }),
      },
      async (request, reply) => {
        const { bodyJson, headers, params, source } = request
        logSnsConfirmation(request)
        const { json, fields } = hookEvent(params.name, deliveryIdOf(headers), bodyJson)
        assertEventFields(fields)
        const event = stampEvent(json, fields, new Date(), source, contextIp(fields, ipPolicy, source))
        void reply.header('frequency-ack', await scope.publish(event, request))
        return { success: true as const }
      },
    )
  }
}

/** Some services test a URL with GET first. They get 405, which says to use POST. */
function refuseOtherMethods(scope: FastifyInstance, url: (typeof PATHS)[number]): void {
  scope.route({
    method: ['GET', 'PUT', 'PATCH', 'DELETE'],
    url,
    schema: { hide: true },
    onRequest: (_, reply, done) => {
      void reply.header('allow', 'POST')
      done(new MethodNotAllowed('/api/hook', 'POST'))
    },
    handler: async () => {},
  })
}

/** Logs the URL and does not open it: any sender could make this server open any address. A person decides. */
function logSnsConfirmation({ bodyJson, headers, log, params }: FastifyRequest): void {
  const url = snsConfirmationUrl(headers, bodyJson)
  if (url === undefined) return
  const { name } = params as Params
  log.warn({ name, url }, 'Amazon SNS asks to confirm a subscription. If the topic is yours, open this URL.')
}

export default fp(hook, { name: 'hook', dependencies: ['body', 'intake', 'write-keys'] })
