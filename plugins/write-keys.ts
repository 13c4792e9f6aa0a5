import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import type { Config } from '../src/config/config.ts'
import { WriteKeyInvalid } from '../src/errors.ts'
import type { Source } from '../src/event/source.ts'
import { openWriteKeys, type WriteKeys } from '../src/http/known-keys.ts'
import { isLoopbackName } from '../src/live/viewer-access.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Undefined where anybody may send events. */
    writeKeys: WriteKeys | undefined
  }
  interface FastifyRequest {
    /** Who sends, once the body has been validated; undefined where no keys are set. */
    source: Source | undefined
  }
  interface FastifyContextConfig {
    /** The route takes events: it wants a write key, has limits, and answers pages of CORS_ORIGINS. */
    takesEvents?: boolean
    /** Who sends may know nothing of us: a key in the URL goes before their own authorization. */
    hasForeignHeaders?: boolean
  }
}

/**
 * Lets only those who have a write key send events, where keys are set. A key in a header, in the query or
 * in the path is looked at before the body is read; one in the body after it was parsed, and before it is validated.
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
    const isInUrl = request.routeOptions.config.hasForeignHeaders === true
    const key = isInUrl ? (inUrl ?? inHeaders) : (inHeaders ?? inUrl)
    if (key !== undefined) request.source = sourceOf(key, reply)
  }

  async function authenticateBody(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    request.source ??= sourceOf(memberOf(request.body), reply)
  }

  function sourceOf(key: unknown, reply: FastifyReply): Source {
    const source = typeof key === 'string' ? keys?.sourceOf(key) : undefined
    if (source !== undefined) return source
    // Basic would make browsers ask their user for a password.
    void reply.header('www-authenticate', 'Bearer')
    throw new WriteKeyInvalid(
      key === undefined
        ? 'A write key is required: in the header X-Write-Key, as Bearer token, as user name of Basic authentication, or as writeKey in the query or the body.'
        : 'The write key is not known here: use one that this server has in its WRITE_KEYS.',
    )
  }

  app.addHook('onRoute', (route: RouteOptions) => {
    if (!route.config?.takesEvents) return
    route.onRequest = [...[route.onRequest ?? []].flat(), authenticateHead]
    route.preValidation = [...[route.preValidation ?? []].flat(), authenticateBody]
  })
}

function keyInHeaders({ headers }: FastifyRequest): string | undefined {
  const own = headers['x-write-key']
  if (typeof own === 'string' && own !== '') return own
  const [, scheme, credentials = ''] = /^(basic|bearer) +(\S+) *$/i.exec(headers.authorization ?? '') ?? []
  if (scheme === undefined) return undefined
  if (scheme.toLowerCase() === 'bearer') return credentials
  return Buffer.from(credentials, 'base64').toString().split(':', 1)[0] || undefined
}

/** Not only a text: also what can be no key is an answer to who sends. An empty one is none. */
function memberOf(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, 'writeKey')) return undefined
  const { writeKey } = value as { writeKey: unknown }
  return writeKey === '' ? undefined : writeKey
}

export default fp(writeKeys, { name: 'write-keys' })
