import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Config } from '../config.ts'
import type { Event } from '../event.ts'
import type { EventGroup } from '../event-group.ts'
import type { EventTrace } from '../event-trace.ts'
import type { Logger } from '../logger.ts'
import { GroupPublisher, type GroupWatcher } from './group-publisher.ts'
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

/** A transport, on which events that are published at about the same time leave together. */
export class Queue {
  readonly #transport: Transport
  readonly #publisher: GroupPublisher

  constructor(transport: Transport, { publishEventsMax }: Pick<Config, 'publishEventsMax'>) {
    this.#transport = transport
    this.#publisher = new GroupPublisher({
      eventsMax: publishEventsMax,
      send: group => transport.publish(group),
    })
  }

  get description(): string {
    return this.#transport.description
  }

  get trouble(): string | undefined {
    return this.#transport.trouble
  }

  /** What publishing stands on: events are taken while one of these is well. */
  get intake(): readonly Part[] {
    return this.#transport.intake
  }

  /** What consuming stands on: deliveries come while all of these are well. */
  get outlet(): readonly Part[] {
    return this.#transport.outlet
  }

  /** What was published through it. */
  get stats(): PublishStats {
    return this.#publisher.stats
  }

  /** What it has counted, and what is in it now. */
  get state(): TransportState {
    return this.#transport.state
  }

  /** Called with each group of events that was published through it, once it is durable. They must not throw. */
  get watchers(): Set<GroupWatcher> {
    return this.#publisher.watchers
  }

  /**
   * Resolves once the event is durable.
   *
   * @param trace goes with the event to where it is archived
   * @throws QueueUnavailable: the event was not accepted as far as is known here.
   */
  publish(event: Event, trace?: EventTrace): Promise<Durability> {
    return this.#publisher.publish(event, trace)
  }

  /**
   * Resolves once all of the events are durable, to who vouches for the least of them.
   *
   * @param trace goes with each of them
   * @throws QueueUnavailable: not all of them were accepted as far as is known here; some may have been.
   */
  publishAll(events: readonly Event[], trace?: EventTrace): Promise<Durability> {
    return this.#publisher.publishAll(events, trace)
  }

  consume(handler: DeliveryHandler): Consumer {
    return this.#transport.consume(handler)
  }

  /** How many messages wait that are not delivered yet. */
  depth(): Promise<number> {
    return this.#transport.depth()
  }

  /** Undefined without a broker. @throws QueueUnavailable while it cannot be asked */
  waiting(): Promise<Waiting | undefined> {
    return this.#transport.waiting()
  }

  close(): Promise<void> {
    return this.#transport.close()
  }
}

/**
 * Opens the queue that the config names: RabbitMQ where `amqpUrl` is set, for ingest with a spool unless
 * that is off; else the embedded one.
 *
 * @throws ConfigInvalid for a setting that cannot work.
 */
export async function openQueue(config: Config, log: Logger): Promise<Queue> {
  return new Queue(await openTransport(config, log), config)
}

async function openTransport(config: Config, log: Logger): Promise<Transport> {
  const paths = { spools: join(config.dataDir, 'spool'), embedded: join(config.dataDir, 'queue') }
  if (config.amqpUrl !== undefined) {
    const { openRabbitmqQueue } = await import('./rabbitmq.ts')
    const broker = await openRabbitmqQueue({ ...config, amqpUrl: config.amqpUrl }, log)
    if (config.role === 'archive') return broker
    if (config.spool === 'on') {
      const { openSpooledQueue } = await import('./spooled.ts')
      return openSpooledQueue(broker, paths, config, log)
    }
    await warnOfLeft(paths, config, log)
    return broker
  }
  const { openEmbeddedQueue } = await import('./embedded.ts')
  const queue = await openEmbeddedQueue(paths.embedded, config, log)
  await warnOfLeft(paths, config, log)
  return queue
}

/** Only a process with a broker, and with a spool, drains what others left on disk. */
async function warnOfLeft(
  paths: { spools: string; embedded: string },
  config: Config,
  log: Logger,
): Promise<void> {
  if (!existsSync(config.amqpUrl === undefined ? paths.spools : config.dataDir)) return
  const { countLeft } = await import('./spooled.ts')
  const events = await countLeft(paths, config, log)
  if (events > 0)
    log.warn(
      { events, dataDir: config.dataDir },
      'Events of another life wait on disk for a broker: start once with AMQP_URL and SPOOL=on, and they go there.',
    )
}
