import { availableParallelism } from 'node:os'
import * as zlib from 'node:zlib'
import { type Static, type TSchema, Type } from '@sinclair/typebox'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import { ConfigInvalid } from '../errors.ts'
import { GROUP_EVENTS_MAX } from '../event/event-group.ts'
import { type ArchiveLocation, archiveLocation, parseUrl } from './archive-location.ts'
import { checkAwsSettings } from './aws-settings.ts'
import { checkClientSettings, clientSettings } from './client-settings.ts'
import { pluginSettings } from './plugin-settings.ts'
import { querySettings } from './query-settings.ts'
import { requestSettings } from './request-settings.ts'
import { checkRetention, retentionSettings } from './retention-settings.ts'
import { parseSettingText, settingText, wantedText } from './setting-text.ts'
import { bytes, GIB, KIB, MIB, milliseconds, oneOf, optionalText } from './setting-types.ts'
import { tableSettings } from './table-settings.ts'

/** AMQP 0-9-1 carries a prefetch in 16 bits (section 1.8.3.1, basic.qos). */
const PREFETCH_MAX = 65_535
/** One open batch, and eight sealed batches that are not archived yet. */
const BATCHES_HELD = 9
const PREFETCH_EVENTS_MIN = 32_000
/** A short string of AMQP has at most 255 bytes (section 4.2.5.3), and `.dead` takes five of them. */
const QUEUE_NAME_BYTES_MAX = 250
/** The most that lib-storage can upload: 10,000 parts of 5 MiB. Data may not get smaller by compression. */
const BATCH_BYTES_MAX_MAX = 10_000 * 5 * MIB

/**
 * Every setting, once: its type, its default, and the description in `--help`, `.env.example` and `docs/settings.md`. `batchEventsMax` is the variable `BATCH_EVENTS_MAX` and the flag `--batch-events-max`.
 */
export const settingsSchema = Type.Object({
  role: oneOf(['all', 'ingest', 'archive'], {
    default: 'all',
    description: 'What this process does: ingest (HTTP to queue), archive (queue to store), or all.',
  }),
  host: Type.String({ minLength: 1, default: '127.0.0.1', description: 'Address to listen on.' }),
  port: Type.Integer({
    minimum: 0,
    maximum: 65_535,
    default: 4000,
    description: 'Port to listen on; 0 picks a free one.',
  }),
  adminHost: Type.String({
    minLength: 1,
    default: '127.0.0.1',
    description: 'Address of ADMIN_PORT.',
  }),
  adminPort: Type.Optional(
    Type.Integer({
      minimum: 0,
      maximum: 65_535,
      fallback: 'none: they are on PORT',
      description:
        'Port of the live page, /status, /metrics, health and documentation, which are then not on PORT; 0 picks a free one.',
    }),
  ),
  workers: Type.Integer({
    minimum: 1,
    maximum: 256,
    default: 1,
    auto: availableParallelism,
    description:
      'Number of processes that share the port, or auto: one per core. More than 1 needs AMQP_URL.',
  }),
  logLevel: oneOf(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'], {
    default: 'info',
    description:
      'Lowest level that is logged: fatal, error, warn, info, debug or trace; silent logs nothing.',
  }),
  ui: oneOf(['on', 'off'], {
    default: 'on',
    description: 'Whether / shows the live page (on or off). Only roles that take events have it.',
  }),
  uiToken: Type.Optional(
    Type.String({
      minLength: 16,
      maxLength: 200,
      pattern: '^[!-~]+$',
      secret: true,
      fallback: 'none: the page is for this machine only',
      description:
        'Token (16 characters or more) that opens the live page from any machine. Without a token only this machine can open it, or nobody if WRITE_KEYS, WRITE_KEYS_FILE, TRUST_PROXY or PUBLIC_URL is set or HOST is not loopback. With ADMIN_PORT only ADMIN_HOST counts.',
      wanted: '16 to 200 characters: ASCII letters, digits and signs, without spaces',
    }),
  ),
  dataDir: Type.String({
    minLength: 1,
    default: './data',
    description: 'Directory of the embedded queue, the spool, the index of known ids and the local archive.',
  }),
  amqpUrl: optionalText({
    secret: true,
    fallback: 'none: the embedded queue',
    description: 'URL of RabbitMQ: amqp://user:password@host:port/vhost, or amqps://.',
  }),
  amqpQueue: Type.String({
    minLength: 1,
    maxLength: 200,
    default: 'tracks',
    description:
      'Queue of the events. Messages that can never be archived go to the queue of this name with .dead appended.',
  }),
  amqpPrefetch: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: PREFETCH_MAX,
      fallback: '65535 with RabbitMQ',
      description:
        'Maximum unacknowledged messages that a consumer holds; at least BATCH_EVENTS_MAX. It holds fewer if messages have several events.',
    }),
  ),
  amqpAckTimeoutMs: milliseconds({
    default: 1_800_000,
    minimum: 10_000,
    description:
      "The broker's consumer_timeout. The broker closes the channel if a delivery is unacknowledged for longer.",
  }),
  publishEventsMax: Type.Integer({
    minimum: 1,
    maximum: GROUP_EVENTS_MAX,
    default: 256,
    description:
      'Maximum events in one message. Events that come at about the same time share a message; 1 sends each by itself.',
  }),
  publishMsMax: milliseconds({
    default: 5_000,
    minimum: 10,
    description: 'How long to wait for a publisher confirm before the event goes to the spool.',
  }),
  archiveUrl: optionalText({
    fallback: 'DATA_DIR/archive; required with AMQP_URL',
    description:
      'Where events are archived: s3://bucket/prefix, or a directory (file:///path, or a path). Must be the same for all processes of a queue.',
  }),
  archiveFormat: oneOf(['ndjson', 'json'], {
    default: 'ndjson',
    description: 'Format of the objects: ndjson (one event per line) or json (one JSON array per object).',
  }),
  archiveCompression: oneOf(['gzip', 'none', 'zstd'], {
    default: 'gzip',
    description: 'Compression of the objects: gzip, none, or zstd (Node 22.15 or later).',
  }),
  s3ForcePathStyle: Type.Boolean({
    default: false,
    description:
      'Put the bucket into the path, not into the host name. Most S3 servers other than AWS need this.',
  }),
  s3IdleMsMax: milliseconds({
    default: 30_000,
    minimum: 100,
    description: 'How long a connection to S3 may be idle before its request is given up and repeated.',
  }),
  batchEventsMax: Type.Integer({
    minimum: 1,
    maximum: 1_000_000,
    default: 1000,
    description: 'Maximum events in a batch. A log record holds the ids of all of them.',
  }),
  batchBytesMax: bytes({
    default: 128 * MIB,
    minimum: KIB,
    maximum: BATCH_BYTES_MAX_MAX,
    description: 'Maximum bytes in a batch, before compression. A larger event is archived alone.',
  }),
  batchAgeMsMax: milliseconds({
    default: 10_000,
    description: 'Age at which a batch closes, counted from its first event.',
  }),
  dedupeWindowMs: milliseconds({
    default: 24 * 60 * 60 * 1000,
    minimum: 60_000,
    description:
      'Dedupe window: for this long an event with the same source and messageId is archived only once.',
  }),
  dedupeIdsMax: Type.Integer({
    minimum: 100_000,
    maximum: 10_000_000_000,
    default: 200_000_000,
    description:
      'Maximum ids in the dedupe window. If there are more, the window is shorter. Each takes about 20 bytes of disk and 2 of memory.',
  }),
  ...requestSettings,
  ...querySettings,
  ...tableSettings,
  ...retentionSettings,
  ...clientSettings,
  ...pluginSettings,
  spool: oneOf(['on', 'off'], {
    default: 'on',
    description:
      'Whether events go to local disk while RabbitMQ cannot take them (on), or clients get 503 (off).',
  }),
  spoolBytesMax: bytes({
    default: 10 * GIB,
    minimum: MIB,
    description: 'Maximum disk space of the embedded queue, or of the spool. If it is full, clients get 503.',
  }),
  shutdownMsMax: milliseconds({
    default: 30_000,
    description: 'How long a shutdown may take. After that the process ends at once, with exit code 1.',
  }),
})

export type Settings = Static<typeof settingsSchema>

export type Config = Readonly<
  Omit<Settings, 'archiveUrl' | 'amqpPrefetch'> & {
    readonly amqpPrefetch: number
    /** Events that a consumer should hold unacknowledged. `amqpPrefetch` may limit it to fewer. */
    readonly prefetchEvents: number
    readonly archive: ArchiveLocation
  }
>

export interface Setting {
  readonly name: keyof Settings
  /** `BATCH_EVENTS_MAX` */
  readonly variable: string
  /** `--batch-events-max` */
  readonly flag: string
  readonly description: string
  /** The default with its unit (`10s`), or in parentheses what happens without a value (`(none: no limit)`). */
  readonly default: string
  readonly schema: TSchema
}

export const settings: readonly Setting[] = Object.entries(settingsSchema.properties).map(
  ([name, schema]) => {
    const variable = name.replace(/[A-Z]/g, letter => `_${letter}`).toUpperCase()
    return {
      name: name as keyof Settings,
      variable,
      flag: `--${variable.toLowerCase().replaceAll('_', '-')}`,
      description: String(schema.description),
      default: schema.default === undefined ? `(${schema.fallback})` : settingText(schema, schema.default),
      schema,
    }
  },
)

/**
 * Reads the settings from flags and environment variables. A flag wins over its variable. An empty text counts as not set.
 *
 * @param hasGivenQueue whether the caller has opened the queue: AMQP_URL is not needed then
 * @throws ConfigInvalid if a value is invalid, or settings contradict each other. The message is one line that names the
 *   setting.
 */
export function readConfig(
  flags: Partial<Record<string, string>>,
  env: NodeJS.ProcessEnv,
  hasGivenQueue = false,
): Config {
  const given: Record<string, unknown> = {}
  for (const setting of settings) {
    if (setting.schema.default !== undefined) given[setting.name] = setting.schema.default
    if (flags[setting.name] === '')
      throw new ConfigInvalid(`${setting.flag} is empty: give it a value, or leave it out.`)
    const text = flags[setting.name] ?? env[setting.variable]
    if (text === undefined || text === '') continue
    const value = parseSettingText(setting.schema, text)
    if (!TypeCompiler.Compile(setting.schema).Check(value))
      throw new ConfigInvalid(
        `${setting.variable} must be ${wantedText(setting.schema)}${got(setting, text)}.`,
      )
    given[setting.name] = value
  }
  const config = checked(given as Settings, hasGivenQueue)
  if (config.archive.kind === 's3' && config.role !== 'ingest') checkAwsSettings(env)
  return config
}

function got({ schema }: Setting, text: string): string {
  return schema.secret ? '' : `, not ${JSON.stringify(text.slice(0, 100))}`
}

/** Completes the settings. @throws ConfigInvalid if valid values contradict each other */
function checked(given: Settings, hasGivenQueue: boolean): Config {
  const { archiveUrl, ...rest } = given
  const config = {
    ...rest,
    prefetchEvents: prefetchEvents(given),
    // PREFETCH_MAX is a limit of AMQP. The embedded queue is bounded by events only.
    amqpPrefetch: given.amqpPrefetch ?? (given.amqpUrl === undefined ? prefetchEvents(given) : PREFETCH_MAX),
    archive: archiveLocation(archiveUrl, given.dataDir),
  }
  checkBroker(config, archiveUrl)
  if (!hasGivenQueue) checkEmbedded(config)
  checkBatch(config)
  checkBodies(config)
  checkPorts(config)
  checkClientSettings(config)
  checkRetention(config)
  if (config.archiveCompression === 'zstd' && !('createZstdCompress' in zlib)) {
    throw new ConfigInvalid(
      `ARCHIVE_COMPRESSION: zstd needs Node 22.15 or later. This is ${process.version}.`,
    )
  }
  return Object.freeze(config)
}

/**
 * An archiver has one open batch and up to eight sealed ones, or more if they are small. The result is twice that,
 * because a prefetch in messages follows the number of events only to within a factor of two. With small batches the
 * round trips to broker and store are the limit: half of the minimum allows 40,000 events a second if they take 0.4 s.
 */
function prefetchEvents({ batchEventsMax }: Settings): number {
  return Math.max(PREFETCH_EVENTS_MIN, 2 * BATCHES_HELD * batchEventsMax)
}

function checkBroker({ role, amqpUrl, amqpQueue }: Config, archiveUrl: string | undefined): void {
  if (amqpQueue.startsWith('amq.') || Buffer.byteLength(amqpQueue) > QUEUE_NAME_BYTES_MAX) {
    throw new ConfigInvalid(
      `AMQP_QUEUE must have at most ${QUEUE_NAME_BYTES_MAX} bytes, and must not begin with "amq.", which RabbitMQ reserves.`,
    )
  }
  const broker = amqpUrl === undefined ? undefined : parseUrl(amqpUrl)
  if (amqpUrl !== undefined && !(broker?.host && /^amqps?:$/.test(broker.protocol))) {
    throw new ConfigInvalid('AMQP_URL must be a URL like amqp://user:password@host:5672/vhost.')
  }
  if (role !== 'ingest' && amqpUrl !== undefined && archiveUrl === undefined) {
    throw new ConfigInvalid(
      'ARCHIVE_URL: AMQP_URL needs it. All processes of a queue must archive to one place, and DATA_DIR/archive is another place on each machine. Set a bucket, or a directory that all of them share.',
    )
  }
}

/** The embedded queue belongs to one process, with all roles. */
function checkEmbedded({ role, workers, amqpUrl }: Config): void {
  if (workers > 1 && amqpUrl === undefined) {
    throw new ConfigInvalid(`WORKERS (${workers}) needs AMQP_URL: the embedded queue belongs to one process.`)
  }
  if (role !== 'all' && amqpUrl === undefined) {
    throw new ConfigInvalid(
      `ROLE (${role}) needs AMQP_URL: the embedded queue belongs to one process, so separate roles need a broker.`,
    )
  }
}

function checkPorts({ port, adminPort, adminHost }: Config): void {
  if (adminPort === undefined && adminHost !== settingsSchema.properties.adminHost.default) {
    throw new ConfigInvalid(
      `ADMIN_HOST (${adminHost}) needs ADMIN_PORT. Without ADMIN_PORT nothing listens there, and the live page, /status, /metrics, health and documentation are on PORT.`,
    )
  }
  if (adminPort === undefined || adminPort === 0 || adminPort !== port) return
  throw new ConfigInvalid(`ADMIN_PORT (${adminPort}) must differ from PORT.`)
}

function checkBodies(config: Config): void {
  const { bodiesBytesMax, bodyBytesMax, batchBodyBytesMax, segmentEventBytesMax, segmentBatchBytesMax } =
    config
  const largest = Math.max(bodyBytesMax, batchBodyBytesMax, segmentEventBytesMax, segmentBatchBytesMax)
  if (bodiesBytesMax >= largest) return
  throw new ConfigInvalid(
    `BODIES_BYTES_MAX (${bodiesBytesMax} bytes) is below the largest request body (${largest} bytes). Such a body would always be refused.`,
  )
}

function checkBatch({
  amqpUrl,
  amqpPrefetch,
  batchEventsMax,
  batchAgeMsMax,
  amqpAckTimeoutMs,
}: Config): void {
  if (amqpUrl !== undefined && batchEventsMax > PREFETCH_MAX) {
    throw new ConfigInvalid(
      `BATCH_EVENTS_MAX: with RabbitMQ a batch holds at most ${PREFETCH_MAX} events, the largest prefetch of AMQP.`,
    )
  }
  if (amqpPrefetch < batchEventsMax) {
    throw new ConfigInvalid(
      `AMQP_PREFETCH (${amqpPrefetch}) is below BATCH_EVENTS_MAX (${batchEventsMax}). A batch would never be full.`,
    )
  }
  if (amqpUrl !== undefined && batchAgeMsMax > amqpAckTimeoutMs / 2) {
    throw new ConfigInvalid(
      `BATCH_AGE_MS_MAX (${batchAgeMsMax} ms) must be at most half of AMQP_ACK_TIMEOUT_MS (${amqpAckTimeoutMs} ms). The broker closes the channel if a delivery waits longer.`,
    )
  }
}
