import type { Event } from '../event/event.ts'
import type { EventGroup } from '../event/event-group.ts'
import type { EventTrace } from '../event/event-trace.ts'
import type { PublishStats, TransportState, Waiting } from './queue-stats.ts'

/** Who vouches for published events: a broker that confirmed them, or the local disk that they were fsynced to. */
export type Durability = 'broker' | 'disk'

/** What the queue hands out at once: a message of the broker, or a record on disk. */
export interface Delivery {
  /** As it lies on the queue. */
  readonly body: Buffer
  /** True where the message may have been delivered before. */
  readonly redelivered: boolean
  /** The events in it; undefined where another program published the message. */
  readonly group: EventGroup | undefined
}

/**
 * A stream of deliveries. Several consumers, in several processes, may be at work on one queue.
 *
 * A message may be delivered in any order, again at any time, and to any consumer, also while an earlier
 * delivery of it is still held here: each delivery is settled for itself. A delivery is settled once, by
 * `ack` or by `dead`. What is not settled when the consumer stops, or when its connection is lost, is
 * delivered again, here or elsewhere.
 */
export interface Consumer {
  /**
   * Acknowledges these deliveries, in any order. A delivery of a connection that is gone is ignored: its
   * message comes again. So may what is acknowledged while an earlier delivery is not settled: the queue may
   * not know of it yet when this process crashes and, on the embedded queue, when the consumer stops.
   */
  ack(deliveries: readonly Delivery[]): void
  /** Moves the delivery to where messages wait that can never be archived. */
  dead(delivery: Delivery): void
  /** Stops the flow at its source, so that what waits here is bounded; a few deliveries may still come. */
  pause(): void
  resume(): void
  /** Resolves when no delivery comes any more and the queue was told what is settled. What is settled later is not passed on. */
  stop(): Promise<void>
}

export interface DeliveryHandler {
  delivery(delivery: Delivery): void
  /** All deliveries that are not settled are void: they may come again, here or to another consumer. To settle them does nothing. */
  lost(): void
}

/** A part of a process, and what keeps it from working now, in words for a person. */
export interface Part {
  readonly name: string
  readonly trouble: string | undefined
}

/** Where groups of events wait, and are durable. */
export interface Transport {
  /** What it is and where, in words for a person, without secrets. */
  readonly description: string
  /** What keeps it from working now, in words for a person; undefined where it works. */
  readonly trouble: string | undefined
  /** What publishing stands on: events are taken while one of these is well. */
  readonly intake: readonly Part[]
  /** What consuming stands on: deliveries come while all of these are well. */
  readonly outlet: readonly Part[]
  /** What it has counted, and what is in it now. */
  readonly state: TransportState
  /**
   * Resolves once the group is durable.
   *
   * @throws QueueUnavailable: the group was not accepted as far as is known here.
   */
  publish(group: EventGroup): Promise<Durability>
  consume(handler: DeliveryHandler): Consumer
  /** How many messages wait that are not delivered yet. */
  depth(): Promise<number>
  /** Undefined without a broker. @throws QueueUnavailable while it cannot be asked */
  waiting(): Promise<Waiting | undefined>
  close(): Promise<void>
}

/** Called with a group of events once it is durable. It must not throw. */
export type GroupWatcher = (group: EventGroup, durability: Durability) => void

/** A transport that takes single events: those that are published at about the same time leave as one group. */
export interface Queue extends Omit<Transport, 'publish'> {
  /** Counts of the events that were published through it. */
  readonly stats: PublishStats
  /** Called with each group that was published through it. */
  readonly watchers: Set<GroupWatcher>
  /**
   * Resolves once the event is durable.
   *
   * @param trace travels with the event to the archiver
   * @throws QueueUnavailable: the event was not accepted as far as is known here.
   */
  publish(event: Event, trace?: EventTrace): Promise<Durability>
  /**
   * Resolves once all of the events are durable: to `disk` if any group is on disk, else to `broker`.
   *
   * @param trace travels with each of them
   * @throws QueueUnavailable: not all of them were accepted as far as is known here; some may have been.
   */
  publishAll(events: readonly Event[], trace?: EventTrace): Promise<Durability>
}
