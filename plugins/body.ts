import type { IncomingMessage, ServerResponse } from 'node:http'
import { PassThrough } from 'node:stream'
import { createGunzip } from 'node:zlib'
import type { FastifyInstance, FastifyReply, FastifyRequest, RequestPayload } from 'fastify'
import fp from 'fastify-plugin'
import type { Config } from '../src/config/config.ts'
import { EncodingUnsupported } from '../src/errors.ts'
import { HeldBodies } from '../src/http/held-bodies.ts'
import { type JsonBody, readForm, readJson } from '../src/http/read-body.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** The body as JSON, in the bytes that came where it came as JSON; `body` is what it says. */
    bodyJson: Buffer | undefined
  }
}

const MEDIA_TYPE = /^[\w!#$&^.+-]+\/[\w!#$&^.+-]+\s*(?:;|$)/
const GZIP = new Set(['gzip', 'x-gzip'])

/**
 * What bodies the routes take: JSON, also as plain text, and forms, plain or gzipped. A route's `bodyLimit` holds for what
 * comes over the wire and for what it unpacks to, and unpacking ends there.
 */
async function body(app: FastifyInstance, { bodiesBytesMax }: Config): Promise<void> {
  const held = new HeldBodies(bodiesBytesMax)
  app.decorateRequest('bodyJson', undefined)
  app.removeAllContentTypeParsers()
  addParser('application/json', readJson)
  // A page may send this one without a preflight: it is what sendBeacon gives a text.
  addParser('text/plain', readJson)
  addParser('application/x-www-form-urlencoded', readForm)
  app.addHook('preParsing', (request, reply, payload, done) => {
    const { 'content-encoding': encoding } = request.headers
    const codings = encoding === undefined ? [] : codingsOf(encoding)
    if (request.method === 'GET' || request.method === 'HEAD') done(null, payload)
    else if (codings.length > 1 || !codings.every(coding => GZIP.has(coding))) done(new EncodingUnsupported())
    else if (codings.length === 0 && held.isSmall(request.headers)) done(null, payload)
    else done(null, received(payload, codings.length > 0, request.raw, reply.raw))
  })

  function addParser(contentType: string, read: (body: Buffer) => JsonBody): void {
    app.addContentTypeParser<Buffer>(contentType, { parseAs: 'buffer' }, (request, bytes, done) => {
      try {
        const { json, value } = read(bytes)
        request.bodyJson = json
        done(null, value)
      } catch (error) {
        done(error as Error)
      }
    })
  }

  /** The body as it was before it was encoded, which is counted. */
  function received(
    payload: RequestPayload,
    isGzip: boolean,
    request: IncomingMessage,
    response: ServerResponse,
  ): RequestPayload {
    const body: RequestPayload = isGzip ? createGunzip() : new PassThrough()
    // Fastify holds the limit against both lengths, and the content-length against this one.
    body.receivedEncodedLength = 0
    payload.on('data', (chunk: Buffer) => {
      body.receivedEncodedLength = (body.receivedEncodedLength ?? 0) + chunk.length
    })
    payload.once('error', error => body.destroy(error))
    // Not a pipeline: that would destroy the request, and with it the connection, before it is answered.
    payload.pipe(body as PassThrough)
    // A route that reads no body, or refuses it before, listens for nothing.
    body.on('error', () => {})
    held.hold(body, request, response)
    response.once('close', () => {
      payload.unpipe(body as PassThrough)
      body.destroy()
      // The next request on the connection stands behind what is left of this one.
      payload.resume()
    })
    return body
  }
}

/** Fastify refuses what is no media type before any parser sees it. For routes that take any body. */
export function dropInvalidContentType({ headers }: FastifyRequest, _: FastifyReply, done: () => void): void {
  if (!MEDIA_TYPE.test(headers['content-type'] ?? '')) delete headers['content-type']
  done()
}

/** What it was encoded with, in lower case (RFC 9110, section 8.4.1); an empty list element is none. */
function codingsOf(encoding: string): string[] {
  return encoding
    .toLowerCase()
    .split(',')
    .map(coding => coding.trim())
    .filter(coding => coding !== '' && coding !== 'identity')
}

export default fp(body, { name: 'body' })
