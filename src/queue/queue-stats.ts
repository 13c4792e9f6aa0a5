/**
 * What a queue has counted since this process began, in plain numbers that its parts count up and others
 * read. Counts only grow, unless it says that they are of now.
 */

import { Histogram, LATENCY_BOUNDS_S } from '../process/histogram.ts'

/** Events that were published. */
export class PublishStats {
  /** Events, by where they became durable; and those that nothing took, whose clients got a 503. */
  readonly events: Record<'broker' | 'disk' | 'unavailable', number> = { broker: 0, disk: 0, unavailable: 0 }
  /** Groups of events that left together. */
  groups = 0
}

/** What became of messages to the broker. */
export class BrokerStats {
  /** From sending a message to its confirm. */
  readonly confirmSeconds = new Histogram(LATENCY_BOUNDS_S)
  /** Messages. `unconfirmed`: there was no answer, in time or before the connection was lost. */
  readonly messages = { confirmed: 0, refused: 0, unconfirmed: 0 }
  /** Events of the messages without an answer: they may be on the queue nonetheless. */
  unconfirmedEvents = 0
  /** Events of confirmed messages. */
  confirmedEvents = 0
  /** Now on their way, without an answer yet. */
  readonly inFlight = { events: 0, bytes: 0 }
}

/** What went through a queue on local disk. */
export class DiskStats {
  /** From writing a group to when it is on disk. */
  readonly appendSeconds = new Histogram(LATENCY_BOUNDS_S)
  appendedEvents = 0
  /** Events that were there when it was opened. */
  foundEvents = 0
  /** Groups that there was no room for. */
  refusedGroups = 0
}

/** A queue on local disk as it is now. */
export interface DiskState {
  readonly stats: DiskStats
  /** Events that are not settled. */
  readonly size: number
  /** Of these, handed out. */
  readonly handedOutEvents: number
  readonly bytes: number
  readonly bytesMax: number
  /** Milliseconds since 1970 at which the first event in it was received; undefined where there is none. */
  readonly oldestReceivedAt: number | undefined
}

/** Messages that wait on the broker. */
export interface Waiting {
  /** Not delivered yet. */
  readonly messages: number
  /** Dead letters. */
  readonly dead: number
}

/** What a transport is made of, as far as it counts. */
export interface TransportState {
  /** Undefined without a broker. */
  readonly broker: BrokerStats | undefined
  /** The spools of this process, or the embedded queue. */
  readonly disks: readonly DiskState[]
}
