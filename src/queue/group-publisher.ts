/**
 * Has events leave together. What is published in one turn of the event loop is one group; while as many
 * groups are on their way as may be, what comes is gathered in the next one, which leaves as soon as one of
 * them has arrived, or when it is full. So an event waits for others only where it would have to wait
 * anyway, and the busier the queue is, the larger are the groups.
 */

import type { Event } from '../event/event.ts'
import { type EventGroup, GroupBuilder } from '../event/event-group.ts'
import type { EventTrace } from '../event/event-trace.ts'
import { createDeferred, type Deferred } from '../process/deferred.ts'
import type { Durability, GroupWatcher } from './queue.ts'
import { PublishStats } from './queue-stats.ts'

/** Groups that are not full, and on their way. */
const UNDERWAY_MAX = 4
/** A group that has reached this is full. */
const GROUP_BYTES_MAX = 128 * 1024

export interface GroupPublisherOptions {
  /** Events after which a group is full. */
  readonly eventsMax: number
  /** Publishes a group: resolves once it is durable. */
  send(group: EventGroup): Promise<Durability>
}

class OpenGroup {
  readonly events: GroupBuilder
  readonly durable: Deferred<Durability> = createDeferred()

  /** @param bytes that it will have, about */
  constructor(bytes: number) {
    this.events = new GroupBuilder(bytes)
  }
}

export class GroupPublisher {
  readonly stats = new PublishStats()
  readonly watchers = new Set<GroupWatcher>()
  readonly #options: GroupPublisherOptions
  #open: OpenGroup | undefined
  #underway = 0
  /** Groups that follow each other are about as large. */
  #lastBytes = 0
  #isTurnEndDue = false

  constructor(options: GroupPublisherOptions) {
    this.#options = options
  }

  /** Resolves, or is rejected, with all of the event's group. */
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

  /** Resolves, or is rejected, with all of the events' groups: to `disk` where one of them went there. */
  async publishAll(events: readonly Event[], trace?: EventTrace): Promise<Durability> {
    const groups: Promise<Durability>[] = []
    for (const event of events) {
      const durable = this.publish(event, trace)
      if (durable !== groups.at(-1)) groups.push(durable)
    }
    return (await Promise.all(groups)).includes('disk') ? 'disk' : 'broker'
  }

  #sendAtTurnEnd(): void {
    if (this.#isTurnEndDue || this.#underway >= UNDERWAY_MAX) return
    this.#isTurnEndDue = true
    setImmediate(() => {
      this.#isTurnEndDue = false
      if (this.#underway < UNDERWAY_MAX) this.#send()
    })
  }

  #send(): void {
    const open = this.#open
    if (open === undefined) return
    this.#open = undefined
    this.#underway++
    this.#lastBytes = Math.min(GROUP_BYTES_MAX, open.events.bytes)
    const { resolve, reject } = open.durable
    const { events: counts } = this.stats
    const group = open.events.build()
    const { count } = group
    this.stats.groups++
    this.#options
      .send(group)
      .finally(() => {
        this.#underway--
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
