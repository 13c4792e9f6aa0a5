import { Histogram, LATENCY_BOUNDS_S } from '../process/histogram.ts'

const LAST_REFUSALS_MAX = 50
const MESSAGE_LENGTH_MAX = 500

export interface Refusal {
  /** Milliseconds since 1970. */
  readonly at: number
  readonly code: string
  /** As the client got it, cut to 500 characters. */
  readonly message: string
}

/** Counts of the routes that take events, since this process started. */
export class RequestStats {
  /** Latency in seconds, by the route's path. */
  readonly seconds = new Map<string, Histogram>()
  /** Refused requests, and refused events of batches, by the error's code. */
  readonly refused = new Map<string, number>()
  /** Oldest first, at most 50. */
  readonly lastRefusals: Refusal[] = []

  /** The latency of a route in seconds. Makes the histogram if there is none. */
  histogramOf(path: string): Histogram {
    const histogram = this.seconds.get(path) ?? new Histogram(LATENCY_BOUNDS_S)
    this.seconds.set(path, histogram)
    return histogram
  }

  refuse(code: string, message: string): void {
    this.refused.set(code, (this.refused.get(code) ?? 0) + 1)
    const refusal = { at: Date.now(), code, message: message.slice(0, MESSAGE_LENGTH_MAX) }
    if (this.lastRefusals.push(refusal) > LAST_REFUSALS_MAX) this.lastRefusals.shift()
  }
}
