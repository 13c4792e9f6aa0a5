/**
 * A queue that does everything that the contract of `Consumer` allows: any order, redelivery to any consumer at any time,
 * ignored acknowledgements, and consumers that are silently deactivated.
 */

import type { EventGroup } from '../../src/event/event-group.ts'
import type { Consumer, Delivery, DeliveryHandler, Queue } from '../../src/queue/queue.ts'
import { Actor, type Simulation } from './simulation.ts'
import { currentActor } from './virtual-time.ts'

/** A message on the queue. */
export interface QueueMessage {
  readonly name: string
  readonly body: Buffer
  /** Undefined for a message of another program. */
  readonly group: EventGroup | undefined
}

export interface QueueTraits {
  /** Bound for a delivery, and for an acknowledgement. */
  readonly latencyMsMax: number
  /** Whether messages are delivered in the order in which they were published, except redeliveries. */
  readonly isOrdered: boolean
}

export interface QueueWatcher {
  /** The broker has applied the acknowledgement, and removed the message. */
  acknowledged(message: QueueMessage, by: string, heldMs: number): void
  /** The broker has moved the message to the dead letters. */
  deadLettered(message: QueueMessage, by: string, heldMs: number): void
}

interface Waiting {
  readonly message: QueueMessage
  order: number
  deliveries: number
  /** The delivery that holds it; undefined if it can be delivered. */
  held: Held | undefined
}

interface Held {
  readonly waiting: Waiting
  readonly consumer: SimulatedConsumer
  readonly channel: number
  readonly sinceMs: number
}

export class SimulatedQueue {
  readonly actor: Actor
  readonly #sim: Simulation
  readonly #traits: QueueTraits
  readonly #watcher: QueueWatcher
  readonly #waiting = new Set<Waiting>()
  readonly #consumers = new Set<SimulatedConsumer>()
  #orders = 0

  constructor(name: string, sim: Simulation, traits: QueueTraits, watcher: QueueWatcher) {
    this.#sim = sim
    this.#traits = traits
    this.#watcher = watcher
    this.actor = new Actor(name, sim.seed)
  }

  /** The names of the messages that are not settled. */
  get unsettled(): string[] {
    return [...this.#waiting].map(({ message }) => message.name)
  }

  publish(message: QueueMessage): void {
    this.#sim.note(`  queue: ${message.name} is published`)
    this.#waiting.add({ message, order: this.#orders++, deliveries: 0, held: undefined })
    this.#dispatch()
  }

  /** The queue for one process. */
  connection(actor: Actor, prefetch: number, priority: number): Pick<Queue, 'consume'> {
    return {
      consume: handler => {
        const consumer = new SimulatedConsumer(this, actor, handler, prefetch, priority)
        this.#consumers.add(consumer)
        this.#dispatchSoon()
        return consumer
      },
    }
  }

  consumersOf(actor: Actor): SimulatedConsumer[] {
    return [...this.#consumers].filter(consumer => consumer.actor === actor)
  }

  /** Requeues all deliveries of a consumer, or one of them, without telling it. */
  requeue(consumer: SimulatedConsumer, isAll: boolean): void {
    const held = [...this.#waiting].filter(each => each.held?.consumer === consumer)
    const chosen = isAll || held.length === 0 ? held : [this.actor.random.pick(held)]
    for (const each of chosen) each.held = undefined
    if (chosen.length > 0)
      this.#sim.note(`  queue: ${consumer.actor.name} loses ${chosen.map(({ message }) => message.name)}`)
    this.#dispatchSoon()
  }

  deactivate(consumer: SimulatedConsumer): void {
    consumer.isActive = false
    this.requeue(consumer, true)
  }

  /** Does nothing if the consumer has lost its connection and does not know it yet. */
  activate(consumer: SimulatedConsumer): void {
    if (consumer.knownChannel !== consumer.channel) return
    consumer.isActive = true
    this.#dispatchSoon()
  }

  /** Cuts the connection of a consumer. The consumer learns it after `noticedMs`, and then connects again. */
  lose(consumer: SimulatedConsumer, noticedMs: number): void {
    this.deactivate(consumer)
    const channel = ++consumer.channel
    this.#sim.after(noticedMs, consumer.actor, 'lost', () => {
      if (consumer.isStopped || consumer.channel !== channel) return
      this.#sim.note(`  queue: ${consumer.actor.name} learns that its connection was lost`)
      consumer.knownChannel = channel
      consumer.handler.lost()
      this.activate(consumer)
    })
  }

  /** The broker notices that the process of the consumer has ended. */
  remove(consumer: SimulatedConsumer): void {
    this.#consumers.delete(consumer)
    this.requeue(consumer, true)
  }

  /** @internal */
  heldBy(consumer: SimulatedConsumer): number {
    let count = 0
    for (const each of this.#waiting) if (each.held?.consumer === consumer) count++
    return count
  }

  /** @internal */
  settle(consumer: SimulatedConsumer, held: Held, as: 'acknowledged' | 'deadLettered'): void {
    const { channel } = consumer
    this.#sim.after(this.#latencyMs(), this.actor, as, () => {
      const { waiting } = held
      const { name } = waiting.message
      if (waiting.held !== held || held.channel !== channel || !this.#waiting.has(waiting)) {
        this.#sim.note(`  queue: ${name} ${as} by ${consumer.actor.name}, ignored`)
        return
      }
      this.#waiting.delete(waiting)
      this.#sim.note(`  queue: ${name} ${as} by ${consumer.actor.name}`)
      this.#watcher[as](waiting.message, consumer.actor.name, this.#sim.elapsedMs - held.sinceMs)
      this.#dispatch()
    })
  }

  /** @internal */
  stopped(consumer: SimulatedConsumer): Promise<void> {
    return new Promise(resolve => {
      // Acknowledgements that were sent before arrive before.
      this.#sim.after(2 * this.#traits.latencyMsMax, consumer.actor, 'stopped', () => {
        resolve()
        this.remove(consumer)
      })
    })
  }

  /** @internal */
  resumed(): void {
    this.#dispatchSoon()
  }

  #dispatchSoon(): void {
    this.#sim.after(this.#latencyMs(), this.actor, 'dispatch', () => this.#dispatch())
  }

  #dispatch(): void {
    const ready = [...this.#waiting].filter(({ held }) => held === undefined)
    while (ready.length > 0) {
      const takers = [...this.#consumers].filter(each => each.hasRoom)
      if (takers.length === 0) return
      const first = Math.max(...takers.map(({ priority }) => priority))
      const consumer = this.actor.random.pick(takers.filter(({ priority }) => priority === first))
      const at = this.#traits.isOrdered ? 0 : this.actor.random.between(0, ready.length - 1)
      const [waiting] = ready.splice(at, 1) as [Waiting]
      this.#deliver(waiting, consumer)
    }
  }

  #deliver(waiting: Waiting, consumer: SimulatedConsumer): void {
    const held: Held = { waiting, consumer, channel: consumer.channel, sinceMs: this.#sim.elapsedMs }
    waiting.held = held
    const redelivered = waiting.deliveries++ > 0
    const { name, body, group } = waiting.message
    this.#sim.after(this.#latencyMs(), consumer.actor, `deliver ${name}`, () => {
      // Only on its current connection. The message may have been requeued by now: the consumer cannot know that.
      if (consumer.isStopped || consumer.knownChannel !== held.channel) return
      this.#sim.note(`  queue: ${name} to ${consumer.actor.name}${redelivered ? ', again' : ''}`)
      const delivery: Delivery = { body, redelivered, group }
      consumer.deliveries.set(delivery, held)
      consumer.handler.delivery(delivery)
    })
  }

  #latencyMs(): number {
    return this.actor.random.between(0, this.#traits.latencyMsMax)
  }
}

export class SimulatedConsumer implements Consumer {
  readonly actor: Actor
  readonly handler: DeliveryHandler
  readonly priority: number
  readonly deliveries = new Map<Delivery, Held>()
  isActive = true
  isStopped = false
  /** The number of its connection. It differs from `knownChannel` until the consumer learns of a loss. */
  channel = 0
  knownChannel = 0
  readonly #queue: SimulatedQueue
  readonly #prefetch: number
  #isPaused = false

  constructor(
    queue: SimulatedQueue,
    actor: Actor,
    handler: DeliveryHandler,
    prefetch: number,
    priority: number,
  ) {
    this.#queue = queue
    this.actor = actor
    this.handler = handler
    this.#prefetch = prefetch
    this.priority = priority
  }

  get hasRoom(): boolean {
    const isTaking = this.isActive && !this.isStopped && !this.#isPaused && this.actor.state !== 'ended'
    return isTaking && this.#queue.heldBy(this) < this.#prefetch
  }

  ack(deliveries: readonly Delivery[]): void {
    for (const delivery of deliveries) this.#settle(delivery, 'acknowledged')
  }

  dead(delivery: Delivery): void {
    this.#settle(delivery, 'deadLettered')
  }

  pause(): void {
    this.#isPaused = true
  }

  resume(): void {
    if (!this.#isPaused) return
    this.#isPaused = false
    this.#queue.resumed()
  }

  stop(): Promise<void> {
    this.isStopped = true
    return this.#queue.stopped(this)
  }

  #settle(delivery: Delivery, as: 'acknowledged' | 'deadLettered'): void {
    const held = this.deliveries.get(delivery)
    if (held === undefined) throw new Error('A delivery was settled twice, or was never delivered.')
    this.deliveries.delete(delivery)
    // A process that has ended settles nothing.
    if (currentActor() !== this.actor) throw new Error('A delivery was settled by another process.')
    this.#queue.settle(this, held, as)
  }
}
