import type { Archiver } from '../archive/archiver.ts'
import type { Config } from '../config/config.ts'
import type { Queue } from '../queue/queue.ts'
import type { Waiting } from '../queue/queue-stats.ts'
import type { ObjectStore } from '../store/store.ts'
import type { EnrichStats } from './enrich-stats.ts'
import { Exposition } from './exposition.ts'
import { addLogMetrics } from './log-metrics.ts'
import type { Readiness } from './readiness.ts'
import type { RequestStats } from './request-stats.ts'

export interface MetricSources {
  readonly role: Config['role']
  readonly queue: Queue
  readonly requests: RequestStats
  readonly enrichments: EnrichStats
  readonly readiness: Readiness
  /** Undefined if the process does not archive. */
  readonly archiver: Archiver | undefined
  readonly store: ObjectStore | undefined
  /** Resolves to undefined without a broker, and while the broker does not answer. */
  waiting(): Promise<Waiting | undefined>
}

/** All metrics of a process, by its role. Each is explained in docs/operations.md. */
export function expositionOf(sources: MetricSources): Exposition {
  const exposition = new Exposition()
  addProcess(exposition, sources)
  addQueue(exposition, sources)
  if (sources.queue.state.broker === undefined || sources.role !== 'archive') addDisk(exposition, sources)
  if (sources.role !== 'archive') {
    addRequests(exposition, sources)
    addEnrichments(exposition, sources)
    addPublishing(exposition, sources)
  }
  const { archiver, store } = sources
  if (archiver !== undefined) {
    addDeliveries(exposition, archiver)
    addArchive(exposition, archiver)
    addOpen(exposition, archiver)
    addLogMetrics(exposition, () => archiver.logStatus)
  }
  if (store !== undefined) addStore(exposition, store)
  return exposition
}

function addProcess(exposition: Exposition, { role, readiness }: MetricSources): void {
  exposition.gauge(
    {
      name: 'frequency_info',
      help: 'Always 1. The label is the role.',
      labels: ['role'],
      aggregator: 'first',
    },
    show => show(1, { role }),
  )
  exposition.gauge(
    { name: 'frequency_ready', help: '1 while /readyz answers 200, else 0.', aggregator: 'min' },
    show => show(Number(readiness.report().ready)),
  )
  exposition.gauge(
    {
      name: 'frequency_part_well',
      help: '1 while a part that this process depends on works, else 0.',
      labels: ['part'],
      aggregator: 'min',
    },
    show => {
      for (const { part, well } of readiness.report().parts) show(Number(well), { part })
    },
  )
}

function addRequests(exposition: Exposition, { requests }: MetricSources): void {
  exposition.histogram(
    {
      name: 'frequency_request_duration_seconds',
      help: 'Time from receiving the headers of a request to sending its answer, by route.',
    },
    () => [...requests.seconds].map(([route, histogram]) => [histogram, { route }]),
  )
  exposition.counter(
    {
      name: 'frequency_refusals_total',
      help: 'Refused requests, and refused events of batches, by the code of the error.',
      labels: ['code'],
    },
    show => {
      for (const [code, count] of requests.refused) show(count, { code })
    },
  )
}

function addEnrichments(exposition: Exposition, { enrichments }: MetricSources): void {
  exposition.counter(
    {
      name: 'frequency_enriched_events_total',
      help: 'Events that enrich hooks have seen, by outcome: added, unchanged, failed or late (kept without).',
      labels: ['outcome'],
    },
    show => {
      for (const [outcome, count] of Object.entries(enrichments.events)) show(count, { outcome })
    },
  )
  exposition.histogram(
    {
      name: 'frequency_enrich_duration_seconds',
      help: 'Time that the enrich hooks take for all events of one request.',
    },
    () => [[enrichments.seconds, {}]],
  )
}

function addPublishing(exposition: Exposition, { queue }: MetricSources): void {
  exposition.counter(
    {
      name: 'frequency_events_total',
      help: 'Events to be published, by outcome: broker (confirmed), disk (fsynced) or unavailable (503).',
      labels: ['outcome'],
    },
    show => {
      for (const [outcome, count] of Object.entries(queue.stats.events)) show(count, { outcome })
    },
  )
  exposition.counter(
    {
      name: 'frequency_event_groups_total',
      help: 'Groups of events that were published as one message or disk record.',
    },
    show => show(queue.stats.groups),
  )
  const { broker } = queue.state
  if (broker === undefined) return
  exposition.histogram(
    {
      name: 'frequency_confirm_duration_seconds',
      help: 'Time from sending a message to its publisher confirm.',
    },
    () => [[broker.confirmSeconds, {}]],
  )
  exposition.counter(
    {
      name: 'frequency_published_messages_total',
      help: 'Messages sent to the broker, by its answer: confirmed, refused or unconfirmed (no answer).',
      labels: ['outcome'],
    },
    show => {
      for (const [outcome, count] of Object.entries(broker.messages)) show(count, { outcome })
    },
  )
  exposition.counter(
    {
      name: 'frequency_unconfirmed_events_total',
      help: 'Events in messages without a publisher confirm. They may be on the queue.',
    },
    show => show(broker.unconfirmedEvents),
  )
  exposition.gauge(
    {
      name: 'frequency_publish_in_flight_events',
      help: 'Events sent to the broker and not confirmed yet.',
    },
    show => show(broker.inFlight.events),
  )
}

function addQueue(exposition: Exposition, { queue, waiting }: MetricSources): void {
  if (queue.state.broker === undefined) return
  exposition.gauge(
    {
      name: 'frequency_queue_messages',
      help: 'Messages on the broker that are not delivered yet. Absent while the broker does not answer.',
      aggregator: 'max',
    },
    async show => {
      const found = await waiting()
      if (found !== undefined) show(found.messages)
    },
  )
  exposition.gauge(
    {
      name: 'frequency_dead_letter_messages',
      help: 'Messages in the dead-letter queue. Absent while the broker does not answer.',
      aggregator: 'max',
    },
    async show => {
      const found = await waiting()
      if (found !== undefined) show(found.dead)
    },
  )
}

/** The spool, or the embedded queue. */
function addDisk(exposition: Exposition, { queue }: MetricSources): void {
  const disks = () => queue.state.disks
  const sum = (of: (disk: ReturnType<typeof disks>[number]) => number) =>
    disks().reduce((total, disk) => total + of(disk), 0)

  exposition.gauge(
    { name: 'frequency_spool_bytes', help: 'Disk space of the spool, or of the embedded queue.' },
    show => show(sum(({ bytes }) => bytes)),
  )
  exposition.gauge(
    { name: 'frequency_spool_bytes_max', help: 'Limit of frequency_spool_bytes (SPOOL_BYTES_MAX).' },
    show => show(disks()[0]?.bytesMax ?? 0),
  )
  exposition.gauge(
    { name: 'frequency_spool_events', help: 'Events in the spool, or in the embedded queue.' },
    show => show(sum(({ size }) => size)),
  )
  exposition.gauge(
    {
      name: 'frequency_spool_oldest_age_seconds',
      help: 'Age of the oldest event in the spool, or in the embedded queue. 0 if it is empty.',
      aggregator: 'max',
    },
    show => {
      const oldest = disks().map(({ oldestReceivedAt }) => oldestReceivedAt ?? Date.now())
      show(ageSeconds(Math.min(...oldest, Date.now())))
    },
  )
  exposition.counter(
    {
      name: 'frequency_spooled_events_total',
      help: 'Events written to the spool, or to the embedded queue.',
    },
    show => show(sum(({ stats }) => stats.appendedEvents)),
  )
  exposition.histogram(
    {
      name: 'frequency_spool_write_duration_seconds',
      help: 'Time from writing a group of events to its fdatasync, in the spool or the embedded queue.',
    },
    () =>
      disks()
        .slice(0, 1)
        .map(({ stats }) => [stats.appendSeconds, {}]),
  )
}

function addDeliveries(exposition: Exposition, { stats }: Archiver): void {
  exposition.counter(
    { name: 'frequency_deliveries_total', help: 'Messages that the queue has delivered.' },
    show => show(stats.deliveries),
  )
  exposition.counter(
    {
      name: 'frequency_redeliveries_total',
      help: 'Redeliveries: messages that may have been delivered before.',
    },
    show => show(stats.redelivered),
  )
  exposition.gauge(
    {
      name: 'frequency_unacknowledged_deliveries',
      help: 'Messages that are delivered and not acknowledged.',
    },
    show => show(stats.held.deliveries),
  )
  exposition.gauge(
    {
      name: 'frequency_unacknowledged_events',
      help: 'Events in unacknowledged messages, of those that frequency published.',
    },
    show => show(stats.held.events),
  )
  exposition.counter(
    {
      name: 'frequency_settled_events_total',
      help: 'Events that were acknowledged to the queue, because they are in the archive, by publisher.',
      labels: ['publisher'],
    },
    show => {
      show(stats.settled.events, { publisher: 'frequency' })
      show(stats.settledForeign.events, { publisher: 'other' })
    },
  )
  exposition.counter(
    {
      name: 'frequency_duplicate_events_total',
      help: 'Events that were not archived again: the archive, or a batch on its way, already has them.',
    },
    show => show(stats.duplicates),
  )
  exposition.counter(
    {
      name: 'frequency_suppressed_events_total',
      help: 'Events that were acknowledged and not archived, because their user is suppressed.',
    },
    show => show(stats.suppressed),
  )
  exposition.counter(
    {
      name: 'frequency_differing_duplicate_events_total',
      help: 'Duplicate events whose length differs from the last event with the same id: two different events, one is lost.',
    },
    show => show(stats.differingDuplicates),
  )
  exposition.counter(
    { name: 'frequency_dead_letters_total', help: 'Messages that were dead-lettered.' },
    show => show(stats.dead),
  )
}

function addArchive(exposition: Exposition, { stats }: Archiver): void {
  exposition.counter({ name: 'frequency_archived_events_total', help: 'Events in stored objects.' }, show =>
    show(stats.archived.events),
  )
  exposition.counter(
    { name: 'frequency_archived_bytes_total', help: 'Bytes in stored objects, before compression.' },
    show => show(stats.archived.bytes),
  )
  exposition.counter(
    {
      name: 'frequency_batches_total',
      help: 'Stored batches, by the reason for closing them: events, bytes, age, time or shutdown.',
      labels: ['reason'],
    },
    show => {
      for (const [reason, count] of Object.entries(stats.closed)) show(count, { reason })
    },
  )
  exposition.histogram(
    { name: 'frequency_object_size_bytes', help: 'Size of objects in the store, after compression.' },
    () => [[stats.objectBytes, {}]],
  )
  exposition.histogram(
    {
      name: 'frequency_upload_duration_seconds',
      help: 'Time from closing a batch to storing its object.',
    },
    () => [[stats.uploadSeconds, {}]],
  )
  exposition.counter(
    {
      name: 'frequency_archive_failures_total',
      help: 'How often archiving failed and was started again.',
    },
    show => show(stats.failures),
  )
}

/** The open batch, and how far archiving is behind. */
function addOpen(exposition: Exposition, archiver: Archiver): void {
  const { stats } = archiver
  exposition.gauge({ name: 'frequency_open_batch_events', help: 'Events in the open batch.' }, show =>
    show(stats.open?.events ?? 0),
  )
  exposition.gauge(
    { name: 'frequency_open_batch_bytes', help: 'Bytes in the open batch, before compression.' },
    show => show(stats.open?.bytes ?? 0),
  )
  exposition.gauge(
    {
      name: 'frequency_oldest_unarchived_age_seconds',
      help: 'Age of the oldest event that is delivered and not archived, since its receipt. 0 if there is none.',
      aggregator: 'max',
    },
    show => show(ageSeconds(archiver.oldestReceivedAt ?? Date.now())),
  )
  exposition.gauge(
    {
      name: 'frequency_last_object_timestamp_seconds',
      help: 'When the last object was stored, in seconds since 1970. Absent before the first one.',
      aggregator: 'max',
    },
    show => {
      const last = stats.lastObjects.at(-1)
      if (last !== undefined) show(last.at / 1000)
    },
  )
}

function addStore(exposition: Exposition, { stats }: ObjectStore): void {
  exposition.counter(
    { name: 'frequency_store_retries_total', help: 'Retried requests to the store.' },
    show => show(stats.retries),
  )
  exposition.counter(
    {
      name: 'frequency_upload_failures_total',
      help: 'Failed attempts to store an object or a log record. Their events stay in the queue.',
    },
    show => show(stats.failedPuts),
  )
}

function ageSeconds(at: number): number {
  return Math.max(0, Date.now() - at) / 1000
}
