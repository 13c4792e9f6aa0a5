import { type Static, Type } from '@sinclair/typebox'
import type { Archiver } from '../archive/archiver.ts'
import type { Config } from '../config/config.ts'
import type { LogStatus } from '../log/log-totals.ts'
import type { Queue } from '../queue/queue.ts'
import type { Waiting } from '../queue/queue-stats.ts'
import { type Counts, type LedgerEntry, ledgerEntrySchema } from './ledger-entry.ts'
import type { Readiness } from './readiness.ts'

const events = (description: string) => Type.Integer({ minimum: 0, description })

/** What a process says of itself: `GET /status`. */
export const processStatusSchema = Type.Object({
  role: Type.Union([Type.Literal('all'), Type.Literal('ingest'), Type.Literal('archive')]),
  startedAt: Type.String({ description: 'ISO 8601.' }),
  queue: Type.String({ description: 'Where events wait, in words.' }),
  ready: Type.Boolean(),
  troubles: Type.Array(Type.String({ description: 'What is not well, since when, in words.' })),
  books: Type.Array(ledgerEntrySchema, {
    description: 'What was counted by all processes of this DATA_DIR.',
  }),
  log: Type.Union([
    Type.Null({ description: 'Where nothing is archived, or the log was not open yet.' }),
    Type.Object({
      id: Type.String({ description: 'The id of the log.' }),
      position: events('The last record that this process knows.'),
      watermark: events('The last record that is folded.'),
      total: Type.Union([
        Type.Null({ description: 'While it is being counted.' }),
        Type.Object({
          events: events('Events that are archived, as the log says.'),
          objects: events('The objects that hold them.'),
        }),
      ]),
      unsettled: Type.Object({
        records: events('Records not all of whose objects are known to be there.'),
        batches: events('Batches in them.'),
      }),
    }),
  ]),
  now: Type.Object({
    disk: events('Events on disk: in the spool, or in the embedded queue.'),
    isEmbedded: Type.Boolean({
      description: 'Whether there is no broker: what is unacknowledged is on disk too.',
    }),
    underway: events('Events between disk and broker, or sent to the broker and not confirmed.'),
    held: Type.Object({
      deliveries: events('Messages delivered and not acknowledged.'),
      events: events('Events in those that frequency published.'),
    }),
    hiddenDeliveriesMax: events('Messages that the broker may have delivered, and that are not read yet.'),
    waiting: Type.Union([
      Type.Null({ description: 'Without a broker, or while it cannot be asked.' }),
      Type.Object({
        messages: events('Messages on the broker that are not delivered.'),
        dead: events('Messages in the dead-letter queue.'),
      }),
    ]),
    publishEventsMax: events('Events that a message may have (PUBLISH_EVENTS_MAX).'),
  }),
})

export type ProcessStatus = Static<typeof processStatusSchema>

export interface StatusSources {
  readonly config: Pick<Config, 'role' | 'amqpPrefetch' | 'publishEventsMax'>
  readonly startedAt: Date
  readonly queue: Queue
  readonly archiver: Archiver | undefined
  readonly readiness: Readiness
  readonly book: LedgerEntry
  waiting(): Promise<Waiting | undefined>
}

/** What this life of the process has counted. */
export function countsOf(queue: Queue, archiver: Archiver | undefined): Counts {
  const { broker, disk } = queue.stats.events
  const archive = archiver?.stats
  return {
    accepted: broker + disk,
    unconfirmed: queue.state.broker?.unconfirmedEvents ?? 0,
    settled: archive?.settled.events ?? 0,
    settledForeign: archive?.settledForeign.events ?? 0,
    archived: archive?.archived.events ?? 0,
    dead: archive?.dead ?? 0,
  }
}

export async function processStatusOf(sources: StatusSources): Promise<ProcessStatus> {
  const { config, startedAt, queue, archiver, readiness, book } = sources
  const { ready, parts } = readiness.look()
  const waiting = await sources.waiting()
  const books = await book.all()
  // Last, and in one turn: what is waited for above would have moved on.
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
    books: [book.content, ...books.slice(1)],
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
 * What several processes behind one port are together: each of them would answer for itself alone.
 *
 * @param statuses of one process at the least, all with the same settings and the same DATA_DIR
 */
export function together(statuses: readonly [ProcessStatus, ...ProcessStatus[]]): ProcessStatus {
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

/** All follow one log: who has read most of it knows most. */
function furthest(a: ProcessStatus['log'], b: ProcessStatus['log']): ProcessStatus['log'] {
  if (a === null || b === null) return a ?? b
  const isBehind = a.position < b.position || (a.position === b.position && a.total === null)
  return isBehind ? b : a
}
