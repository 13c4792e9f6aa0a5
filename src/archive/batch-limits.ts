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

/** Batches that are sealed and not archived. */
export interface SealedAmount {
  readonly batches: number
  /** Before compression: their deliveries are held as long. */
  readonly bytes: number
  /** Of the batches, those whose objects are on their way into the store, and too large to be held in memory. */
  readonly streaming: number
}

/** So many batches of any size may be sealed and not archived. */
const SEALED_MIN = 8
/** And more that are small, as many as go into one record: where the store is far, each takes long. */
const SEALED_MAX = 64
const SEALED_BYTES_MAX = 16 * 1024 * 1024
/** Each holds parts of an upload in memory. */
const STREAMING_MAX = 2

/** What is in a batch was received at most so long before or after its first event, whose time names the partition. */
const RECEIVED_APART_MS_MAX = 60 * 60 * 1000

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

/** Whether another batch may be opened. What is sealed, and the open batch, bound memory. */
export function hasRoom({ batches, bytes, streaming }: SealedAmount): boolean {
  if (streaming >= STREAMING_MAX) return false
  return batches < SEALED_MIN || (batches < SEALED_MAX && bytes < SEALED_BYTES_MAX)
}

/** Whether an event belongs into another batch. @param receivedAt milliseconds since 1970 */
export function isApart(batch: { readonly receivedAt: number }, receivedAt: number): boolean {
  return Math.abs(batch.receivedAt - receivedAt) > RECEIVED_APART_MS_MAX
}
