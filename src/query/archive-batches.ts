/** Finds the batches of an archive that a query reads, by the archive's log. */

import { QueryFailed } from '../errors.ts'
import { logKeys } from '../log/log-keys.ts'
import { LogReader } from '../log/log-reader.ts'
import { isInline, type LogBatch, type LogRecord } from '../log/log-record.ts'
import { walkLog } from '../log/log-walk.ts'
import type { FoldedBatch } from '../log/manifest.ts'
import type { StoreReader } from '../store/store.ts'

/** A span of `receivedAt`, in milliseconds since 1970: from `since` up to, and without, `until`. */
export interface TimeRange {
  readonly since?: number | undefined
  readonly until?: number | undefined
}

/** A batch, and where its bytes are while it is not an object yet. */
export interface ArchivedBatch extends FoldedBatch {
  /** The record that names it; its place in that record. */
  readonly record: number
  readonly place: number
  readonly staged?: string | undefined
  readonly isInline: boolean
  /** Its object was there before the record: no record makes it void. */
  readonly isStored: boolean
}

/**
 * All batches that the log names, oldest record first, without those that became void.
 *
 * @throws QueryFailed if there is no log, or a record of it cannot be used
 * @throws StoreUnavailable, LogRefused
 */
export async function archivedBatches(store: StoreReader, prefix: string): Promise<ArchivedBatch[]> {
  const keys = logKeys(prefix)
  const reader = new LogReader(store, keys)
  const batches: ArchivedBatch[] = []
  const voids = new Set<string>()
  let steps = 0
  for await (const step of walkLog({ store, reader, keys })) {
    steps++
    if (step.kind === 'damaged') throw new QueryFailed(step.message)
    if (step.kind === 'folded')
      for (const [place, batch] of step.record.batches.entries())
        batches.push({
          ...summaryOf(batch),
          record: step.record.number,
          place,
          isInline: false,
          isStored: true,
        })
    if (step.kind === 'record') addRecord(step.record, batches, voids)
  }
  if (steps === 0 && (await hasObjects(store, prefix)))
    throw new QueryFailed('The archive has objects and no log: run "frequency log build", then ask again.')
  return voids.size === 0
    ? batches
    : batches.filter(({ record, place, isStored }) => isStored || !voids.has(`${record}:${place}`))
}

/** Whether some of its events may be in the range. */
export function isInRange(batch: FoldedBatch, { since, until }: TimeRange): boolean {
  return (
    (since === undefined || batch.lastReceivedAt >= since) &&
    (until === undefined || batch.firstReceivedAt < until)
  )
}

function addRecord({ number, batches, voids }: LogRecord, into: ArchivedBatch[], voided: Set<string>): void {
  for (const [place, batch] of batches.entries())
    into.push({
      ...summaryOf(batch),
      record: number,
      place,
      staged: batch.staged,
      isInline: isInline(batch),
      isStored: batch.isStored === true,
    })
  for (const each of voids) voided.add(`${each.number}:${each.batch}`)
}

function summaryOf(batch: FoldedBatch | LogBatch): FoldedBatch {
  const { key, sha256, storedBytes, events, bytes, firstReceivedAt, lastReceivedAt } = batch
  return { key, sha256, storedBytes, events, bytes, firstReceivedAt, lastReceivedAt }
}

async function hasObjects(store: StoreReader, prefix: string): Promise<boolean> {
  for await (const _ of store.list(`${prefix}/dt=`)) return true
  return false
}
