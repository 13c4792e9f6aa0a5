import type { ArchiveStats, OpenBatch } from '../archive/archive-stats.ts'
import type { Config } from '../config/config.ts'
import type { Readiness } from '../observability/readiness.ts'
import type { RequestStats } from '../observability/request-stats.ts'
import type { Logger } from '../process/logger.ts'
import type { Queue } from '../queue/queue.ts'

/** The counters and states that the live page reads. */
export interface LiveSources {
  readonly config: Pick<
    Config,
    | 'role'
    | 'workers'
    | 'batchEventsMax'
    | 'batchBytesMax'
    | 'batchAgeMsMax'
    | 'spool'
    | 'publicUrl'
    | 'writeKeys'
    | 'writeKeysFile'
  >
  /** The port that takes events; undefined if it is the port of the page. */
  eventsPort(): number | undefined
  readonly queue: Pick<Queue, 'description' | 'stats' | 'state' | 'waiting' | 'watchers'>
  readonly requests: RequestStats
  readonly readiness: Readiness
  readonly log: Logger
  /** Undefined if this process does not archive. */
  readonly archive: ArchiveSource | undefined
}

interface ArchiveSource {
  readonly description: string
  readonly stats: ArchiveStats
  oldestReceivedAt(): number | undefined
}

/** Events since this process started. */
export interface EventCounts {
  in: number
  confirmed: number
  spooled: number
  archived: number
}

/** `in` counts all events that were to be published. Without a broker `confirmed` counts the events written to disk. */
export function countEvents({ queue, archive }: LiveSources): EventCounts {
  const { broker, disk, unavailable } = queue.stats.events
  const hasBroker = queue.state.broker !== undefined
  return {
    in: broker + disk + unavailable,
    confirmed: hasBroker ? broker : disk,
    spooled: hasBroker ? disk : 0,
    archived: archive?.stats.archived.events ?? 0,
  }
}

/** The facts that do not change while the process runs. */
export function describe({ config, queue, archive, eventsPort }: LiveSources) {
  const { role, workers, batchEventsMax, batchBytesMax, batchAgeMsMax, spool, publicUrl } = config
  const hasBroker = queue.state.broker !== undefined
  return {
    role,
    workers,
    queue: queue.description,
    archive: archive?.description,
    hasBroker,
    hasSpool: hasBroker && spool === 'on',
    publicUrl: publicUrl && `${publicUrl.replace(/\/+$/, '')}/`,
    eventsPort: eventsPort(),
    wantsKey: (config.writeKeys ?? config.writeKeysFile) !== undefined,
    limits: { events: batchEventsMax, bytes: batchBytesMax, ageMs: batchAgeMsMax },
  }
}

/** The current state of this process, without what the broker has to be asked for. */
export function currentState(sources: LiveSources) {
  const { queue, requests, readiness, archive } = sources
  const { disks } = queue.state
  const { takesEvents, parts } = readiness.report()
  return {
    at: Date.now(),
    counts: countEvents(sources),
    held: archive?.stats.held.events,
    disk: {
      events: sum(disks.map(disk => disk.size)),
      bytes: sum(disks.map(disk => disk.bytes)),
      bytesMax: disks[0]?.bytesMax ?? 0,
    },
    batch: batchOf(archive?.stats.open),
    objects: archive?.stats.lastObjects.toReversed(),
    refused: {
      total: sum([...requests.refused.values()]),
      last: requests.lastRefusals.toReversed(),
    },
    takesEvents,
    troubles: troublesOf(parts),
  }
}

/** When the oldest event was received that this process has on disk or is archiving: milliseconds since 1970. */
export function oldestReceivedAt({ queue, archive }: LiveSources): number | undefined {
  const all = [archive?.oldestReceivedAt(), ...queue.state.disks.map(disk => disk.oldestReceivedAt)]
  const known = all.filter(at => at !== undefined)
  return known.length === 0 ? undefined : Math.min(...known)
}

/** The reasons why parts do not work. Several connections report the same reason; only the first is kept. */
function troublesOf(parts: readonly { readonly trouble?: string; readonly since: string }[]) {
  const troubles = new Map<string | undefined, { text: string; since: number }>()
  for (const { trouble, since } of parts) {
    const subject = trouble?.split(': ', 1)[0]
    if (trouble !== undefined && !troubles.has(subject))
      troubles.set(subject, { text: trouble, since: Date.parse(since) })
  }
  return [...troubles.values()]
}

function batchOf(open: OpenBatch | undefined) {
  if (open === undefined) return undefined
  const { events, bytes, openedAt } = open
  return { events, bytes, openedAt }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
