import { Type } from '@sinclair/typebox'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Config } from '../src/config/config.ts'

const AGE_S_MAX = 300

/** Libraries whose host has `/v1/projects` behind it ask at the second one. */
const SETTINGS_PATHS = [
  '/v1/projects/:writeKey/settings',
  '/v1/projects/projects/:writeKey/settings',
] as const

const paramsSchema = Type.Object({ writeKey: Type.String() })

const settingsSchema = Type.Object({
  integrations: Type.Object({
    'Segment.io': Type.Object({
      apiKey: Type.String({ description: 'The write key that was asked for.' }),
      apiHost: Type.String({
        description: 'Where events are to be sent: PUBLIC_URL, else the host that was asked, and /v1.',
      }),
      protocol: Type.String(),
      retryQueue: Type.Boolean(),
      addBundledMetadata: Type.Boolean(),
      unbundledIntegrations: Type.Array(Type.String()),
      maybeBundledConfigIds: Type.Object({}),
    }),
  }),
  plan: Type.Object({}),
  metrics: Type.Object({ sampleRate: Type.Number({ description: 'None of their own metrics.' }) }),
  legacyVideoPluginsEnabled: Type.Boolean(),
  remotePlugins: Type.Array(Type.Unknown()),
})

const description = {
  summary: 'What browser and mobile libraries load before they send',
  operationId: 'segment-settings',
  tags: ['segment'],
}

const sourceQuerySchema = Type.Object({ writeKey: Type.Optional(Type.String()) })

const switchSchema = Type.Object({ enabled: Type.Boolean() })

const sourceSchema = Type.Object({
  source: Type.Object({
    id: Type.String(),
    name: Type.String(),
    writeKey: Type.String({ description: 'The write key that was asked with.' }),
    enabled: Type.Boolean(),
    workspaceId: Type.String(),
    config: Type.Object({
      statsCollection: Type.Object(
        { errors: switchSchema, metrics: switchSchema },
        { description: 'No statistics of their own.' },
      ),
    }),
    destinations: Type.Array(Type.Unknown()),
    connections: Type.Array(Type.Unknown()),
    updatedAt: Type.String(),
  }),
  updatedAt: Type.String(),
})

const NAME = 'frequency'
/** Of a configuration that never changes. */
const UPDATED_AT = '2026-01-01T00:00:00.000Z'

/**
 * What browser and mobile libraries load before they send: `GET /v1/projects/:writeKey/settings`, and of
 * RudderStack `GET /sourceConfig`. They name no integrations but this server, so that nothing is loaded
 * from elsewhere.
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
        void reply.header('cache-control', `private, max-age=${AGE_S_MAX}`)
        return settingsOf(request.params.writeKey, publicUrl ?? urlOf(request))
      },
    )
  }

  app.get<{ Querystring: { writeKey?: string } }>(
    '/sourceConfig',
    {
      config: { forPages: true },
      schema: {
        ...description,
        summary: "What RudderStack's libraries load before they send",
        operationId: 'source-config',
        querystring: sourceQuerySchema,
        response: { 200: sourceSchema },
      },
    },
    async ({ query }, reply) => {
      void reply.header('cache-control', `private, max-age=${AGE_S_MAX}`)
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

/** @param url where clients reach this server */
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

/** HTTP/1.0 knows no host. */
function urlOf(request: FastifyRequest): string {
  const { localAddress = '', localPort } = request.raw.socket
  const address = localAddress.includes(':') ? `[${localAddress}]` : localAddress
  return `${protocolOf(request)}://${request.host || `${address}:${localPort}`}`
}

/** Only the client itself is told of it, so a proxy's word for it needs no trust. */
function protocolOf({ protocol, headers }: FastifyRequest): string {
  const forwarded = String(headers['x-forwarded-proto'] ?? '').split(',', 1)[0] ?? ''
  return forwarded.trim().toLowerCase() === 'https' ? 'https' : protocol.toLowerCase()
}

export default fp(segmentSettings, { name: 'segment-settings' })
