/**
 * Counters of a queue since the process began: plain numbers that the queue's parts increment. They are
 * monotonic. Fields marked "gauge" are current values.
 */

import { Histogram, LATENCY_BOUNDS_S } from '../process/histogram.ts'

/** Published events. */
export class PublishStats {
  /** Events by where they became durable. `unavailable`: neither broker nor disk, and the client got 503. */
  readonly events: Record<'broker' | 'disk' | 'unavailable', number> = { broker: 0, disk: 0, unavailable: 0 }
  /** Groups of events that were sent. */
  groups = 0
}

/** Messages that were published to the broker. */
export class BrokerStats {
  /** Time from sending a message to its publisher confirm. */
  readonly confirmSeconds = new Histogram(LATENCY_BOUNDS_S)
  /** Messages. `unconfirmed`: no answer came in time, or before the connection was lost. */
  readonly messages = { confirmed: 0, refused: 0, unconfirmed: 0 }
  /** Events of unconfirmed messages. They may be on the queue nonetheless. */
  unconfirmedEvents = 0
  /** Events of confirmed messages. */
  confirmedEvents = 0
  /** Gauge: sent, and waiting for the confirm. */
  readonly inFlight = { events: 0, bytes: 0 }
}

/** Events that were appended to a queue on local disk. */
export class DiskStats {
  /** Time until an append of a group is on disk. */
  readonly appendSeconds = new Histogram(LATENCY_BOUNDS_S)
  appendedEvents = 0
  /** Events that the queue had when it was opened. */
  foundEvents = 0
  /** Groups that were refused because the queue, or the disk, was full. */
  refusedGroups = 0
}

/** Gauges of a queue on local disk. */
export interface DiskState {
  readonly stats: DiskStats
  /** Events that are not settled. */
  readonly size: number
  /** Events of `size` that are delivered to the consumer. */
  readonly handedOutEvents: number
  readonly bytes: number
  readonly bytesMax: number
  /** When the oldest event was received, in milliseconds since 1970; undefined if the queue is empty. */
  readonly oldestReceivedAt: number | undefined
}

/** Gauges of the broker's queues. */
export interface Waiting {
  /** Messages that wait for their delivery. */
  readonly messages: number
  /** Dead letters. */
  readonly dead: number
}

/** Statistics of the parts of a transport. */
export interface TransportState {
  /** Undefined without a broker. */
  readonly broker: BrokerStats | undefined
  /** The spools of this process, or the embedded queue. */
  readonly disks: readonly DiskState[]
}
