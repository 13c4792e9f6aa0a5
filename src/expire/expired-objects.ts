/** Removes the objects that the log says have expired, also those that an earlier run left, or a late writer stored. */

import { hash } from 'node:crypto'
import { IdSet } from '../dedupe/id-set.ts'
import { ID_BYTES } from '../event/message-id.ts'
import type { LaterChanges } from '../log/later-changes.ts'
import { logKeys } from '../log/log-keys.ts'
import { LogReader } from '../log/log-reader.ts'
import { walkLog } from '../log/log-walk.ts'
import type { FoldedBatch } from '../log/manifest.ts'
import { isObjectKey } from '../object/object-key.ts'
import type { ObjectStore } from '../store/store.ts'
import { DAY_MS } from './expiry.ts'

/** Objects whose keys are compared with the log in one go. A digest takes up to 48 bytes. */
const LISTED_AT_ONCE = 1_000_000
const REMOVED_AT_ONCE = 1_000

export interface RemovalParts {
  readonly store: ObjectStore
  readonly prefix: string
  readonly stopping: AbortSignal
  /** Called for each object that is gone now. */
  readonly removed: (batch: FoldedBatch) => void
}

/**
 * Lists the days that have expired, and removes those of their objects that the log names as expired, in folded
 * records only. The log, and not the listing, decides: objects that no record names are not touched.
 *
 * @param changes of all records; an expiration counts for the records before it
 * @throws StoreUnavailable, LogRefused; the reason of `stopping`
 */
export async function removeExpired(parts: RemovalParts, changes: LaterChanges): Promise<void> {
  const { expiredBefore } = changes
  if (expiredBefore === undefined) return
  let digests = new IdSet()
  // A batch has the day of its first event in its key. If that was left out as a duplicate, the others may be older.
  for await (const key of keysThrough(parts, expiredBefore + DAY_MS)) {
    digests.add(digestOf(key))
    if (digests.size < LISTED_AT_ONCE) continue
    await removeListed(parts, changes, digests)
    digests = new IdSet()
  }
  if (digests.size > 0) await removeListed(parts, changes, digests)
}

/** @param end milliseconds since 1970; days from here on are not listed */
async function* keysThrough({ store, prefix }: RemovalParts, end: number): AsyncIterable<string> {
  const days = `${prefix}/dt=`
  const endKey = `${days}${new Date(end).toISOString().slice(0, 10)}`
  for await (const key of store.list(days)) {
    if (key >= endKey) return
    if (isObjectKey(key)) yield key
  }
}

async function removeListed(parts: RemovalParts, changes: LaterChanges, listed: IdSet): Promise<void> {
  const { store, prefix } = parts
  const keys = logKeys(prefix)
  let expired: FoldedBatch[] = []
  for await (const step of walkLog({ store, reader: new LogReader(store, keys), keys })) {
    if (step.kind !== 'folded') continue
    const { record } = step
    for (const batch of record.batches) {
      if (!changes.isExpired(record.number, batch.lastReceivedAt) || !listed.has(digestOf(batch.key)))
        continue
      expired.push(batch)
      if (expired.length < REMOVED_AT_ONCE) continue
      await removeAll(parts, expired)
      expired = []
    }
  }
  await removeAll(parts, expired)
}

async function removeAll({ store, stopping, removed }: RemovalParts, batches: readonly FoldedBatch[]) {
  stopping.throwIfAborted()
  if (batches.length > 0) await store.remove(batches.map(({ key }) => key))
  for (const batch of batches) removed(batch)
}

function digestOf(key: string): Buffer {
  return hash('sha256', key, 'buffer').subarray(0, ID_BYTES)
}
