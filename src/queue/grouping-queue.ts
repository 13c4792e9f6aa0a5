import type { Config } from '../config/config.ts'
import type { Event } from '../event/event.ts'
import type { EventTrace } from '../event/event-trace.ts'
import { GroupPublisher } from './group-publisher.ts'
import type { Consumer, DeliveryHandler, Durability, GroupWatcher, Part, Queue, Transport } from './queue.ts'
import type { PublishStats, TransportState, Waiting } from './queue-stats.ts'

/** Publishes single events over a transport, in groups. Passes every other call on to the transport. */
export class GroupingQueue implements Queue {
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

  get intake(): readonly Part[] {
    return this.#transport.intake
  }

  get outlet(): readonly Part[] {
    return this.#transport.outlet
  }

  get stats(): PublishStats {
    return this.#publisher.stats
  }

  get state(): TransportState {
    return this.#transport.state
  }

  get watchers(): Set<GroupWatcher> {
    return this.#publisher.watchers
  }

  publish(event: Event, trace?: EventTrace): Promise<Durability> {
    return this.#publisher.publish(event, trace)
  }

  publishAll(events: readonly Event[], trace?: EventTrace): Promise<Durability> {
    return this.#publisher.publishAll(events, trace)
  }

  consume(handler: DeliveryHandler): Consumer {
    return this.#transport.consume(handler)
  }

  depth(): Promise<number> {
    return this.#transport.depth()
  }

  waiting(): Promise<Waiting | undefined> {
    return this.#transport.waiting()
  }

  close(): Promise<void> {
    return this.#transport.close()
  }
}
