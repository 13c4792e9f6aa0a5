import { type ServerResponse, STATUS_CODES } from 'node:http'
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
import { pathOf, shownPathOf } from '../src/http/request-path.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The setting with the limit of the route's body. Default: BODY_BYTES_MAX */
    bodyLimitSetting?: string
    /** The route's body and content types, as the object of "Send …". Default: an event as JSON or as a form */
    bodyWanted?: string
  }
}

const EVENT_WANTED = 'the event with content-type application/json or application/x-www-form-urlencoded'
/** `Retry-After` of a 503, in seconds. */
export const RETRY_AFTER_S = 5
/** How long a connection with an invalid request stays open for answers to earlier requests on it. */
const EARLIER_ANSWERS_MS_MAX = 30_000
const METHODS: HTTPMethods[] = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']

/** Replaces Fastify's own errors by ours, whose messages say what to correct. */
function translated(error: FastifyError, request: FastifyRequest): FastifyError {
  if (error.code?.startsWith('Z_'))
    return new BodyInvalid('The body cannot be unpacked: it is not gzip, or its end is missing.')
  switch (error.code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new BodyTooLarge(
        request.routeOptions.bodyLimit,
        request.routeOptions.config.bodyLimitSetting ?? 'BODY_BYTES_MAX',
      )
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
    case 'FST_ERR_CTP_EMPTY_TYPE':
      return new MediaTypeUnsupported(request.routeOptions.config.bodyWanted ?? EVENT_WANTED)
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return new BodyInvalid('The length of the body is not its content-length.')
    default:
      return error
  }
}

/**
 * Answers every refusal with `{ statusCode, code, error, message }`. An error of the server itself gives no details.
 */
async function errors(app: FastifyInstance, { isOwnServer }: { isOwnServer: boolean }): Promise<void> {
  app.setErrorHandler((thrown: FastifyError, request: FastifyRequest, reply: FastifyReply) => {
    const error = translated(thrown, request)
    const statusCode = error.statusCode ?? 500
    if (statusCode !== 500) app.requests.refuse(error.code, error.message)
    if (statusCode === 503) void reply.header('retry-after', RETRY_AFTER_S)
    if (statusCode !== 500) {
      const { code, message } = error
      // Not the error itself: Fastify would pass it on to the error handler of a server around this plugin.
      return reply.code(statusCode).send({ statusCode, code, error: STATUS_CODES[statusCode], message })
    }
    request.log.error({ err: error }, 'A request failed.')
    return reply.code(500).send({
      statusCode,
      code: 'FRQ_INTERNAL',
      error: 'Internal Server Error',
      message: 'The server has an internal error. Its log has the details.',
    })
  })

  function notFound({ method, url }: FastifyRequest, reply: FastifyReply): FastifyError {
    const path = shownPathOf(url)
    const allowed = METHODS.filter(each => app.hasRoute({ method: each, url: pathOf(url) })).join(', ')
    if (allowed === '') return new RouteNotFound(method, path)
    void reply.header('allow', allowed)
    return new MethodNotAllowed(path, allowed)
  }

  // Before the body is read: a wrong path or method has to be corrected first, whatever the body is.
  app.addHook('onRequest', (request, reply, done) => {
    // After a request with `upgrade` Node reads no further request on the connection. The client must open another.
    if (request.headers.upgrade !== undefined) void reply.header('connection', 'close')
    if (request.headers.host === undefined && request.raw.httpVersion === '1.1') done(new RequestInvalid())
    else if (request.is404) done(notFound(request, reply))
    else done()
  })
  // Without a prefix, unknown paths of another server are not ours.
  if (!isOwnServer && app.prefix === '') return
  // For routes that call `callNotFound` themselves, and for unknown paths below a prefix.
  app.setNotFoundHandler(async (request, reply) => {
    throw notFound(request, reply)
  })
}

const failing = new WeakSet<Socket>()

/**
 * Answers bytes that are not a valid request with a refusal in our usual form, after the answers to earlier requests,
 * and closes the connection.
 */
export function answerClientError(error: NodeJS.ErrnoException, socket: Socket): void {
  // Further bytes on the connection give further errors. Only the first is answered.
  if (failing.has(socket)) return
  failing.add(socket)
  const deadline = setTimeout(() => socket.destroy(error), EARLIER_ANSWERS_MS_MAX).unref()
  socket.once('close', () => clearTimeout(deadline))
  answerInTurn(error, socket)
}

/** Waits for the answers to earlier requests: the client would take this answer for one of theirs. */
function answerInTurn(error: NodeJS.ErrnoException, socket: Socket): void {
  // No answer if the client has closed, or has sent nothing: browsers open connections in advance.
  const isReset = error.code === 'ECONNRESET' || socket.bytesRead === 0
  const pending = isReset ? undefined : pendingOn(socket)
  if (pending !== undefined) {
    pending.once('close', () => answerInTurn(error, socket))
    return
  }
  // The socket closes by itself after the last answer.
  if (socket.writableEnded && !isReset) return
  if (socket.writable && !isReset) socket.write(responseOf(error))
  socket.destroy(error)
}

/**
 * The response that the connection sends now or next, if its request is complete. Node has no public member for it:
 * `_httpMessage` is internal.
 */
function pendingOn(socket: Socket & { _httpMessage?: ServerResponse | null }): ServerResponse | undefined {
  const response = socket._httpMessage
  return response?.req.complete ? response : undefined
}

function responseOf(error: NodeJS.ErrnoException): string {
  const { statusCode = 400, code, message } = clientError(error)
  const label = STATUS_CODES[statusCode]
  const body = JSON.stringify({ statusCode, code, error: label, message })
  const retry = statusCode === 503 ? `retry-after: ${RETRY_AFTER_S}\r\n` : ''
  return (
    `HTTP/1.1 ${statusCode} ${label}\r\nconnection: close\r\n${retry}content-type: application/json; charset=utf-8\r\n` +
    `content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`
  )
}

function clientError({ code }: NodeJS.ErrnoException): FastifyError {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return new RequestTooSlow()
  if (code === 'HPE_HEADER_OVERFLOW') return new HeadersTooLarge()
  return new RequestInvalid()
}

export default fp(errors, { name: 'errors', dependencies: ['requests'] })
