import { Histogram, LATENCY_BOUNDS_S, OBJECT_BOUNDS_BYTES } from '../process/histogram.ts'
import type { Delivery } from '../queue/queue.ts'
import type { CloseReason } from './batch-limits.ts'

const LAST_OBJECTS_MAX = 20

export interface ArchivedObject {
  readonly key: string
  readonly events: number
  /** Before compression. */
  readonly bytes: number
  readonly storedBytes: number
  readonly reason: CloseReason
  /** Milliseconds since 1970. */
  readonly at: number
}

/** The batch that events are added to. */
export interface OpenBatch {
  readonly events: number
  /** Before compression. */
  readonly bytes: number
  /** Milliseconds since 1970. */
  readonly openedAt: number
  readonly firstReceivedAt: number
}

/** A number of messages, and of the events in them. */
export interface Amount {
  deliveries: number
  events: number
}

/**
 * Counters of an archiver since this process started. Counters are monotonic. Fields marked "gauge" are current values.
 */
export class ArchiveStats {
  deliveries = 0
  /** Deliveries that the queue marked as redelivered. */
  redelivered = 0
  /** Gauge. Deliveries that are not settled. `events` counts only messages that frequency published. */
  readonly held: Amount = { deliveries: 0, events: 0 }
  /** Acknowledged messages that frequency published. All of their events are archived. */
  readonly settled: Amount = { deliveries: 0, events: 0 }
  /** Acknowledged messages that other programs published. */
  readonly settledForeign: Amount = { deliveries: 0, events: 0 }
  /** Messages that were moved to the dead letters. */
  dead = 0
  /** Events that were skipped, because their id is archived or in a batch. */
  duplicates = 0
  /** Acknowledged events that were dropped, because their user is suppressed. */
  suppressed = 0
  /** Duplicates whose length differs from that of the first event with their id, if that length is still known. */
  differingDuplicates = 0
  /** What this process has archived; bytes before compression. */
  readonly archived = { events: 0, objects: 0, bytes: 0 }
  readonly closed: Record<CloseReason, number> = {
    events: 0,
    bytes: 0,
    age: 0,
    time: 0,
    shutdown: 0,
  }
  /** Size of objects as stored. */
  readonly objectBytes = new Histogram(OBJECT_BOUNDS_BYTES)
  /** Time from the sealing of a batch until it is in the log and its object is stored. */
  readonly uploadSeconds = new Histogram(LATENCY_BOUNDS_S)
  /** Gauge. Whether the consumer is paused, because the store is slower than the queue. */
  isPaused = false
  /** How often archiving failed and started again. */
  failures = 0
  /** Gauge. */
  open: OpenBatch | undefined
  /** Oldest first, at most 20. */
  readonly lastObjects: ArchivedObject[] = []

  delivered(delivery: Delivery, events: number): void {
    this.deliveries++
    if (delivery.redelivered) this.redelivered++
    this.held.deliveries++
    if (delivery.group !== undefined) this.held.events += events
  }

  /** All deliveries that are held are void: the queue redelivers them. Batches keep their events. */
  dropHeld(): void {
    this.held.deliveries = 0
    this.held.events = 0
  }

  /**
   * Counts acknowledged deliveries.
   *
   * @param own messages that frequency published
   * @param foreign messages that other programs published
   */
  settle(own: Amount, foreign: Amount): void {
    this.held.deliveries -= own.deliveries + foreign.deliveries
    this.held.events -= own.events
    add(this.settled, own)
    add(this.settledForeign, foreign)
  }

  deadLettered(): void {
    this.dead++
    this.held.deliveries--
  }

  stored(object: ArchivedObject, uploadMs: number): void {
    this.archived.events += object.events
    this.archived.objects++
    this.archived.bytes += object.bytes
    this.closed[object.reason]++
    this.objectBytes.observe(object.storedBytes)
    this.uploadSeconds.observe(uploadMs / 1000)
    if (this.lastObjects.push(object) > LAST_OBJECTS_MAX) this.lastObjects.shift()
  }
}

function add(sum: Amount, more: Amount): void {
  sum.deliveries += more.deliveries
  sum.events += more.events
}
