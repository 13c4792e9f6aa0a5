import type { Event } from '../event/event.ts'
import type { EventGroup } from '../event/event-group.ts'
import type { EventTrace } from '../event/event-trace.ts'
import type { PublishStats, TransportState, Waiting } from './queue-stats.ts'

/** Where published events are durable: `broker` (publisher confirm) or `disk` (fsynced to the local disk). */
export type Durability = 'broker' | 'disk'

/** One message of the broker, or one record of the queue on disk. */
export interface Delivery {
  /** The bytes as they are on the queue. */
  readonly body: Buffer
  /** True if the message may have been delivered before. */
  readonly redelivered: boolean
  /** The events in the message; undefined if another program published it. */
  readonly group: EventGroup | undefined
}

/**
 * A stream of deliveries. One queue may have several consumers, in several processes.
 *
 * Messages come in any order. A message may be delivered again at any time and to any consumer, also while
 * this consumer still holds an earlier delivery of it. Each delivery is settled on its own, once, by `ack` or
 * `dead`. A delivery that is not settled when the consumer stops or loses its connection is delivered again,
 * to this consumer or another one.
 */
export interface Consumer {
  /**
   * Acknowledges deliveries, in any order. Deliveries of a lost connection are ignored: their messages are
   * redelivered. A message may also be redelivered if it was acknowledged while an earlier delivery was not
   * settled: the acknowledgement may not have reached the queue when this process crashes or, on the embedded
   * queue, when the consumer stops.
   */
  ack(deliveries: readonly Delivery[]): void
  /** Moves the message to the dead letters: it can never be archived. */
  dead(delivery: Delivery): void
  /** Back-pressure: stops deliveries at the queue, so that memory stays bounded. A few more may still come. */
  pause(): void
  resume(): void
  /** Resolves when no more deliveries come and all acknowledgements are passed on. Later ones are ignored. */
  stop(): Promise<void>
}

export interface DeliveryHandler {
  delivery(delivery: Delivery): void
  /** All unsettled deliveries are void: to settle them does nothing. They may be redelivered, here or elsewhere. */
  lost(): void
}

/** A part of a process, and what keeps it from working now, as a text for people; undefined if it works. */
export interface Part {
  readonly name: string
  readonly trouble: string | undefined
}

/** A durable queue of groups of events. */
export interface Transport {
  /** What it is and where, as a text for people, without secrets. */
  readonly description: string
  /** What keeps it from working now, as a text for people; undefined if it works. */
  readonly trouble: string | undefined
  /** The parts that publishing needs. Events are accepted while at least one of them works. */
  readonly intake: readonly Part[]
  /** The parts that consuming needs. Deliveries come while all of them work. */
  readonly outlet: readonly Part[]
  /** Counters, and current sizes. */
  readonly state: TransportState
  /**
   * Resolves once the group is durable.
   *
   * @throws QueueUnavailable if the group was refused or not confirmed. It may be on the queue nonetheless.
   */
  publish(group: EventGroup): Promise<Durability>
  consume(handler: DeliveryHandler): Consumer
  /** Number of messages that wait for their delivery. */
  depth(): Promise<number>
  /** Resolves to undefined without a broker. @throws QueueUnavailable if the broker cannot be asked now */
  waiting(): Promise<Waiting | undefined>
  close(): Promise<void>
}

/** Called with a group of events once it is durable. It must not throw. */
export type GroupWatcher = (group: EventGroup, durability: Durability) => void

/** A transport that accepts single events. It groups events that are published at about the same time. */
export interface Queue extends Omit<Transport, 'publish'> {
  /** Counts of the events that were published through it. */
  readonly stats: PublishStats
  /** Called with each group that was published through it. */
  readonly watchers: Set<GroupWatcher>
  /**
   * Resolves once the event is durable.
   *
   * @param trace travels with the event to the archiver
   * @throws QueueUnavailable if the event was refused or not confirmed. It may be on the queue nonetheless.
   */
  publish(event: Event, trace?: EventTrace): Promise<Durability>
  /**
   * Resolves once all events are durable: to `disk` if any group is on disk, else to `broker`.
   *
   * @param trace travels with each event
   * @throws QueueUnavailable if an event was refused or not confirmed. Some or all may be on the queue nonetheless.
   */
  publishAll(events: readonly Event[], trace?: EventTrace): Promise<Durability>
}
