import type { DeliveredEvents } from './delivered-events.ts'

/** The queue is asked to pause when the waiting deliveries have more bytes than this. */
const BYTES_MAX = 4 * 1024 * 1024

/** Deliveries that wait for room in a batch, in the order in which they are taken. */
export class WaitingDeliveries {
  #deliveries: DeliveredEvents[] = []
  #bytes = 0

  get first(): DeliveredEvents | undefined {
    return this.#deliveries[0]
  }

  get isOverFull(): boolean {
    return this.#bytes > BYTES_MAX
  }

  push(delivered: DeliveredEvents): void {
    this.#deliveries.push(delivered)
    this.#bytes += delivered.delivery.body.length
  }

  /** Removes deliveries from the front until `take` returns false for one. */
  drain(take: (delivered: DeliveredEvents) => boolean): void {
    let taken = 0
    for (const delivered of this.#deliveries) {
      if (!take(delivered)) break
      this.#bytes -= delivered.delivery.body.length
      taken++
    }
    this.#deliveries.splice(0, taken)
  }

  clear(): void {
    this.#deliveries = []
    this.#bytes = 0
  }
}
