import type { EventRequest, RequestLimits } from './requests.ts'

/** An event that the target does not take, whenever it is sent. */
export interface RefusedEvent {
  /** Position in the request, from 0. */
  readonly index: number
  /** Why, in the target's words. */
  readonly reason: string
}

/** Where events are replayed to. */
export interface ReplayTarget {
  /** For people, without secrets. */
  readonly description: string
  readonly limits: RequestLimits
  /** Requests that may be on their way together. */
  readonly concurrency: number
  /**
   * Resolves when the target has all events of the request, but those that are returned.
   *
   * @param signal ends the pauses between tries, and not a try
   * @throws ReplayStopped if the target refuses the request for a reason that is not in its events, or is out of reach
   */
  send(request: EventRequest, signal: AbortSignal): Promise<readonly RefusedEvent[]>
  /** Bytes that it has written, if it is a file. */
  readonly bytes?: number
  /** Resolves when these bytes are on disk. */
  sync?(): Promise<void>
  close(): Promise<void>
}
