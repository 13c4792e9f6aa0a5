/**
 * Sends events in groups. The events of one turn of the event loop form a group. While 4 groups are in flight
 * (`IN_FLIGHT_MAX`), new events are collected in one more group. It is sent when a group in flight has become
 * durable, or when it is full. So an event waits for others only if it would have to wait anyway, and groups
 * grow with the load.
 */

import type { Event } from '../event/event.ts'
import { type EventGroup, GroupBuilder } from '../event/event-group.ts'
import type { EventTrace } from '../event/event-trace.ts'
import { createDeferred, type Deferred } from '../process/deferred.ts'
import type { Durability, GroupWatcher } from './queue.ts'
import { PublishStats } from './queue-stats.ts'

/** While this many groups are in flight, only full groups are sent. */
const IN_FLIGHT_MAX = 4
/** A group of this size is full. */
const GROUP_BYTES_MAX = 128 * 1024

export interface GroupPublisherOptions {
  /** A group with this many events is full. */
  readonly eventsMax: number
  /** Publishes a group. Resolves once it is durable. */
  send(group: EventGroup): Promise<Durability>
}

class OpenGroup {
  readonly events: GroupBuilder
  readonly durable: Deferred<Durability> = createDeferred()

  /** @param expectedBytes initial size of the buffer */
  constructor(expectedBytes: number) {
    this.events = new GroupBuilder(expectedBytes)
  }
}

export class GroupPublisher {
  readonly stats = new PublishStats()
  readonly watchers = new Set<GroupWatcher>()
  readonly #options: GroupPublisherOptions
  #open: OpenGroup | undefined
  #inFlight = 0
  /** Size of the last group: the expected size of the next one. */
  #lastBytes = 0
  #isTurnEndDue = false

  constructor(options: GroupPublisherOptions) {
    this.#options = options
  }

  /** Settles with the event's group. */
  publish(event: Event, trace?: EventTrace): Promise<Durability> {
    this.#open ??= new OpenGroup(this.#lastBytes)
    const { events, durable } = this.#open
    if (events.count > 0 && events.bytes + event.body.length >= GROUP_BYTES_MAX) {
      this.#send()
      return this.publish(event, trace)
    }
    events.add(event, trace)
    if (events.count >= this.#options.eventsMax || events.bytes >= GROUP_BYTES_MAX) this.#send()
    else this.#sendAtTurnEnd()
    return durable.promise
  }

  /** Settles with the events' groups. Resolves to `disk` if one of them is on disk. */
  async publishAll(events: readonly Event[], trace?: EventTrace): Promise<Durability> {
    const groups: Promise<Durability>[] = []
    for (const event of events) {
      const durable = this.publish(event, trace)
      if (durable !== groups.at(-1)) groups.push(durable)
    }
    return (await Promise.all(groups)).includes('disk') ? 'disk' : 'broker'
  }

  #sendAtTurnEnd(): void {
    if (this.#isTurnEndDue || this.#inFlight >= IN_FLIGHT_MAX) return
    this.#isTurnEndDue = true
    setImmediate(() => {
      this.#isTurnEndDue = false
      if (this.#inFlight < IN_FLIGHT_MAX) this.#send()
    })
  }

  #send(): void {
    const open = this.#open
    if (open === undefined) return
    this.#open = undefined
    this.#inFlight++
    this.#lastBytes = Math.min(GROUP_BYTES_MAX, open.events.bytes)
    const { resolve, reject } = open.durable
    const { events: counts } = this.stats
    const group = open.events.build()
    const { count } = group
    this.stats.groups++
    this.#options
      .send(group)
      .finally(() => {
        this.#inFlight--
        if (this.#open !== undefined) this.#sendAtTurnEnd()
      })
      .then(
        durability => {
          counts[durability] += count
          resolve(durability)
          for (const watch of this.watchers) watch(group, durability)
        },
        error => {
          counts.unavailable += count
          reject(error)
        },
      )
  }
}
