/** The package: frequency as a Fastify plugin in a server of one's own. */
import type { FastifyInstance, FastifyPluginAsync, FastifyPluginOptions, FastifyRequest } from 'fastify'
import { type EmbeddedSettings, embeddedConfig } from '../src/config/embedded-config.ts'
import type { EnrichHook } from '../src/http/enrichment.ts'
import type { Transport } from '../src/queue/queue.ts'
import type { ObjectStore } from '../src/store/store.ts'
import { registerPlugins } from './app.ts'
// The types of the documented decorators.
import './admin.ts'
import './health.ts'
import './intake.ts'
import './queue.ts'
import './write-keys.ts'
import { setCompilers } from './schemas.ts'

export type { EmbeddedSettings } from '../src/config/embedded-config.ts'
export type { AddedMembers, EnrichHook } from '../src/http/enrichment.ts'
export type { Durability, Transport } from '../src/queue/queue.ts'
export type { ObjectStore } from '../src/store/store.ts'

/** A Fastify plugin: an async function, or one that calls `done`. */
export type OwnPlugin = (
  app: FastifyInstance,
  options: FastifyPluginOptions,
  done: (error?: Error) => void,
) => unknown

/** The settings of the program, by their names in camel case, and what only a server of one's own can give. */
export interface FrequencyOptions extends EmbeddedSettings {
  /** Path before all routes: with `/events`, `POST /events/api/t`. */
  readonly prefix?: string
  /** A queue to use instead of RabbitMQ or the embedded queue. The plugin does not close it. */
  readonly queue?: Transport
  /** A store to use instead of the one that ARCHIVE_URL names. The plugin does not close it. */
  readonly store?: ObjectStore
  /** Adds members to each event that a request sends. */
  readonly enrich?: EnrichHook<FastifyRequest>
  /** Plugins that are registered after those of frequency. They find its decorators. */
  readonly register?: readonly OwnPlugin[]
}

/** Options of Fastify's `register()`. They are not settings. */
const OF_REGISTER = ['prefix', 'logLevel', 'logSerializers'] as const

/**
 * Takes events in a server of one's own, and archives them. All that it sets is encapsulated: routes of the server
 * around it keep their error handler, content type parsers, validators and hooks. It closes with the server.
 *
 * @throws ConfigInvalid if an option is unknown or invalid, or belongs to the server
 */
async function frequency(app: FastifyInstance, options: FrequencyOptions): Promise<void> {
  const { queue, store, enrich, register = [], ...rest } = options
  const values: Record<string, unknown> = { ...rest }
  for (const name of OF_REGISTER) delete values[name]
  const config = embeddedConfig(values, queue !== undefined)
  setCompilers(app)
  await registerPlugins(app, config, { isOwnServer: false, queue, store })
  if (enrich !== undefined) app.enrich(enrich)
  for (const plugin of register) await app.register(plugin as FastifyPluginAsync)
}

const plugin: FastifyPluginAsync<FrequencyOptions> = frequency
export default plugin
