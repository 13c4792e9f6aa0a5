import Fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from 'fastify'
import { parseProxies } from '../src/config/client-settings.ts'
import type { Config } from '../src/config/config.ts'
import type { Transport } from '../src/queue/queue.ts'
import type { ObjectStore } from '../src/store/store.ts'
import admin from './admin.ts'
import body from './body.ts'
import connections from './connections.ts'
import cors from './cors.ts'
import documentation from './documentation.ts'
import drain from './drain.ts'
import errors, { answerClientError } from './errors.ts'
import health from './health.ts'
import hook from './hook.ts'
import intake from './intake.ts'
import ledger from './ledger.ts'
import metrics from './metrics.ts'
import pixel from './pixel.ts'
import queue from './queue.ts'
import rateLimits from './rate-limits.ts'
import requests from './requests.ts'
import { compilersFactory } from './schemas.ts'
import segment from './segment.ts'
import segmentSettings from './segment-settings.ts'
import store from './store.ts'
import track from './track.ts'
import trackBatch from './track-batch.ts'
import ui from './ui.ts'
import userPlugins from './user-plugins.ts'
import workerMessages from './worker-messages.ts'
import writeKeys from './write-keys.ts'

const HEADERS_MS_MAX = 10_000
const KEEP_ALIVE_MS = 72_000
const CONNECTIONS_CHECK_MS = 1_000

/**
 * Makes the HTTP server of a role, with its queue, store and archiver. On close Fastify first waits for requests in
 * flight, then closes the plugins in reverse order of registration: the archiver before its store and its queue.
 */
export async function createApp(config: Config, logger: FastifyBaseLogger): Promise<FastifyInstance> {
  const app = Fastify({
    loggerInstance: logger,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: config.bodyBytesMax,
    // A write key has up to 255 characters, and each may be percent-encoded.
    routerOptions: { ignoreDuplicateSlashes: true, ignoreTrailingSlash: true, maxParamLength: 1024 },
    requestTimeout: config.requestMsMax,
    trustProxy: config.trustProxy === undefined ? false : parseProxies(config.trustProxy),
    keepAliveTimeout: KEEP_ALIVE_MS,
    return503OnClosing: false,
    // No time limit for plugins: a store that does not answer must not end the process. Its client has its own limit.
    pluginTimeout: 0,
    clientErrorHandler: answerClientError,
    schemaController: { compilersFactory },
    http: {
      maxHeaderSize: config.headerBytesMax,
      headersTimeout: Math.min(HEADERS_MS_MAX, config.requestMsMax),
      connectionsCheckingInterval: CONNECTIONS_CHECK_MS,
      // Node would answer a request without Host with a 400 without a body. The plugin `errors` answers it instead.
      requireHostHeader: false,
    },
  })
  app.server.maxConnections = config.connectionsMax
  try {
    await registerPlugins(app, config, { isOwnServer: true })
  } catch (error) {
    await app.close()
    throw error
  }
  return app
}

export interface Surroundings {
  /** False if the server has other routes than ours. Then nothing is set that concerns these. */
  readonly isOwnServer: boolean
  /** Opened, and closed, by the caller. */
  readonly queue?: Transport | undefined
  readonly store?: ObjectStore | undefined
}

/** Registers the plugins of a role. Decorators, hooks and error handlers stay in the scope of `app`. */
export async function registerPlugins(
  app: FastifyInstance,
  config: Config,
  { isOwnServer, queue: givenQueue, store: givenStore }: Surroundings,
): Promise<void> {
  const isArchiving = config.role !== 'ingest'
  const isIngesting = config.role !== 'archive'

  await app.register(requests)
  if (isOwnServer) await app.register(connections)
  await app.register(errors, { isOwnServer })
  await app.register(admin, config)
  if (isOwnServer) await app.register(drain, config)
  await app.register(workerMessages, { isOwnServer })
  await app.register(ledger, config)
  if (isIngesting) await app.register(documentation, config)
  if (isIngesting) await app.register(writeKeys, config)
  if (isIngesting) await app.register(cors, config)
  if (isIngesting) await app.register(rateLimits, config)
  // A start that fails makes no directory: a bucket is asked before the queue makes one, a directory is made after it.
  const isRemote = config.archive.kind !== 'directory'
  if (isArchiving && isRemote) await app.register(store, { config, given: givenStore })
  await app.register(queue, { config, given: givenQueue })
  await app.register(intake, config)
  if (isArchiving && !isRemote) await app.register(store, { config, given: givenStore })
  if (isArchiving) await app.register(import('./archiver.ts'), config)
  if (isArchiving) await app.register(import('./table.ts'), config)
  if (isArchiving) await app.register(import('./expire.ts'), config)
  if (isIngesting) await app.register(body, config)
  if (isIngesting) await app.register(track, config)
  if (isIngesting) await app.register(trackBatch, config)
  if (isIngesting) await app.register(segment, config)
  if (isIngesting) await app.register(segmentSettings, config)
  if (isIngesting) await app.register(pixel, config)
  if (isIngesting) await app.register(hook, config)
  await app.register(health, config)
  await app.register(metrics, config)
  if (isIngesting) await app.register(ui, config)
  await app.register(userPlugins, config)
}
