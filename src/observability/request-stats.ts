import { Histogram, LATENCY_BOUNDS_S } from '../process/histogram.ts'

const LAST_REFUSALS_MAX = 50
const MESSAGE_LENGTH_MAX = 500

export interface Refusal {
  /** Milliseconds since 1970. */
  readonly at: number
  readonly code: string
  /** For a person, as the client got it. */
  readonly message: string
}

/** What the routes that take events have counted since this process began. */
export class RequestStats {
  /** Latency, by the route's path. */
  readonly seconds = new Map<string, Histogram>()
  /** What was refused, by the error's code: a request, or an event of several in one. */
  readonly refused = new Map<string, number>()
  /** Oldest first, at most 50. */
  readonly lastRefusals: Refusal[] = []

  /** The latency of a route. */
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
