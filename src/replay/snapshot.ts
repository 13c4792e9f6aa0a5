/** Knows an archive again: a replay that was interrupted goes on with the events with which it began. */

import { createHash } from 'node:crypto'
import { logKeys } from '../log/log-keys.ts'
import { LogReader } from '../log/log-reader.ts'
import { walkLog } from '../log/log-walk.ts'
import { isInRange, type TimeRange } from '../query/archive-batches.ts'
import type { StoreReader } from '../store/store.ts'

/** The archive as it was when a replay began. */
export interface Snapshot {
  /** The last record of the log. */
  readonly record: number
  /** Of the keys of all batches in the range, also of those that are in the table. */
  readonly sha256: string
}

/**
 * @param through the last record that counts. @default the last one
 * @throws StoreUnavailable, LogRefused
 */
export async function snapshotOf(
  store: StoreReader,
  prefix: string,
  range: TimeRange,
  through = Number.POSITIVE_INFINITY,
): Promise<Snapshot> {
  const keys = logKeys(prefix)
  const digest = createHash('sha256')
  let last = 0
  for await (const step of walkLog({ store, reader: new LogReader(store, keys), keys })) {
    if (step.kind !== 'record' && step.kind !== 'folded') continue
    const { number, batches } = step.record
    if (number > through) break
    last = Math.max(last, number)
    for (const batch of batches) if (isInRange(batch, range)) digest.update(`${number} ${batch.key}\n`)
  }
  return { record: last, sha256: digest.digest('hex') }
}
