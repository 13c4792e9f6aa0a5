import type { Delivery } from '../queue/queue.ts'

/** A delivery that is acknowledged when all that has its events is archived. */
export class PendingDelivery {
  readonly delivery: Delivery
  readonly events: number
  /** Which connection it came on: what came on one that is gone comes again. */
  readonly epoch: number
  readonly #ready: (pending: PendingDelivery) => void
  /** One of them is that its events are still being taken. */
  #waitsFor = 1

  /** @param ready called once, when nothing is waited for any more */
  constructor(delivery: Delivery, events: number, epoch: number, ready: (pending: PendingDelivery) => void) {
    this.delivery = delivery
    this.events = events
    this.epoch = epoch
    this.#ready = ready
  }

  waitForOneMore(): void {
    this.#waitsFor++
  }

  /** One that was waited for is there. */
  arrived(): void {
    if (--this.#waitsFor === 0) this.#ready(this)
  }
}
