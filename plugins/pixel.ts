import { Type } from '@sinclair/typebox'
import type { FastifyInstance, FastifyRequest, FastifySchema } from 'fastify'
import fp from 'fastify-plugin'
import type { Config } from '../src/config/config.ts'
import { assertEventFields, type Event, type EventChanges, stampEvent } from '../src/event/event.ts'
import { NameSet } from '../src/event/name-set.ts'
import { contextIp } from '../src/http/client-ip.ts'
import type { JsonBody } from '../src/http/read-body.ts'
import { assertCall, type CallType, callTypes } from '../src/segment/call.ts'
import { CallStamper, type Sender } from '../src/segment/call-event.ts'
import { readPixelQuery, readQuery } from '../src/segment/pixel.ts'

/** A transparent image of one pixel. */
const GIF = Buffer.from('R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7', 'base64')

const GIF_HEADERS = {
  'content-type': 'image/gif',
  'cache-control': 'no-store, no-cache, max-age=0, private',
  expires: '0',
  pragma: 'no-cache',
  // Cross-origin isolated pages load an image of another origin only with this header.
  'cross-origin-resource-policy': 'cross-origin',
}

const WITHOUT_KEY: EventChanges = { without: new NameSet(['writeKey']) }

const querySchema = Type.Object(
  {
    data: Type.Optional(
      Type.String({ description: 'The call as JSON, in base64 (also URL-safe) or plain.' }),
    ),
    writeKey: Type.Optional(Type.String()),
  },
  { additionalProperties: true },
)
const eventQuerySchema = Type.Object(
  { event: Type.String({ description: 'What happened.' }), writeKey: Type.Optional(Type.String()) },
  { additionalProperties: true },
)

const TAG = { tags: ['images'] }
const response = {
  200: { description: 'A GIF of one pixel.', content: { 'image/gif': { schema: Type.String() } } },
}

interface Pixel {
  readonly url: string
  readonly schema: FastifySchema
  read(query: string): JsonBody
  eventOf(json: Buffer, value: unknown, sender: Sender): Event
}

/**
 * Events sent by the URL of an image, for mails and pages without scripts:
 *
 * - `GET /pixel/v1/track?data=…` (in Segment's specification `/v1/pixel/track`): a call in base64 or in the query.
 * - `GET /api/t.gif?event=…`: an event in the query, as in a form.
 *
 * Answers with a GIF when the event is durable. A refusal is an error status, not a GIF: the image shows nothing, so
 * the status is the only sign of success.
 */
async function pixel(app: FastifyInstance, { ipPolicy: policy }: Config): Promise<void> {
  for (const type of callTypes.filter(each => each !== 'merge')) {
    addPixel(callPixel(type, `/pixel/v1/${type}`, false))
    addPixel(callPixel(type, `/v1/pixel/${type}`, true))
  }
  addPixel(eventPixel)

  function addPixel({ url, schema, read, eventOf }: Pixel): void {
    app.get(
      url,
      {
        exposeHeadRoute: false,
        config: { takesEvents: true },
        schema: { ...schema, response },
        validatorCompiler: () => value => ({ value }),
        // Before the hook of `write-keys`, which looks for the key in the body.
        preValidation: async (request: FastifyRequest) => {
          const { json, value } = read(request.url.slice(request.url.indexOf('?') + 1 || request.url.length))
          request.bodyJson = json
          request.body = value
        },
      },
      async (request, reply) => {
        const { bodyJson, body, source, ip: address } = request
        const event = eventOf(bodyJson as Buffer, body, { policy, source, address })
        const durability = await app.publish(event, request)
        return reply.headers(GIF_HEADERS).header('frequency-ack', durability).send(GIF)
      },
    )
  }
}

function callPixel(type: CallType, url: string, hide: boolean): Pixel {
  const summary = `Take one ${type} call from the URL of an image`
  return {
    url,
    schema: { ...TAG, hide, summary, operationId: `pixel-${type}`, querystring: querySchema },
    read: readPixelQuery,
    eventOf(json, value, sender) {
      assertCall(type, value)
      return new CallStamper({ receivedAt: new Date(), sender }).event(type, json, value)
    },
  }
}

const eventPixel: Pixel = {
  url: '/api/t.gif',
  schema: {
    ...TAG,
    summary: 'Take an event from the URL of an image',
    operationId: 'track-pixel',
    querystring: eventQuerySchema,
  },
  read: readQuery,
  eventOf(json, value, { policy, source, address }) {
    assertEventFields(value)
    const ip = contextIp(value, policy, source, address)
    return stampEvent(json, value, new Date(), source ?? WITHOUT_KEY, ip)
  },
}

export default fp(pixel, { name: 'pixel', dependencies: ['body', 'intake'] })
