import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest, HTTPMethods } from 'fastify'
import fp from 'fastify-plugin'
import {
  BodyInvalid,
  BodyTooLarge,
  HeadersTooLarge,
  MediaTypeUnsupported,
  MethodNotAllowed,
  RequestInvalid,
  RequestTooSlow,
  RouteNotFound,
} from '../src/errors.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The setting that bounds the route's body. @default BODY_BYTES_MAX */
    bodyLimitSetting?: string
  }
}

const RETRY_AFTER_S = 5
const METHODS: HTTPMethods[] = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']

/** Our words for what Fastify itself refuses, so that every refusal says what to mend. */
function translated(error: FastifyError, request: FastifyRequest): FastifyError {
  if (error.code?.startsWith('Z_'))
    return new BodyInvalid('The body cannot be unpacked: it is not whole, or no gzip.')
  switch (error.code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new BodyTooLarge(
        request.routeOptions.bodyLimit,
        request.routeOptions.config.bodyLimitSetting ?? 'BODY_BYTES_MAX',
      )
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
    case 'FST_ERR_CTP_EMPTY_TYPE':
      return new MediaTypeUnsupported()
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return new BodyInvalid('The body is not as long as its content-length says.')
    default:
      return error
  }
}

/** Every refusal is `{ statusCode, code, error, message }`; what is our own fault says no more than that. */
async function errors(app: FastifyInstance): Promise<void> {
  app.setErrorHandler((thrown: FastifyError, request: FastifyRequest, reply: FastifyReply) => {
    const error = translated(thrown, request)
    const statusCode = error.statusCode ?? 500
    if (statusCode === 503) void reply.header('retry-after', RETRY_AFTER_S)
    if (statusCode !== 500) return reply.code(statusCode).send(error)
    request.log.error({ err: error }, 'A request failed.')
    return reply.code(500).send({
      statusCode,
      code: 'FRQ_INTERNAL',
      error: 'Internal Server Error',
      message: 'The server made a mistake; it is in its log.',
    })
  })

  // Before the body: whatever that is, the path or the method has to be mended first.
  app.addHook('onRequest', (request, reply, done) => {
    if (!request.is404) {
      done()
      return
    }
    const path = request.url.split('?', 1)[0] as string
    const allowed = METHODS.filter(method => app.hasRoute({ method, url: path })).join(', ')
    if (allowed === '') {
      done(new RouteNotFound(request.method, path))
      return
    }
    void reply.header('allow', allowed)
    done(new MethodNotAllowed(path, allowed))
  })
}

/** Answers what never became a request, in the same shape, and closes its connection. */
export function answerClientError(error: NodeJS.ErrnoException, socket: Socket): void {
  if (socket.writable && error.code !== 'ECONNRESET') {
    const { statusCode = 400, code, message } = clientError(error)
    const label = STATUS_CODES[statusCode]
    const body = JSON.stringify({ statusCode, code, error: label, message })
    socket.write(
      `HTTP/1.1 ${statusCode} ${label}\r\nconnection: close\r\ncontent-type: application/json; charset=utf-8\r\n` +
        `content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    )
  }
  socket.destroy(error)
}

function clientError({ code }: NodeJS.ErrnoException): FastifyError {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return new RequestTooSlow()
  if (code === 'HPE_HEADER_OVERFLOW') return new HeadersTooLarge()
  return new RequestInvalid()
}

export default fp(errors, { name: 'errors' })
