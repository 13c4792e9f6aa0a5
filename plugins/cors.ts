import type { FastifyCorsOptions } from '@fastify/cors'
import type { FastifyInstance, FastifyRequest, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import { parseOrigins } from '../src/config/client-settings.ts'
import type { Config } from '../src/config/config.ts'
import { ConfigInvalid } from '../src/errors.ts'
import { pathOf } from '../src/http/request-path.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Pages of CORS_ORIGINS may read the answer. Always true for routes with `takesEvents`. */
    forPages?: boolean
  }
}

/** Of `@fastify/cors`. It cannot be there twice. */
const DECORATOR = 'corsPreflightEnabled'
/** Browsers have their own limits: Chromium two hours, Firefox one day. */
const PREFLIGHT_AGE_S_MAX = 86_400

const CLOSED: FastifyCorsOptions = { origin: false }
const OPEN: FastifyCorsOptions = {
  methods: ['GET', 'HEAD', 'POST', 'PUT'],
  exposedHeaders: [
    'frequency-ack',
    'retry-after',
    'ratelimit-limit',
    'ratelimit-remaining',
    'ratelimit-reset',
  ],
  maxAge: PREFLIGHT_AGE_S_MAX,
}

/**
 * Lets pages of CORS_ORIGINS call the routes for pages (`takesEvents`, `forPages`), and no others. Named origins may
 * send credentials: `sendBeacon` always sends them. With `*` the CORS protocol does not allow credentials.
 */
async function cors(app: FastifyInstance, { corsOrigins }: Config): Promise<void> {
  if (corsOrigins === undefined) return
  if (app.hasRequestDecorator(DECORATOR))
    throw new ConfigInvalid(
      'CORS_ORIGINS: the server has @fastify/cors for all routes already. Leave CORS_ORIGINS out, or register that in a scope of its own.',
    )
  // Loaded only if it is used, to keep the start fast.
  const { default: fastifyCors } = await import('@fastify/cors')
  const origins = parseOrigins(corsOrigins)
  const open: FastifyCorsOptions =
    origins === '*' ? { ...OPEN, origin: '*' } : { ...OPEN, origin: origins, credentials: true }
  const paths = new Set<string>()

  app.addHook('onRoute', (route: RouteOptions) => {
    if (isForPages(route.config)) paths.add(route.url)
  })

  function isOpen({ headers, method, routeOptions, url }: FastifyRequest): boolean {
    if (headers.origin === undefined) return false
    if (method !== 'OPTIONS') return isForPages(routeOptions.config)
    return headers['access-control-request-method'] !== undefined && paths.has(pathOf(url))
  }

  await app.register(fastifyCors, {
    delegator: (request, done) => done(null, isOpen(request) ? open : CLOSED),
  })
}

function isForPages(config: RouteOptions['config']): boolean {
  return config?.takesEvents === true || config?.forPages === true
}

export default fp(cors, { name: 'cors', dependencies: ['write-keys'] })
