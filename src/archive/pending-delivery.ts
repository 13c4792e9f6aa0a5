import type { Delivery } from '../queue/queue.ts'

/** Counts the batches and records that a delivery waits for. It is acknowledged when all of them are archived. */
export class PendingDelivery {
  readonly delivery: Delivery
  readonly events: number
  /** The number of the connection that it came on. When that connection is lost, the queue redelivers. */
  readonly epoch: number
  /** Of its events, those that were dropped because their user is suppressed. */
  suppressed = 0
  readonly #ready: (pending: PendingDelivery) => void
  /** Starts at 1, for the events that are not taken yet. */
  #waitsFor = 1

  /** @param ready called once, when it waits for nothing any more */
  constructor(delivery: Delivery, events: number, epoch: number, ready: (pending: PendingDelivery) => void) {
    this.delivery = delivery
    this.events = events
    this.epoch = epoch
    this.#ready = ready
  }

  waitForOneMore(): void {
    this.#waitsFor++
  }

  /** One batch or record that it waited for is archived, or its last event was taken. */
  oneDone(): void {
    if (--this.#waitsFor === 0) this.#ready(this)
  }
}
