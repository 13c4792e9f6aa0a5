import { availableParallelism } from 'node:os'
import * as zlib from 'node:zlib'
import { type Static, type TSchema, Type } from '@sinclair/typebox'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import { ConfigInvalid } from '../errors.ts'
import { GROUP_EVENTS_MAX } from '../event/event-group.ts'
import { type ArchiveLocation, archiveLocation, parseUrl } from './archive-location.ts'
import { checkAwsSettings } from './aws-settings.ts'
import { checkClientSettings, clientSettings } from './client-settings.ts'
import { requestSettings } from './request-settings.ts'
import { parseSettingText, settingText, wantedText } from './setting-text.ts'
import { bytes, GIB, KIB, MIB, milliseconds, oneOf, optionalText } from './setting-types.ts'

/** AMQP 0-9-1 carries a prefetch in 16 bits (section 1.8.3.1, basic.qos). */
const PREFETCH_MAX = 65_535
/** The open batch, and sealed ones on their way to the store. */
const BATCHES_HELD = 9
const PREFETCH_EVENTS_MIN = 32_000
/** A short string of AMQP has 255 bytes (section 4.2.5.3), and `.dead` takes five of them. */
const QUEUE_NAME_BYTES_MAX = 250
/** What lib-storage can upload: 10,000 parts of 5 MiB. Compression may make nothing smaller. */
const BATCH_BYTES_MAX_MAX = 10_000 * 5 * MIB

/**
 * Every setting, once: its type, its default, and the words that `--help`, `.env.example` and the
 * README show. `batchEventsMax` is the variable `BATCH_EVENTS_MAX` and the flag `--batch-events-max`.
 */
export const settingsSchema = Type.Object({
  role: oneOf(['all', 'ingest', 'archive'], {
    default: 'all',
    description: 'What this process does: all, ingest (HTTP to queue) or archive (queue to store).',
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
    description: 'Address to listen on for ADMIN_PORT.',
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
      'Processes that share the port, or auto: as many as there are cores. More than 1 needs AMQP_URL.',
  }),
  logLevel: oneOf(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'], {
    default: 'info',
    description: 'How much is logged: fatal, error, warn, info, debug, trace or silent.',
  }),
  ui: oneOf(['on', 'off'], {
    default: 'on',
    description: 'Whether / shows a live page, on roles that take events (on), or nothing (off).',
  }),
  uiToken: Type.Optional(
    Type.String({
      minLength: 16,
      maxLength: 200,
      pattern: '^[!-~]+$',
      secret: true,
      fallback: 'none: the page is for this machine only',
      description:
        'Opens the live page to whoever has this token (16 characters or more), from any machine. The page needs it where others may reach it: with WRITE_KEYS, TRUST_PROXY, PUBLIC_URL or a HOST other than loopback; on ADMIN_PORT, with such an ADMIN_HOST.',
      wanted: '16 to 200 characters, letters and digits and signs without spaces',
    }),
  ),
  dataDir: Type.String({
    minLength: 1,
    default: './data',
    description: 'Directory of the embedded queue and the local archive.',
  }),
  amqpUrl: optionalText({
    secret: true,
    fallback: 'none: the embedded queue',
    description: 'RabbitMQ, as amqp://user:password@host:port/vhost or amqps://.',
  }),
  amqpQueue: Type.String({
    minLength: 1,
    maxLength: 200,
    default: 'tracks',
    description:
      'Queue of the events; what can never be archived goes to the same name with .dead behind it.',
  }),
  amqpPrefetch: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: PREFETCH_MAX,
      fallback: '65535 with RabbitMQ',
      description:
        'Unacknowledged messages a consumer holds at the most; at least BATCH_EVENTS_MAX. It takes fewer where messages have several events.',
    }),
  ),
  amqpAckTimeoutMs: milliseconds({
    default: 1_800_000,
    minimum: 10_000,
    description:
      "The broker's consumer_timeout: an older delivery without acknowledgement closes the channel.",
  }),
  publishEventsMax: Type.Integer({
    minimum: 1,
    maximum: GROUP_EVENTS_MAX,
    default: 256,
    description:
      'Events that may travel in one message, where they come at about the same time; 1 keeps them apart.',
  }),
  publishMsMax: milliseconds({
    default: 5_000,
    minimum: 10,
    description: 'How long a confirm of the broker is waited for before the event goes to the spool.',
  }),
  archiveUrl: optionalText({
    fallback: 'DATA_DIR/archive; with AMQP_URL none',
    description:
      'Where events are archived: s3://bucket/prefix, or a directory (file:///path, or a path). All processes of a queue need the same.',
  }),
  archiveFormat: oneOf(['ndjson', 'json'], {
    default: 'ndjson',
    description: 'ndjson (one event a line) or json (one JSON array a file).',
  }),
  archiveCompression: oneOf(['gzip', 'none', 'zstd'], {
    default: 'gzip',
    description: 'gzip, none, or zstd (Node 22.15 and later).',
  }),
  s3ForcePathStyle: Type.Boolean({
    default: false,
    description:
      'Put the bucket in the path and not in the host name, as most S3 servers other than AWS want.',
  }),
  s3IdleMsMax: milliseconds({
    default: 30_000,
    minimum: 100,
    description: 'How long S3 may be silent before a request is given up, and tried again.',
  }),
  batchEventsMax: Type.Integer({
    minimum: 1,
    maximum: 1_000_000,
    default: 1000,
    description: 'Events after which a batch closes. A record of the log holds the ids of all of them.',
  }),
  batchBytesMax: bytes({
    default: 128 * MIB,
    minimum: KIB,
    maximum: BATCH_BYTES_MAX_MAX,
    description: 'Bytes, before compression, that a batch does not pass.',
  }),
  batchAgeMsMax: milliseconds({
    default: 10_000,
    description: 'Age, from its first event, at which a batch closes.',
  }),
  dedupeWindowMs: milliseconds({
    default: 24 * 60 * 60 * 1000,
    minimum: 60_000,
    description: 'How long an event that its source sends again with the same messageId is archived once.',
  }),
  dedupeIdsMax: Type.Integer({
    minimum: 100_000,
    maximum: 10_000_000_000,
    default: 200_000_000,
    description:
      'Ids remembered for that; past it the window is shorter. Each takes some 20 bytes of disk and 2 of memory.',
  }),
  ...requestSettings,
  ...clientSettings,
  spool: oneOf(['on', 'off'], {
    default: 'on',
    description: 'Whether events go to disk while RabbitMQ cannot take them (on), or get 503 (off).',
  }),
  spoolBytesMax: bytes({
    default: 10 * GIB,
    minimum: MIB,
    description:
      'Disk that events in the embedded queue, or in the spool, may fill; past it clients get 503.',
  }),
  shutdownMsMax: milliseconds({
    default: 30_000,
    description: 'How long a shutdown may take before it is cut short.',
  }),
})

type Settings = Static<typeof settingsSchema>

export type Config = Readonly<
  Omit<Settings, 'archiveUrl' | 'amqpPrefetch'> & {
    readonly amqpPrefetch: number
    /** Events that a consumer holds unacknowledged, as far as `amqpPrefetch` lets it. */
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
  /** The default as a person would write it. */
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
 * Reads the settings from flags and environment variables: a flag wins, and an empty variable is as
 * one that is not set.
 *
 * @throws ConfigInvalid: one line that names the setting and says what it must be.
 */
export function readConfig(flags: Partial<Record<string, string>>, env: NodeJS.ProcessEnv): Config {
  const given: Record<string, unknown> = {}
  for (const setting of settings) {
    if (setting.schema.default !== undefined) given[setting.name] = setting.schema.default
    const text = flags[setting.name] ?? env[setting.variable]
    if (text === undefined || text === '') continue
    const value = parseSettingText(setting.schema, text)
    if (!TypeCompiler.Compile(setting.schema).Check(value))
      throw new ConfigInvalid(
        `${setting.variable} must be ${wantedText(setting.schema)}${got(setting, text)}.`,
      )
    given[setting.name] = value
  }
  const config = checked(given as Settings)
  if (config.archive.kind === 's3' && config.role !== 'ingest') checkAwsSettings(env)
  return config
}

function got({ schema }: Setting, text: string): string {
  return schema.secret ? '' : `, not ${JSON.stringify(text.slice(0, 100))}`
}

/** Refuses what each setting allows, but not together. */
function checked(given: Settings): Config {
  const { archiveUrl, ...rest } = given
  const config = {
    ...rest,
    prefetchEvents: prefetchEvents(given),
    // The limit is that of AMQP: the embedded queue counts events alone.
    amqpPrefetch: given.amqpPrefetch ?? (given.amqpUrl === undefined ? prefetchEvents(given) : PREFETCH_MAX),
    archive: archiveLocation(archiveUrl, given.dataDir),
  }
  checkBroker(config, archiveUrl)
  checkBatch(config)
  checkBodies(config)
  checkPorts(config)
  checkClientSettings(config)
  if (config.archiveCompression === 'zstd' && !('createZstdCompress' in zlib)) {
    throw new ConfigInvalid(
      `ARCHIVE_COMPRESSION: zstd needs Node 22.15 or later, and this is ${process.version}.`,
    )
  }
  return Object.freeze(config)
}

/**
 * An archiver has one open batch and up to eight sealed ones, and more where they are small. Twice that is asked for,
 * since a prefetch in messages follows the events only to within a factor of two. With small batches the round trips
 * to broker and store count: the least, halved, keeps 60,000 events a second going where they take 0.4 seconds.
 */
function prefetchEvents({ batchEventsMax }: Settings): number {
  return Math.max(PREFETCH_EVENTS_MIN, 2 * BATCHES_HELD * batchEventsMax)
}

function checkBroker({ role, workers, amqpUrl, amqpQueue }: Config, archiveUrl: string | undefined): void {
  if (amqpQueue.startsWith('amq.') || Buffer.byteLength(amqpQueue) > QUEUE_NAME_BYTES_MAX) {
    throw new ConfigInvalid(
      `AMQP_QUEUE must have at most ${QUEUE_NAME_BYTES_MAX} bytes, and not begin with "amq.", which RabbitMQ keeps for itself.`,
    )
  }
  if (amqpUrl !== undefined && !/^amqps?:$/.test(parseUrl(amqpUrl)?.protocol ?? '')) {
    throw new ConfigInvalid('AMQP_URL must be a URL like amqp://user:password@host:5672/vhost.')
  }
  if (role !== 'ingest' && amqpUrl !== undefined && archiveUrl === undefined) {
    throw new ConfigInvalid(
      'ARCHIVE_URL: AMQP_URL needs it: all processes of a queue archive into one place, and DATA_DIR/archive would be a part of it for each machine. Name a bucket, or a directory that all of them share.',
    )
  }
  if (workers > 1 && amqpUrl === undefined) {
    throw new ConfigInvalid(`WORKERS: ${workers} need AMQP_URL: the embedded queue belongs to one process.`)
  }
  if (role !== 'all' && amqpUrl === undefined) {
    throw new ConfigInvalid(
      `ROLE: ${role} needs AMQP_URL: processes with separate roles meet at a broker, and the embedded queue belongs to one process.`,
    )
  }
}

function checkPorts({ port, adminPort, adminHost }: Config): void {
  if (adminPort === undefined && adminHost !== settingsSchema.properties.adminHost.default) {
    throw new ConfigInvalid(
      `ADMIN_HOST (${adminHost}) needs ADMIN_PORT: without ADMIN_PORT nothing listens there, and the live page, /status, /metrics, health and documentation are on PORT.`,
    )
  }
  if (adminPort === undefined || adminPort === 0 || adminPort !== port) return
  throw new ConfigInvalid(`ADMIN_PORT (${adminPort}) must be another one than PORT.`)
}

function checkBodies(config: Config): void {
  const { bodiesBytesMax, bodyBytesMax, batchBodyBytesMax, segmentEventBytesMax, segmentBatchBytesMax } =
    config
  const largest = Math.max(bodyBytesMax, batchBodyBytesMax, segmentEventBytesMax, segmentBatchBytesMax)
  if (bodiesBytesMax >= largest) return
  throw new ConfigInvalid(
    `BODIES_BYTES_MAX (${bodiesBytesMax} bytes) is below the largest body that a request may have (${largest} bytes): such a body would never be taken.`,
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
      `AMQP_PREFETCH (${amqpPrefetch}) is below BATCH_EVENTS_MAX (${batchEventsMax}): a batch would never fill.`,
    )
  }
  if (amqpUrl !== undefined && batchAgeMsMax > amqpAckTimeoutMs / 2) {
    throw new ConfigInvalid(
      `BATCH_AGE_MS_MAX (${batchAgeMsMax} ms) must be at most half of AMQP_ACK_TIMEOUT_MS (${amqpAckTimeoutMs} ms): the broker closes the channel of a delivery that waits longer.`,
    )
  }
}
