/** Rules for when a batch is full, when an event needs another batch, and when another batch may be opened. Pure. */

export interface BatchLimits {
  readonly batchEventsMax: number
  /** Before compression, with the separators of the format. */
  readonly batchBytesMax: number
  /** Since the first event was added to the batch. The session has the timer. */
  readonly batchAgeMsMax: number
}

export interface BatchSize {
  readonly events: number
  readonly bytes: number
}

/** The batches that are sealed and not archived. */
export interface SealedAmount {
  readonly batches: number
  /** Before compression. Their deliveries are in memory until they are archived. */
  readonly bytes: number
  /** How many of the batches are being uploaded because they are too large to be held in memory. */
  readonly streaming: number
}

/** This many batches of any size may be sealed and not archived. */
const SEALED_MIN = 8
/** More may be sealed if they are small, up to what one record takes: with a store far away each takes long. */
const SEALED_MAX = 64
const SEALED_BYTES_MAX = 16 * 1024 * 1024
/** Each upload holds parts in memory. */
const STREAMING_MAX = 2

/** Bound on the time between the `receivedAt` of any event and of the first event, which names the partition. */
const RECEIVED_APART_MS_MAX = 60 * 60 * 1000

export type CloseReason = 'events' | 'bytes' | 'age' | 'time' | 'shutdown'

/**
 * Whether an event would make the batch too large. An empty batch takes an event of any size.
 *
 * @param bytes of the event, with what the format puts before and after it
 */
export function overflows(size: BatchSize, bytes: number, limits: BatchLimits): boolean {
  return size.events > 0 && size.bytes + bytes > limits.batchBytesMax
}

/** Why the batch is full; undefined if it is not. */
export function fullBy(size: BatchSize, limits: BatchLimits): 'events' | 'bytes' | undefined {
  if (size.events >= limits.batchEventsMax) return 'events'
  if (size.bytes >= limits.batchBytesMax) return 'bytes'
  return undefined
}

/** Whether another batch may be opened. This bounds the memory of the batches. */
export function canOpenBatch({ batches, bytes, streaming }: SealedAmount): boolean {
  if (streaming >= STREAMING_MAX) return false
  return batches < SEALED_MIN || (batches < SEALED_MAX && bytes < SEALED_BYTES_MAX)
}

/**
 * Whether an event was received too long before or after the batch's first event to be in the same batch.
 *
 * @param receivedAt milliseconds since 1970
 */
export function isTooFarApart(batch: { readonly receivedAt: number }, receivedAt: number): boolean {
  return Math.abs(batch.receivedAt - receivedAt) > RECEIVED_APART_MS_MAX
}
