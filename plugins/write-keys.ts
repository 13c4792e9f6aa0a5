import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import type { Config } from '../src/config/config.ts'
import { WriteKeyInvalid } from '../src/errors.ts'
import type { Source } from '../src/event/source.ts'
import { openWriteKeys, type WriteKeys } from '../src/http/known-keys.ts'
import { isLoopbackName } from '../src/live/viewer-access.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Undefined if no keys are set: anybody may send events. */
    writeKeys: WriteKeys | undefined
  }
  interface FastifyRequest {
    /** The source of the request's write key. Set before validation; undefined if no keys are set. */
    source: Source | undefined
  }
  interface FastifyContextConfig {
    /** The route takes events: it checks a write key, has rate limits, and answers pages of CORS_ORIGINS. */
    takesEvents?: boolean
    /** Senders use `authorization` for their own purposes, so a key in the URL is preferred to one in a header. */
    hasForeignHeaders?: boolean
  }
}

/**
 * Checks the write key of requests that send events, if keys are set. A key in a header, the query or the path is
 * checked before the body is read; a key in the body is checked after parsing, before validation.
 */
async function writeKeys(app: FastifyInstance, config: Config): Promise<void> {
  const keys = await openWriteKeys(config, app.log)
  app.decorate('writeKeys', keys)
  app.decorateRequest('source', undefined)
  if (keys === undefined) {
    if (!isLoopbackName(config.host))
      app.log.warn({ host: config.host }, 'Anybody who reaches this server may send events: set WRITE_KEYS.')
    return
  }
  app.addHook('onClose', () => keys.close())

  async function authenticateHead(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const inUrl = memberOf(request.params) ?? memberOf(request.query)
    const inHeaders = keyInHeaders(request)
    const prefersUrl = request.routeOptions.config.hasForeignHeaders === true
    const key = prefersUrl ? (inUrl ?? inHeaders) : (inHeaders ?? inUrl)
    if (key !== undefined) request.source = sourceOf(key, request, reply)
  }

  async function authenticateBody(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    request.source ??= sourceOf(memberOf(request.body), request, reply)
  }

  function sourceOf(key: unknown, request: FastifyRequest, reply: FastifyReply): Source {
    const source = typeof key === 'string' ? keys?.sourceOf(key) : undefined
    if (source !== undefined) return source
    // Not Basic: browsers would ask their user for a password.
    void reply.header('www-authenticate', 'Bearer')
    throw new WriteKeyInvalid(
      key === undefined
        ? `A write key is required: ${placesOf(request)}.`
        : 'The write key is unknown: use one of WRITE_KEYS or WRITE_KEYS_FILE of this server.',
    )
  }

  app.addHook('onRoute', (route: RouteOptions) => {
    if (!route.config?.takesEvents) return
    route.onRequest = [...[route.onRequest ?? []].flat(), authenticateHead]
    route.preValidation = [...[route.preValidation ?? []].flat(), authenticateBody]
  })
}

/** Where a route takes a key. A webhook's body is its sender's, and a GET has none. */
function placesOf({ method, routeOptions: { config } }: FastifyRequest): string {
  const inHeaders = 'in the header X-Write-Key, as Bearer token, as user name of Basic authentication'
  if (config.hasForeignHeaders === true)
    return `at the end of the path (/api/hook/NAME/KEY), in the query (?writeKey=KEY), or ${inHeaders.replace(', as user', ' or as user')}`
  return method === 'GET'
    ? `${inHeaders}, or as writeKey in the query`
    : `${inHeaders}, or as writeKey in the query or the body`
}

function keyInHeaders({ headers }: FastifyRequest): string | undefined {
  const own = headers['x-write-key']
  if (typeof own === 'string' && own !== '') return own
  const [, scheme, credentials = ''] = /^(basic|bearer) +(\S+) *$/i.exec(headers.authorization ?? '') ?? []
  if (scheme === undefined) return undefined
  if (scheme.toLowerCase() === 'bearer') return credentials
  return Buffer.from(credentials, 'base64').toString().split(':', 1)[0] || undefined
}

/**
 * The member `writeKey`, of any type: a value that is not a string is an unknown key, not a missing one. Empty is
 * missing.
 */
function memberOf(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, 'writeKey')) return undefined
  const { writeKey } = value as { writeKey: unknown }
  return writeKey === '' ? undefined : writeKey
}

export default fp(writeKeys, { name: 'write-keys' })
