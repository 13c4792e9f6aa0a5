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

/** The batch that takes events now. */
export interface OpenBatch {
  readonly events: number
  /** Before compression. */
  readonly bytes: number
  /** Milliseconds since 1970. */
  readonly openedAt: number
  readonly firstReceivedAt: number
}

/** Messages, and the events in them. */
export interface Amount {
  deliveries: number
  events: number
}

/**
 * What an archiver has counted since this process began, in plain numbers. Counts only grow, unless it
 * says that they are of now.
 */
export class ArchiveStats {
  /** Deliveries that came, and those of them that may have come before. */
  deliveries = 0
  redelivered = 0
  /** Now delivered, and not settled; the events are those of our own messages. */
  readonly held: Amount = { deliveries: 0, events: 0 }
  /** Acknowledged, each because all of its events are archived. */
  readonly settled: Amount = { deliveries: 0, events: 0 }
  /** The same of messages that other programs published. */
  readonly settledForeign: Amount = { deliveries: 0, events: 0 }
  /** Messages that went to the dead letters. */
  dead = 0
  /** Events that were archived already, or were in a batch already, and were left out. */
  duplicates = 0
  /** Those that were of another length than the event that had their id before, as far as that is remembered. */
  differingDuplicates = 0
  /** Events, objects and bytes before compression that this process has put into the archive. */
  readonly archived = { events: 0, objects: 0, bytes: 0 }
  readonly closed: Record<CloseReason, number> = {
    events: 0,
    bytes: 0,
    age: 0,
    time: 0,
    shutdown: 0,
  }
  /** Size of objects as they lie in the store. */
  readonly objectBytes = new Histogram(OBJECT_BOUNDS_BYTES)
  /** From when a batch is closed to when its object is in the store, and in the log. */
  readonly uploadSeconds = new Histogram(LATENCY_BOUNDS_S)
  /** Now more is delivered than can be stored, so the queue is asked to wait. */
  isPaused = false
  /** Times that archiving stopped, and began again. */
  failures = 0
  /** The batch that takes events now. */
  open: OpenBatch | undefined
  /** Oldest first, at most 20. */
  readonly lastObjects: ArchivedObject[] = []

  delivered(delivery: Delivery, events: number): void {
    this.deliveries++
    if (delivery.redelivered) this.redelivered++
    this.held.deliveries++
    if (delivery.group !== undefined) this.held.events += events
  }

  /** All that is held will come again, or be somebody else's. Batches keep their events. */
  dropHeld(): void {
    this.held.deliveries = 0
    this.held.events = 0
  }

  /** Deliveries that were acknowledged. */
  settle(own: Amount, foreign: Amount): void {
    this.held.deliveries -= own.deliveries + foreign.deliveries
    this.held.events -= own.events
    add(this.settled, own)
    add(this.settledForeign, foreign)
  }

  buried(): void {
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
