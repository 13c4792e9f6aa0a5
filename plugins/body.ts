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
    /** The body as JSON; `body` is its parsed value. If the body was JSON, these are the received bytes. */
    bodyJson: Buffer | undefined
  }
}

const MEDIA_TYPE = /^[\w!#$&^.+-]+\/[\w!#$&^.+-]+\s*(?:;|$)/
const GZIP = new Set(['gzip', 'x-gzip'])

/**
 * Parses request bodies: JSON (also labelled as plain text) and forms, plain or gzipped. A route's `bodyLimit` is the
 * limit for the received bytes and for the unpacked bytes. Unpacking stops at the limit.
 */
async function body(app: FastifyInstance, { bodiesBytesMax }: Config): Promise<void> {
  const held = new HeldBodies(bodiesBytesMax)
  app.decorateRequest('bodyJson', undefined)
  app.removeAllContentTypeParsers()
  addParser('application/json', readJson)
  // A page may send text/plain without a preflight, and sendBeacon labels a string so.
  addParser('text/plain', readJson)
  addParser('application/x-www-form-urlencoded', readForm)
  app.addHook('preParsing', (request, reply, payload, done) => {
    const { 'content-encoding': encoding } = request.headers
    const codings = encoding === undefined ? [] : codingsOf(encoding)
    if (request.method === 'GET' || request.method === 'HEAD') done(null, payload)
    else if (codings.length > 1 || !codings.every(coding => GZIP.has(coding))) done(new EncodingUnsupported())
    else if (codings.length === 0 && held.isSmall(request.headers)) done(null, payload)
    else done(null, unpacked(payload, codings.length > 0, request.raw, reply.raw))
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

  /** The unpacked body, counted by `held`. */
  function unpacked(
    payload: RequestPayload,
    isGzip: boolean,
    request: IncomingMessage,
    response: ServerResponse,
  ): RequestPayload {
    const body: RequestPayload = isGzip ? createGunzip() : new PassThrough()
    // Fastify compares the limit with both lengths, and the header content-length with this one.
    body.receivedEncodedLength = 0
    payload.on('data', (chunk: Buffer) => {
      body.receivedEncodedLength = (body.receivedEncodedLength ?? 0) + chunk.length
    })
    payload.once('error', error => body.destroy(error))
    // Not `pipeline`: on an error it would destroy the request, and so the connection, before the answer is sent.
    payload.pipe(body as PassThrough)
    // If the body is never read, nobody else listens for errors, and an error would end the process.
    body.on('error', () => {})
    held.hold(body, request, response)
    response.once('close', () => {
      payload.unpipe(body as PassThrough)
      body.destroy()
      // Discards the rest of the body: the next request on the connection comes after it.
      payload.resume()
    })
    return body
  }
}

/**
 * Removes a content type that is not a media type. Fastify would refuse it before any parser. For routes that accept
 * any body.
 */
export function dropInvalidContentType({ headers }: FastifyRequest, _: FastifyReply, done: () => void): void {
  if (!MEDIA_TYPE.test(headers['content-type'] ?? '')) delete headers['content-type']
  done()
}

/**
 * The codings of a content-encoding, in lower case (RFC 9110, section 8.4.1). Without `identity` and empty list
 * elements.
 */
function codingsOf(encoding: string): string[] {
  return encoding
    .toLowerCase()
    .split(',')
    .map(coding => coding.trim())
    .filter(coding => coding !== '' && coding !== 'identity')
}

export default fp(body, { name: 'body' })
