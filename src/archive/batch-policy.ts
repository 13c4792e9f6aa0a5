/** When a batch closes. Pure, so that what it decides can be read and tested by itself. */

export interface BatchLimits {
  readonly batchEventsMax: number
  /** Before compression, with what the format puts between events. */
  readonly batchBytesMax: number
  /** Counted from the batch's first event. */
  readonly batchAgeMsMax: number
}

export interface BatchSize {
  readonly events: number
  readonly bytes: number
}

export type CloseReason = 'events' | 'bytes' | 'age' | 'time' | 'shutdown'

/**
 * Whether an event of `bytes`, with what the format puts before and behind it, belongs in the next batch.
 * An empty batch takes any event, however large.
 */
export function overflows(size: BatchSize, bytes: number, limits: BatchLimits): boolean {
  return size.events > 0 && size.bytes + bytes > limits.batchBytesMax
}

/** Why the batch is full, or undefined while it can take more. */
export function fullBy(size: BatchSize, limits: BatchLimits): 'events' | 'bytes' | undefined {
  if (size.events >= limits.batchEventsMax) return 'events'
  if (size.bytes >= limits.batchBytesMax) return 'bytes'
  return undefined
}
