import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
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
    /** The setting that bounds the route's body. @default BODY_BYTES_MAX */
    bodyLimitSetting?: string
    /** What the route takes, with its content types, to follow on the word send. @default an event, as JSON or as a form */
    bodyWanted?: string
  }
}

const EVENT_WANTED = 'the event with content-type application/json or application/x-www-form-urlencoded'
const RETRY_AFTER_S = 5
/** How long a connection that is to be closed waits for answers that its client has still to get. */
const TURN_MS_MAX = 30_000
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
      return new MediaTypeUnsupported(request.routeOptions.config.bodyWanted ?? EVENT_WANTED)
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
    if (statusCode !== 500) app.requests.refuse(error.code, error.message)
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

  // Node would answer what it cannot expect with a 417 that says nothing. A server may ignore it (RFC 9110, 10.1.1).
  app.server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
    app.server.emit('request', request, response)
  })

  function nothingAt({ method, url }: FastifyRequest, reply: FastifyReply): FastifyError {
    const path = shownPathOf(url)
    const allowed = METHODS.filter(each => app.hasRoute({ method: each, url: pathOf(url) })).join(', ')
    if (allowed === '') return new RouteNotFound(method, path)
    void reply.header('allow', allowed)
    return new MethodNotAllowed(path, allowed)
  }

  // Before the body: whatever that is, the path or the method has to be mended first.
  app.addHook('onRequest', (request, reply, done) => {
    // Node reads no further request after one that would upgrade, and would leave the next unanswered.
    if (request.headers.upgrade !== undefined) void reply.header('connection', 'close')
    if (request.headers.host === undefined && request.raw.httpVersion === '1.1') done(new RequestInvalid())
    else if (request.is404) done(nothingAt(request, reply))
    else done()
  })
  // For routes that find only later that they have no answer.
  app.setNotFoundHandler(async (request, reply) => {
    throw nothingAt(request, reply)
  })
}

const failing = new WeakSet<Socket>()

/** Answers what never became a request, in the same shape and in its turn, and closes its connection. */
export function answerClientError(error: NodeJS.ErrnoException, socket: Socket): void {
  // Whatever else comes on the connection is an error as well.
  if (failing.has(socket)) return
  failing.add(socket)
  const patience = setTimeout(() => socket.destroy(error), TURN_MS_MAX).unref()
  socket.once('close', () => clearTimeout(patience))
  answerInTurn(error, socket)
}

/** Requests before it may still be answered, and their client would take this answer for theirs. */
function answerInTurn(error: NodeJS.ErrnoException, socket: Socket): void {
  // Where nothing was asked, as on the connections that browsers open ahead, there is nothing to answer.
  const isReset = error.code === 'ECONNRESET' || socket.bytesRead === 0
  const pending = isReset ? undefined : pendingOn(socket)
  if (pending !== undefined) {
    pending.once('close', () => answerInTurn(error, socket))
    return
  }
  // It closes by itself when the last answer is out.
  if (socket.writableEnded && !isReset) return
  if (socket.writable && !isReset) socket.write(responseOf(error))
  socket.destroy(error)
}

/** The next response of the connection, where its request has come whole. Node keeps it in a member of its own. */
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
