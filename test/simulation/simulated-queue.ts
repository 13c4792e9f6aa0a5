/**
 * A queue that does all that the contract of `Consumer` allows: any order, redelivery to anyone at any time,
 * acknowledgements that are ignored, consumers that are deactivated and hear nothing of it.
 */

import type { EventGroup } from '../../src/event/event-group.ts'
import type { Consumer, Delivery, DeliveryHandler, Queue } from '../../src/queue/queue.ts'
import { Actor, type Simulation } from './simulation.ts'
import { currentActor } from './virtual-time.ts'

/** What lies on the queue. */
export interface QueueMessage {
  readonly name: string
  readonly body: Buffer
  /** Undefined for a message of another program. */
  readonly group: EventGroup | undefined
}

export interface QueueTraits {
  /** Of a delivery, and of an acknowledgement, each. */
  readonly latencyMsMax: number
  /** Messages come in the order in which they were published, but for those that come again. */
  readonly isOrdered: boolean
}

export interface QueueWatcher {
  /** The broker has taken the acknowledgement: the message is gone. */
  acknowledged(message: QueueMessage, by: string, heldMs: number): void
  /** It went to the dead letters. */
  buried(message: QueueMessage, by: string, heldMs: number): void
}

interface Waiting {
  readonly message: QueueMessage
  order: number
  deliveries: number
  /** Who has it; undefined where it can be delivered. */
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

  /** Messages that are not settled. */
  get unsettled(): string[] {
    return [...this.#waiting].map(({ message }) => message.name)
  }

  publish(message: QueueMessage): void {
    this.#sim.note(`  queue: ${message.name} is published`)
    this.#waiting.add({ message, order: this.#orders++, deliveries: 0, held: undefined })
    this.#dispatch()
  }

  /** The queue as one process has it. */
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

  /** Gives what a consumer holds, or one of it, to whoever is next; it hears nothing of that. */
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

  /** One whose connection is gone has to hear of it first. */
  activate(consumer: SimulatedConsumer): void {
    if (consumer.told !== consumer.channel) return
    consumer.isActive = true
    this.#dispatchSoon()
  }

  /** Its connection is gone. It is told so later, and comes back after that. */
  lose(consumer: SimulatedConsumer, toldMs: number): void {
    this.deactivate(consumer)
    const channel = ++consumer.channel
    this.#sim.after(toldMs, consumer.actor, 'lost', () => {
      if (consumer.isStopped || consumer.channel !== channel) return
      this.#sim.note(`  queue: ${consumer.actor.name} is told that its connection was lost`)
      consumer.told = channel
      consumer.handler.lost()
      this.activate(consumer)
    })
  }

  /** Whoever it was has gone; the broker finds out. */
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
  settle(consumer: SimulatedConsumer, held: Held, as: 'acknowledged' | 'buried'): void {
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
      // What was settled before arrives before.
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
      // On a connection that it was told of. That the message is another's by now, it cannot know.
      if (consumer.isStopped || consumer.told !== held.channel) return
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
  /** Counts the connections it had; `told` is the one that it knows of. */
  channel = 0
  told = 0
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
    const isWell = this.isActive && !this.isStopped && !this.#isPaused && this.actor.state !== 'gone'
    return isWell && this.#queue.heldBy(this) < this.#prefetch
  }

  ack(deliveries: readonly Delivery[]): void {
    for (const delivery of deliveries) this.#settle(delivery, 'acknowledged')
  }

  dead(delivery: Delivery): void {
    this.#settle(delivery, 'buried')
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

  #settle(delivery: Delivery, as: 'acknowledged' | 'buried'): void {
    const held = this.deliveries.get(delivery)
    if (held === undefined) throw new Error('A delivery was settled twice, or never came.')
    this.deliveries.delete(delivery)
    // A process that is gone settles nothing.
    if (currentActor() !== this.actor) throw new Error('A delivery was settled by another process.')
    this.#queue.settle(this, held, as)
  }
}
