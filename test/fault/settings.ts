/** Random settings of processes, new at each start. */
import * as zlib from 'node:zlib'
import type { Random } from './random.ts'

const KIB = 1024
const MIB = 1024 * KIB
const EVENTS_MAX = [200, 500, 1_000, 2_000]
const BYTES_MAX = [512 * KIB, 4 * MIB, 128 * MIB]
/** Mostly short: then a run has many batches, and an archiver is killed in many different states. */
const AGE_MS_MAX = [500, 1_000, 1_000, 3_000]
const COMPRESSIONS = ['gzip', 'gzip', 'none', ...('zstdDecompressSync' in zlib ? ['zstd'] : [])]

/** Settings that may differ between the archivers of one queue. */
export function archiverSettings(random: Random): NodeJS.ProcessEnv {
  const eventsMax = random.pick(EVENTS_MAX)
  return {
    BATCH_EVENTS_MAX: String(eventsMax),
    BATCH_BYTES_MAX: String(random.pick(BYTES_MAX)),
    BATCH_AGE_MS_MAX: String(random.pick(AGE_MS_MAX)),
    AMQP_PREFETCH: String(eventsMax * random.pick([1, 2, 8])),
    ARCHIVE_FORMAT: random.pick(['ndjson', 'ndjson', 'json']),
    ARCHIVE_COMPRESSION: random.pick(COMPRESSIONS),
  }
}

/** Sets the number of events per message. */
export function ingestSettings(random: Random): NodeJS.ProcessEnv {
  return { PUBLISH_EVENTS_MAX: String(random.pick([1, 16, 256])) }
}
