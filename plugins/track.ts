import { isUtf8 } from 'node:buffer'
import type { FastifyInstance, FastifyReply, FastifyRequest, HTTPMethods } from 'fastify'
import fp from 'fastify-plugin'
import { parse as parseJson } from 'secure-json-parse'
import { BodyInvalid, MethodNotAllowed } from '../src/errors.ts'
import { assertEventFields, type EventFields, eventSchema, stampEvent } from '../src/event.ts'
import { parseForm } from '../src/form.ts'

const PATH = '/api/t'
const OTHER_METHODS: HTTPMethods[] = ['GET', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE']
const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf])

declare module 'fastify' {
  interface FastifyRequest {
    /** The body's event as JSON, in the bytes that came where it came as JSON. */
    eventJson: Buffer | undefined
  }
}

async function parseJsonBody(request: FastifyRequest, body: Buffer): Promise<unknown> {
  refuseOtherEncodings(body)
  const json = body.subarray(0, 3).equals(BYTE_ORDER_MARK) ? body.subarray(3) : body
  request.eventJson = json
  try {
    return parseJson(json.toString(), { protoAction: 'error', constructorAction: 'error' })
  } catch (cause) {
    throw new BodyInvalid(`The body is not JSON that can be taken: ${(cause as Error).message}.`, { cause })
  }
}

async function parseFormBody(request: FastifyRequest, body: Buffer): Promise<unknown> {
  refuseOtherEncodings(body)
  const fields = parseForm(body.toString())
  request.eventJson = Buffer.from(JSON.stringify(fields))
  return fields
}

function refuseOtherEncodings(body: Buffer): void {
  if (!isUtf8(body)) throw new BodyInvalid('The body is not UTF-8: send it in UTF-8.')
}

/** Runs before the body is read: whatever that is, the method has to be mended first. */
async function refuseMethod(_: FastifyRequest, reply: FastifyReply): Promise<never> {
  void reply.header('allow', 'POST')
  throw new MethodNotAllowed(PATH, 'POST')
}

async function track(app: FastifyInstance): Promise<void> {
  app.decorateRequest('eventJson', undefined)
  await app.register(async scope => {
    scope.removeAllContentTypeParsers()
    scope.addContentTypeParser('application/json', { parseAs: 'buffer' }, parseJsonBody)
    scope.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'buffer' }, parseFormBody)

    scope.post<{ Body: EventFields }>(
      PATH,
      { schema: { body: eventSchema }, validatorCompiler: () => validateEvent },
      async (request, reply) => {
        const event = stampEvent(request.eventJson as Buffer, request.body, new Date())
        const durability = await app.queue.publish(event)
        return reply.header('frequency-ack', durability).type('text/plain').send('200')
      },
    )

    scope.route({ method: OTHER_METHODS, url: PATH, onRequest: refuseMethod, handler: refuseMethod })
  })
}

function validateEvent(value: unknown): { value: EventFields } | { error: Error } {
  try {
    assertEventFields(value)
    return { value }
  } catch (error) {
    return { error: error as Error }
  }
}

export default fp(track, { name: 'track', dependencies: ['queue'] })
