import type { FastifyDynamicSwaggerOptions, SwaggerTransform } from '@fastify/swagger'
import { Type } from '@sinclair/typebox'
import Fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  LogController,
  type RouteOptions,
} from 'fastify'
import fp from 'fastify-plugin'
import type { Config } from '../src/config/config.ts'
import { pageHeaders } from '../src/http/page-headers.ts'

const PATH = '/documentation'

const SECURITY_SCHEMES = {
  writeKeyHeader: { type: 'apiKey', in: 'header', name: 'x-write-key' },
  writeKeyQuery: { type: 'apiKey', in: 'query', name: 'writeKey' },
  basic: { type: 'http', scheme: 'basic', description: 'The write key as user name, and no password.' },
  bearer: { type: 'http', scheme: 'bearer', description: 'The write key as token.' },
} as const

/** Any of them, or none: the key may be in the body, and a server may need no key. */
const SECURITY = [{}, ...Object.keys(SECURITY_SCHEMES).map(name => ({ [name]: [] }))]

/** The header of the OpenAPI document. The version is that of the HTTP interface. */
const OPENAPI: NonNullable<FastifyDynamicSwaggerOptions['openapi']> = {
  openapi: '3.1.0',
  info: {
    title: 'frequency',
    version: '1',
    description: 'Takes analytics events. Answers 200 when an event is durable.',
    license: { name: 'MIT', identifier: 'MIT' },
  },
  servers: [{ url: '/' }],
  components: { securitySchemes: SECURITY_SCHEMES },
}

const refusalSchema = Type.Object({
  statusCode: Type.Integer(),
  code: Type.String({ description: 'A code for programs: FRQ_EVENT_INVALID.' }),
  error: Type.String(),
  message: Type.String({ description: 'What is wrong, and how to correct it.' }),
})
const refusal = (description: string, headers: readonly string[] = []) => ({
  ...refusalSchema,
  description,
  ...(headers.length > 0 && { headers: Object.fromEntries(headers.map(name => [name, Type.Integer()])) }),
})

/** The refusals of every route that takes events. A route's own description of a status replaces the one here. */
const REFUSALS = {
  400: refusal('The body, or an event in it, is not valid.'),
  401: refusal('The write key is missing or unknown.'),
  413: refusal('The body is too large.'),
  415: refusal('The content type or the content encoding is not supported.'),
  429: refusal('The client sends more than RATE_KEY_MAX or RATE_ADDRESS_MAX allows.', [
    'retry-after',
    'ratelimit-limit',
    'ratelimit-remaining',
    'ratelimit-reset',
  ]),
  503: refusal('Nothing took the event durably. Send it again.', ['retry-after']),
}

/**
 * `/documentation`: the API reference as OpenAPI, made from the schemas of the routes, and a page to try calls. A
 * second Fastify serves it. It is made at the first request, to keep the start fast and the process small.
 */
async function documentation(app: FastifyInstance, config: Config): Promise<void> {
  if (config.documentation === 'off') return
  const routes: RouteOptions[] = []
  app.addHook('onRoute', route => {
    if (isDescribed(route)) routes.push(route)
  })

  let opening: Promise<FastifyInstance> | undefined
  async function show(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    opening ??= openPages(routes, app.prefix + PATH, app.log)
    const pages = await opening.catch(error => {
      opening = undefined
      throw error
    })
    reply.hijack()
    pages.routing(request.raw, reply.raw)
    return reply
  }
  app.get(PATH, { config: { forOperators: true } }, show)
  app.get(`${PATH}/*`, { config: { forOperators: true } }, show)
  app.addHook('onClose', async () => (await opening?.catch(() => undefined))?.close())
}

/** Routes with a schema are in the reference, except hidden ones and those for HEAD. */
function isDescribed({ method, schema }: RouteOptions): boolean {
  return schema !== undefined && schema.hide !== true && method !== 'HEAD'
}

async function openPages(
  routes: readonly RouteOptions[],
  routePrefix: string,
  log: FastifyBaseLogger,
): Promise<FastifyInstance> {
  const [{ default: swagger }, { default: swaggerUi }] = await Promise.all([
    import('@fastify/swagger'),
    import('@fastify/swagger-ui'),
  ])
  // swagger-ui draws its icons from data URLs.
  const headers = pageHeaders({ 'img-src': "'self' data:" })
  const pages = Fastify({
    loggerInstance: log,
    logController: new LogController({ disableRequestLogging: true }),
  })
  pages.setValidatorCompiler(() => () => true)
  pages.setSerializerCompiler(() => JSON.stringify)
  pages.addHook('onRequest', async (_, reply) => void reply.headers(headers))
  await pages.register(swagger, { openapi: OPENAPI, transform: describe })
  await pages.register(swaggerUi, {
    routePrefix,
    theme: { title: 'frequency: API reference' },
    // Only the bar on top shows it. Without this option the package reads a file, and the executable has no files.
    logo: { type: 'image/svg+xml', content: '' },
    // The base layout has no bar on top. The bar sets an inline style, which the content security policy refuses.
    uiConfig: {
      layout: 'BaseLayout',
      tryItOutEnabled: true,
      deepLinking: true,
      supportedSubmitMethods: ['get', 'post'],
    },
  })
  for (const { method, url, schema = {}, config } of routes) {
    // Registered for the description only: no request reaches this route, because only paths below PATH are passed on.
    pages.route({
      method,
      url,
      schema,
      ...(config && { config }),
      handler: (_, reply) => reply.callNotFound(),
    })
  }
  await pages.ready()
  return pages
}

const describe: SwaggerTransform = ({ schema, url, route }) => {
  const described = withoutKeyword(schema) as typeof schema
  if (!route.config?.takesEvents) return { schema: described, url }
  const response = { ...REFUSALS, ...(described.response as object) }
  return { schema: { ...described, security: SECURITY, response }, url }
}

/** The schema without our keyword `expected`, which is for error messages. */
function withoutKeyword(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(withoutKeyword)
  if (typeof schema !== 'object' || schema === null) return schema
  const described = Object.entries(schema).filter(
    ([name, value]) => name !== 'expected' || typeof value !== 'string',
  )
  return Object.fromEntries(described.map(([name, value]) => [name, withoutKeyword(value)]))
}

export default fp(documentation, { name: 'documentation' })
