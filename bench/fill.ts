/** Fills queues with events before an archiver starts. */
import { cp } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { freePort } from '../test/services/ports.ts'
import { s3Environment } from '../test/services/s3-environment.ts'
import { type Bodies, batchesOfEvents, type EventCount, eventCount, type Ids } from './bodies.ts'
import { sendLoad } from './load.ts'
import type { Site } from './site.ts'

const EVENTS_PER_REQUEST = 100
const BATCH_CONNECTIONS = 16
const FILL_SECONDS_MAX = 4

/** Sends events to a server by HTTP until at least `events` are answered. @throws Error if a request is refused */
export async function fillThrough(
  { options }: Site,
  url: string,
  bodies: Bodies,
  events: number,
  connections = options.connections,
): Promise<EventCount> {
  const seconds = Math.min(options.seconds, FILL_SECONDS_MAX)
  const filled = { least: 0, most: 0 }
  while (filled.least < events) {
    const { answers, errors } = await sendLoad({ url, bodies: bodies.file, connections, seconds })
    if (errors > 0) throw new Error(`${url} refused ${errors} requests`)
    const { least, most } = eventCount(bodies, answers, connections)
    filled.least += least
    filled.most += most
  }
  return filled
}

/** An embedded queue with events, at rest. */
export interface FullQueue {
  readonly filled: EventCount
  /** Copies the queue into a data directory. */
  copyTo(dataDir: string): Promise<void>
}

/** Fills an embedded queue by `/api/t/batch`. The store is unreachable, so nothing is archived meanwhile. */
export async function fillEmbedded(
  site: Site,
  ids: Exclude<Ids, 'mixed'>,
  events: number,
): Promise<FullQueue> {
  const { path } = site.fresh('full')
  const server = site.frequency([], {
    DATA_DIR: path,
    SPOOL_BYTES_MAX: '100GiB',
    LOG_LEVEL: 'fatal',
    ...(await storeAway()),
  })
  const bodies = batchesOfEvents(ids, EVENTS_PER_REQUEST, site.file)
  const url = `${await server.listening()}${bodies.path}`
  const filled = await fillThrough(site, url, bodies, events, BATCH_CONNECTIONS)
  await server.stop()
  return {
    filled,
    copyTo: dataDir =>
      cp(join(path, 'queue'), join(dataDir, 'queue'), { recursive: true, filter: isCopyable }),
  }
}

/** Whether a path may be copied. A lock contains a socket, which cannot be copied. */
export function isCopyable(path: string): boolean {
  return !basename(path).startsWith('lock')
}

/** Resolves to the environment of a process whose store is unreachable. */
export async function storeAway(): Promise<Record<string, string>> {
  return {
    ...s3Environment({
      endpoint: `http://127.0.0.1:${await freePort()}`,
      accessKeyId: 'none',
      secretAccessKey: 'none',
      region: 'us-east-1',
    }),
    ARCHIVE_URL: 's3://away',
  }
}
