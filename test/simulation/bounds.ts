/** How long things may take where nothing goes wrong, and how much may be asked of the store. */

import type { Plan } from './plan.ts'

/** Within this a writer with a sealed batch commits; and it takes so many requests from a delivery to its end. */
const TURN_MS_MAX = 5_000
const ROUND_TRIPS_MAX = 30
/** Writes, where each record has one batch: the record and the object; the staged object, the record and the copy. */
const SMALL_BATCH_REQUESTS_MAX = 2
const LARGE_BATCH_REQUESTS_MAX = 3
/** Of objects, staged objects, and records but the first. */
const BATCH_KEY = /\/dt=|_frequency\/(?:staged\/|log\/\d*[1-9]\d*$)/
const PART_BYTES = 5 * 1024 * 1024
/** A client whose clock is further from the store's asks more than once. */
const CLOCK_MS_MAX = 1_000

/**
 * Each writer gets its turn.
 *
 * @param by the process that had the message, in one of its lives
 * @returns what is wrong
 */
export function slownessOf(plan: Plan, message: string, by: string, heldMs: number): string | undefined {
  const { isQuiet, store, queue, writers } = plan
  if (!isQuiet) return undefined
  const { batchAgeMsMax = 0 } = writers.find(each => by.startsWith(each.name)) ?? {}
  const limit = batchAgeMsMax + TURN_MS_MAX + ROUND_TRIPS_MAX * (store.latencyMsMax + queue.latencyMsMax)
  return heldMs > limit ? `${by} had ${message} for ${heldMs} ms; the limit is ${limit}` : undefined
}

/**
 * What one writer that is alone asks of the store, for each batch.
 *
 * @returns what is wrong
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
