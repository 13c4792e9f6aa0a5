import { Type } from '@sinclair/typebox'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Config } from '../src/config/config.ts'

const CACHE_AGE_S = 300

/** The second path is for libraries whose host setting ends in `/v1/projects`. */
const SETTINGS_PATHS = [
  '/v1/projects/:writeKey/settings',
  '/v1/projects/projects/:writeKey/settings',
] as const

const paramsSchema = Type.Object({ writeKey: Type.String() })

const settingsSchema = Type.Object({
  integrations: Type.Object({
    'Segment.io': Type.Object({
      apiKey: Type.String({ description: 'The write key of the request.' }),
      apiHost: Type.String({
        description: 'Where to send events: the host of PUBLIC_URL, else the host of the request, then /v1.',
      }),
      protocol: Type.String(),
      retryQueue: Type.Boolean(),
      addBundledMetadata: Type.Boolean(),
      unbundledIntegrations: Type.Array(Type.String()),
      maybeBundledConfigIds: Type.Object({}),
    }),
  }),
  plan: Type.Object({}),
  metrics: Type.Object({
    sampleRate: Type.Number({ description: '0: the libraries send no metrics of their own.' }),
  }),
  legacyVideoPluginsEnabled: Type.Boolean(),
  remotePlugins: Type.Array(Type.Unknown()),
})

const description = {
  summary: 'Settings that browser and mobile libraries load before they send',
  operationId: 'segment-settings',
  tags: ['segment'],
}

const sourceQuerySchema = Type.Object({ writeKey: Type.Optional(Type.String()) })

const switchSchema = Type.Object({ enabled: Type.Boolean() })

const sourceSchema = Type.Object({
  source: Type.Object({
    id: Type.String(),
    name: Type.String(),
    writeKey: Type.String({ description: 'The write key of the request.' }),
    enabled: Type.Boolean(),
    workspaceId: Type.String(),
    config: Type.Object({
      statsCollection: Type.Object(
        { errors: switchSchema, metrics: switchSchema },
        { description: 'Off: the libraries send no statistics of their own.' },
      ),
    }),
    destinations: Type.Array(Type.Unknown()),
    connections: Type.Array(Type.Unknown()),
    updatedAt: Type.String(),
  }),
  updatedAt: Type.String(),
})

const NAME = 'frequency'
/** A fixed time: the configuration never changes. */
const UPDATED_AT = '2026-01-01T00:00:00.000Z'

/**
 * The settings that browser and mobile libraries load before they send: `GET /v1/projects/:writeKey/settings`, and
 * `GET /sourceConfig` for RudderStack's libraries. The only integration in them is this server, so that the libraries
 * load no code from other servers.
 */
async function segmentSettings(app: FastifyInstance, { publicUrl }: Config): Promise<void> {
  for (const url of SETTINGS_PATHS) {
    app.get<{ Params: { writeKey: string } }>(
      url,
      {
        config: { forPages: true },
        schema: {
          ...description,
          hide: url !== SETTINGS_PATHS[0],
          params: paramsSchema,
          response: { 200: settingsSchema },
        },
      },
      async (request, reply) => {
        void reply.header('cache-control', `private, max-age=${CACHE_AGE_S}`)
        return settingsOf(request.params.writeKey, publicUrl ?? `${urlOf(request)}${app.prefix}`)
      },
    )
  }

  app.get<{ Querystring: { writeKey?: string } }>(
    '/sourceConfig',
    {
      config: { forPages: true },
      schema: {
        ...description,
        summary: "Settings that RudderStack's libraries load before they send",
        operationId: 'source-config',
        querystring: sourceQuerySchema,
        response: { 200: sourceSchema },
      },
    },
    async ({ query }, reply) => {
      void reply.header('cache-control', `private, max-age=${CACHE_AGE_S}`)
      return {
        source: {
          id: NAME,
          name: NAME,
          writeKey: query.writeKey ?? '',
          enabled: true,
          workspaceId: NAME,
          config: { statsCollection: { errors: { enabled: false }, metrics: { enabled: false } } },
          destinations: [],
          connections: [],
          updatedAt: UPDATED_AT,
        },
        updatedAt: UPDATED_AT,
      }
    },
  )
}

/** @param url the URL by which clients reach this server */
function settingsOf(writeKey: string, url: string) {
  const [protocol, host = ''] = url.replace(/\/+$/, '').split('://')
  return {
    integrations: {
      'Segment.io': {
        apiKey: writeKey,
        apiHost: `${host}/v1`,
        protocol,
        retryQueue: true,
        addBundledMetadata: true,
        unbundledIntegrations: [],
        maybeBundledConfigIds: {},
      },
    },
    plan: {},
    metrics: { sampleRate: 0 },
    legacyVideoPluginsEnabled: false,
    remotePlugins: [],
  }
}

/** The URL of this server from the request. HTTP/1.0 has no Host header: then from the socket's address. */
function urlOf(request: FastifyRequest): string {
  const { localAddress = '', localPort } = request.raw.socket
  const address = localAddress.includes(':') ? `[${localAddress}]` : localAddress
  return `${protocolOf(request)}://${request.host || `${address}:${localPort}`}`
}

/** Uses `x-forwarded-proto` without TRUST_PROXY: only the client that sent it gets the answer. */
function protocolOf({ protocol, headers }: FastifyRequest): string {
  const forwarded = String(headers['x-forwarded-proto'] ?? '').split(',', 1)[0] ?? ''
  return forwarded.trim().toLowerCase() === 'https' ? 'https' : protocol.toLowerCase()
}

export default fp(segmentSettings, { name: 'segment-settings' })
