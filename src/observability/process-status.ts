import { type Static, Type } from '@sinclair/typebox'
import type { Archiver } from '../archive/archiver.ts'
import type { Config } from '../config/config.ts'
import type { LogStatus } from '../log/log-totals.ts'
import type { Queue } from '../queue/queue.ts'
import type { Waiting } from '../queue/queue-stats.ts'
import { type Counts, type LedgerEntry, ledgerEntrySchema } from './ledger-entry.ts'
import type { Readiness } from './readiness.ts'

const count = (description: string) => Type.Integer({ minimum: 0, description })

/** The status of a process: the answer of `GET /status`. */
export const processStatusSchema = Type.Object({
  role: Type.Union([Type.Literal('all'), Type.Literal('ingest'), Type.Literal('archive')]),
  startedAt: Type.String({ description: 'ISO 8601.' }),
  queue: Type.String({ description: 'Where events wait, for people.' }),
  ready: Type.Boolean(),
  troubles: Type.Array(Type.String({ description: 'Why a part does not work, and since when, for people.' })),
  books: Type.Array(ledgerEntrySchema, {
    description: 'The counts of all processes of this DATA_DIR.',
  }),
  log: Type.Union([
    Type.Null({ description: 'The process does not archive, or the log is not open yet.' }),
    Type.Object({
      id: Type.String({ description: 'The id of the log.' }),
      position: count('Number of the last record that this process knows.'),
      watermark: count('Number of the last folded record.'),
      total: Type.Union([
        Type.Null({ description: 'They are still being counted.' }),
        Type.Object({
          events: count('Archived events, by the log.'),
          objects: count('Objects with these events.'),
        }),
      ]),
      unsettled: Type.Object({
        records: count('Records with objects that are not known to be stored yet.'),
        batches: count('Batches in these records.'),
      }),
    }),
  ]),
  now: Type.Object({
    disk: count('Events on disk: in the spool, or in the embedded queue.'),
    isEmbedded: Type.Boolean({
      description: 'Whether there is no broker. Then unacknowledged events are on disk as well.',
    }),
    underway: count('Events between disk and broker, or sent to the broker and not confirmed.'),
    held: Type.Object({
      deliveries: count('Messages that are delivered and not acknowledged.'),
      events: count('Events in these messages, of those that frequency published.'),
    }),
    hiddenDeliveriesMax: count(
      'Messages at most that the broker has delivered and the process has not read.',
    ),
    waiting: Type.Union([
      Type.Null({ description: 'There is no broker, or it does not answer.' }),
      Type.Object({
        messages: count('Messages on the broker that are not delivered.'),
        dead: count('Messages in the dead-letter queue.'),
      }),
    ]),
    publishEventsMax: count('Events in a message at most (PUBLISH_EVENTS_MAX).'),
  }),
})

export type ProcessStatus = Static<typeof processStatusSchema>

export interface StatusSources {
  readonly config: Pick<Config, 'role' | 'amqpPrefetch' | 'publishEventsMax'>
  readonly startedAt: Date
  readonly queue: Queue
  readonly archiver: Archiver | undefined
  readonly readiness: Readiness
  readonly entry: LedgerEntry
  waiting(): Promise<Waiting | undefined>
}

/** The counts since this process started. */
export function countsOf(queue: Queue, archiver: Archiver | undefined): Counts {
  const { broker, disk } = queue.stats.events
  const archive = archiver?.stats
  return {
    accepted: broker + disk,
    unconfirmed: queue.state.broker?.unconfirmedEvents ?? 0,
    settled: archive?.settled.events ?? 0,
    settledForeign: archive?.settledForeign.events ?? 0,
    suppressed: archive?.suppressed ?? 0,
    archived: archive?.archived.events ?? 0,
    dead: archive?.dead ?? 0,
  }
}

export async function processStatusOf(sources: StatusSources): Promise<ProcessStatus> {
  const { config, startedAt, queue, archiver, readiness, entry } = sources
  const { ready, parts } = readiness.report()
  const waiting = await sources.waiting()
  const [, ...otherEntries] = await entry.all()
  // Read after all awaits, and without another: so that all these numbers are of the same moment.
  const { broker, disks } = queue.state
  const held = archiver?.stats.held ?? { deliveries: 0, events: 0 }
  const isEmbedded = broker === undefined
  const handedOut = disks.reduce((sum, { handedOutEvents }) => sum + handedOutEvents, 0)
  return {
    role: config.role,
    startedAt: startedAt.toISOString(),
    queue: queue.description,
    ready,
    troubles: parts.filter(({ well }) => !well).map(({ trouble, since }) => `since ${since}: ${trouble}`),
    books: [entry.content, ...otherEntries],
    log: logOf(archiver?.logStatus),
    now: {
      disk: disks.reduce((sum, { size }) => sum + size, 0),
      isEmbedded,
      underway: isEmbedded ? 0 : broker.inFlight.events + handedOut,
      held: { ...held },
      hiddenDeliveriesMax:
        isEmbedded || archiver?.stats.isPaused !== true
          ? 0
          : Math.max(0, config.amqpPrefetch - held.deliveries),
      waiting: waiting ?? null,
      publishEventsMax: config.publishEventsMax,
    },
  }
}

function logOf(status: LogStatus | undefined): ProcessStatus['log'] {
  if (status === undefined) return null
  const { id, position, watermark, total, unsettled } = status
  return { id, position, watermark, total: total ? { ...total } : null, unsettled: { ...unsettled } }
}

/**
 * Merges the statuses of all workers (WORKERS) into one, because any of them may get the request.
 *
 * @param statuses of processes with the same settings and the same DATA_DIR
 */
export function statusOfAll(statuses: readonly [ProcessStatus, ...ProcessStatus[]]): ProcessStatus {
  const [first] = statuses
  const sum = (of: (now: ProcessStatus['now']) => number) =>
    statuses.reduce((total, { now }) => total + of(now), 0)
  return {
    ...first,
    startedAt: statuses.map(({ startedAt }) => startedAt).toSorted()[0] as string,
    ready: statuses.every(({ ready }) => ready),
    troubles: [...new Set(statuses.flatMap(({ troubles }) => troubles))],
    books: statuses.flatMap(({ books }) => books),
    log: statuses.map(({ log }) => log).reduce(furthest),
    now: {
      ...first.now,
      disk: sum(({ disk }) => disk),
      underway: sum(({ underway }) => underway),
      held: {
        deliveries: sum(({ held }) => held.deliveries),
        events: sum(({ held }) => held.events),
      },
      hiddenDeliveriesMax: sum(({ hiddenDeliveriesMax }) => hiddenDeliveriesMax),
      waiting: statuses.map(({ now }) => now.waiting).find(waiting => waiting !== null) ?? null,
    },
  }
}

/** The status of the process that has read furthest: all processes read the same log. */
function furthest(a: ProcessStatus['log'], b: ProcessStatus['log']): ProcessStatus['log'] {
  if (a === null || b === null) return a ?? b
  const isBehind = a.position < b.position || (a.position === b.position && a.total === null)
  return isBehind ? b : a
}
