/** Bounds on the time and on the requests of archivers in a schedule without faults. */

import type { Plan } from './plan.ts'

/** A writer with a sealed batch commits within this time. */
const TURN_MS_MAX = 5_000
/** Bound on the round trips from a delivery to its acknowledgement. */
const ROUND_TRIPS_MAX = 30
/** Writes for a record with one batch. Inline: the record and the object. Staged: also the staged object. */
const SMALL_BATCH_REQUESTS_MAX = 2
const LARGE_BATCH_REQUESTS_MAX = 3
/** Matches the keys of objects, of staged objects, and of all records except record 0. */
const BATCH_KEY = /\/dt=|_frequency\/(?:staged\/|log\/\d*[1-9]\d*$)/
const PART_BYTES = 5 * 1024 * 1024
/** With a larger difference to the store's clock, a client sends requests again. */
const CLOCK_MS_MAX = 1_000

/**
 * Checks that each writer gets its turn in time.
 *
 * @param by the name of the process that had the message, with the number of its start
 * @returns the violation, as text
 */
export function slownessOf(plan: Plan, message: string, by: string, heldMs: number): string | undefined {
  const { isQuiet, store, queue, writers } = plan
  if (!isQuiet) return undefined
  const { batchAgeMsMax = 0 } = writers.find(each => by.startsWith(each.name)) ?? {}
  const limit = batchAgeMsMax + TURN_MS_MAX + ROUND_TRIPS_MAX * (store.latencyMsMax + queue.latencyMsMax)
  return heldMs > limit ? `${by} had ${message} for ${heldMs} ms; the limit is ${limit}` : undefined
}

/**
 * Checks how many writes a single writer sends for each batch.
 *
 * @returns the violation, as text
 */
export function excessOf(
  { isQuiet, writers, store }: Plan,
  requests: readonly { readonly operation: string; readonly key: string }[],
  objects: number,
): string | undefined {
  const isPlain = isQuiet && writers.length === 1 && (writers[0]?.partBytes ?? 0) >= PART_BYTES
  if (!isPlain || Math.abs(store.clockMs - (writers[0]?.clockMs ?? 0)) > CLOCK_MS_MAX) return undefined
  const writes = requests.filter(
    ({ operation, key }) => /^(PutObject|CopyObject)$/.test(operation) && BATCH_KEY.test(key),
  ).length
  const isStaging = requests.some(({ operation }) => operation === 'CopyObject')
  const limit = objects * (isStaging ? LARGE_BATCH_REQUESTS_MAX : SMALL_BATCH_REQUESTS_MAX)
  return writes > limit ? `${writes} writes for ${objects} objects; the limit is ${limit}` : undefined
}
