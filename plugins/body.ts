import { createGunzip } from 'node:zlib'
import type { FastifyInstance, FastifyReply, FastifyRequest, RequestPayload } from 'fastify'
import fp from 'fastify-plugin'
import { type JsonBody, readForm, readJson } from '../src/body.ts'
import { EncodingUnsupported } from '../src/errors.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** The body as JSON, in the bytes that came where it came as JSON; `body` is what it says. */
    bodyJson: Buffer | undefined
  }
}

const GZIP = new Set(['gzip', 'x-gzip'])

/**
 * What bodies the routes take: JSON, also as plain text, and forms, plain or gzipped. A route's `bodyLimit` holds for what
 * comes over the wire and for what it unpacks to, and unpacking ends there.
 */
async function body(app: FastifyInstance): Promise<void> {
  app.decorateRequest('bodyJson', undefined)
  app.removeAllContentTypeParsers()
  addParser('application/json', readJson)
  // A page may send this one without a preflight: it is what sendBeacon gives a text.
  addParser('text/plain', readJson)
  addParser('application/x-www-form-urlencoded', readForm)
  app.addHook('preParsing', unpack)

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
}

function unpack(
  request: FastifyRequest,
  reply: FastifyReply,
  payload: RequestPayload,
  done: (error: Error | null, payload?: RequestPayload) => void,
): void {
  const encoding = request.headers['content-encoding']
  if (encoding === undefined || encoding === 'identity') {
    done(null, payload)
    return
  }
  if (!GZIP.has(encoding.toLowerCase())) {
    done(new EncodingUnsupported())
    return
  }
  const gunzip = createGunzip()
  const unpacked: RequestPayload = gunzip
  // Fastify holds the limit against both lengths, and the content-length against this one.
  unpacked.receivedEncodedLength = 0
  payload.on('data', (chunk: Buffer) => {
    unpacked.receivedEncodedLength = (unpacked.receivedEncodedLength ?? 0) + chunk.length
  })
  payload.once('error', error => gunzip.destroy(error))
  // Not a pipeline: that would destroy the request, and with it the connection, before it is answered.
  payload.pipe(gunzip)
  // A route that reads no body, or refuses it before, listens for nothing.
  gunzip.on('error', () => {})
  reply.raw.once('close', () => {
    payload.unpipe(gunzip)
    gunzip.destroy()
    // The next request on the connection stands behind what is left of this one.
    payload.resume()
  })
  done(null, unpacked)
}

export default fp(body, { name: 'body' })
