/**
 * Says to other compactors which file is being made. Without it several would do the same work, and all but one in
 * vain: which of them counts is decided by the table's log alone.
 */

import { randomUUID } from 'node:crypto'
import type { ObjectStore } from '../store/store.ts'
import type { TableKeys } from '../table/table-keys.ts'
import type { CompactionJob } from './compaction-jobs.ts'

/** A claim that was not renewed for this time, by the store's clock, is void. */
const CLAIM_MS = 15_000
const RENEWAL_MS = 4_000

export interface Claim {
  /** To be called once. */
  release(): Promise<void>
}

/** @returns undefined if another process makes the file @throws StoreUnavailable */
export async function claim(
  store: ObjectStore,
  keys: TableKeys,
  { hour, batches: [first] }: CompactionJob,
): Promise<Claim | undefined> {
  const key = `${keys.claims}${hour}-${first?.record}`
  const bytes = Buffer.from(randomUUID())
  if ((await store.create(key, bytes)).outcome === 'exists') {
    const { object, date } = await store.read(key)
    const ageMs = object === undefined ? 0 : (date ?? Date.now()) - object.modifiedAt
    if (object !== undefined && !object.body.equals(bytes) && ageMs < CLAIM_MS) return undefined
    await store.replace(key, bytes)
  }
  // A renewal that fails leaves a claim that becomes void.
  const timer = setInterval(() => void store.replace(key, bytes).catch(() => {}), RENEWAL_MS)
  return {
    release: async () => {
      clearInterval(timer)
      await store.remove([key])
    },
  }
}
