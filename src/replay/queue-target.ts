import { QueueUnavailable, ReplayStopped } from '../errors.ts'
import { type Event, foreignEvent } from '../event/event.ts'
import { BackOff } from '../process/sleep.ts'
import type { Queue } from '../queue/queue.ts'
import type { EventRequest } from './requests.ts'
import type { RefusedEvent, ReplayTarget } from './target.ts'

const BACK_OFF = { msMin: 200, msMax: 30_000 }

export interface QueueTargetOptions {
  /** How long events are published again. */
  readonly retryMsMax: number
  /** Called before each pause between tries. */
  onRetry(reason: string): void
}

/** Publishes events to a queue, with their own `receivedAt`. */
export class QueueTarget implements ReplayTarget {
  readonly limits = { eventsMax: 1_000, bytesMax: 1024 * 1024 }
  readonly concurrency = 1
  readonly #queue: Queue
  readonly #options: QueueTargetOptions

  constructor(queue: Queue, options: QueueTargetOptions) {
    this.#queue = queue
    this.#options = options
  }

  get description(): string {
    return `the queue (${this.#queue.description})`
  }

  async send({ events }: EventRequest, signal: AbortSignal): Promise<readonly RefusedEvent[]> {
    const now = new Date()
    const stamped: Event[] = []
    const refused: RefusedEvent[] = []
    for (const [index, body] of events.entries()) {
      const event = foreignEvent(body, now)
      if (event === undefined) refused.push({ index, reason: 'it is not a JSON object' })
      else stamped.push(event)
    }
    await this.#publish(stamped, signal)
    return refused
  }

  async close(): Promise<void> {
    await this.#queue.close()
  }

  async #publish(events: readonly Event[], signal: AbortSignal): Promise<void> {
    const backOff = new BackOff(BACK_OFF)
    const start = performance.now()
    for (;;) {
      try {
        await this.#queue.publishAll(events)
        return
      } catch (error) {
        if (!(error instanceof QueueUnavailable)) throw error
        const isLate = performance.now() - start > this.#options.retryMsMax
        if (isLate || signal.aborted) throw new ReplayStopped(error.message, { cause: error })
        this.#options.onRetry(error.message)
        await backOff.pause(signal)
      }
    }
  }
}
