/** Finds the batches of an archive that a query reads, by the archive's log. */

import { LogRefused, QueryFailed } from '../errors.ts'
import { LaterChanges } from '../log/later-changes.ts'
import { logKeys } from '../log/log-keys.ts'
import { LogReader } from '../log/log-reader.ts'
import { isInline, type LogBatch } from '../log/log-record.ts'
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
  /** `staged` has new bytes, and the object may still have the old ones. */
  readonly isRewritten?: boolean
  /** Its object was there before the record: no record makes it void. */
  readonly isStored: boolean
}

export interface ArchivedBatches {
  /** The id of the archive's log; undefined if there is none, and no object. */
  readonly log: string | undefined
  /** The last record of the log that was read. */
  readonly through: number
  readonly batches: readonly ArchivedBatch[]
  /** Batches that were wanted, but have expired. */
  readonly expired: readonly ArchivedBatch[]
  /** What the records say of objects of earlier ones. It is in `batches` already. */
  readonly changes: LaterChanges
}

/**
 * The batches that the log names, oldest record first, without those that became void or have expired.
 *
 * @param isWanted called for each batch of a record; only what it wants is kept in memory
 * @param first the first record that counts
 * @throws QueryFailed if there is no log, or a record of it cannot be used
 * @throws StoreUnavailable, LogRefused
 */
export async function archivedBatches(
  store: StoreReader,
  prefix: string,
  first = 0,
  isWanted: (batch: ArchivedBatch) => boolean = () => true,
): Promise<ArchivedBatches> {
  const keys = logKeys(prefix)
  const reader = new LogReader(store, keys)
  const batches: ArchivedBatch[] = []
  const voids = new Set<string>()
  const changes = new LaterChanges()
  let log: string | undefined
  let through = Math.max(0, first - 1)
  const add = (batch: ArchivedBatch): void => {
    if (batch.record >= first && isWanted(batch)) batches.push(batch)
  }
  for await (const step of walkLog({ store, reader, keys }, first)) {
    if (step.kind === 'damaged') throw new QueryFailed(step.message)
    if (step.kind === 'manifest') {
      log = step.manifest.log
      through = Math.max(through, step.manifest.through)
    } else {
      const { record } = step
      log ??= step.kind === 'record' ? step.record.log : undefined
      through = Math.max(through, record.number)
      changes.add(record, record.number)
      for (const [place, batch] of record.batches.entries()) add(archivedBatch(batch, record.number, place))
      if (step.kind === 'record')
        for (const each of step.record.voids) voids.add(`${each.number}:${each.batch}`)
    }
  }
  if (log === undefined && (await hasObjects(store, prefix)))
    throw new LogRefused('The archive has objects and no log: run "frequency log build", then ask again.')
  const archived = batches.filter(
    ({ record, place, isStored }) => isStored || !voids.has(`${record}:${place}`),
  )
  const isExpired = ({ record, lastReceivedAt }: ArchivedBatch) => changes.isExpired(record, lastReceivedAt)
  const left = archived.filter(batch => !isExpired(batch)).map(batch => rewritten(batch, changes))
  return { log, through, changes, batches: left, expired: archived.filter(isExpired) }
}

function rewritten(batch: ArchivedBatch, changes: LaterChanges): ArchivedBatch {
  const rewrite = changes.rewriteOf(batch.key)
  return rewrite === undefined ? batch : { ...batch, ...rewrite, isRewritten: true }
}

function archivedBatch(batch: FoldedBatch | LogBatch, record: number, place: number): ArchivedBatch {
  const { key, sha256, storedBytes, events, bytes, firstReceivedAt, lastReceivedAt } = batch
  const summary = { key, sha256, storedBytes, events, bytes, firstReceivedAt, lastReceivedAt, record, place }
  return 'ids' in batch
    ? { ...summary, staged: batch.staged, isInline: isInline(batch), isStored: batch.isStored === true }
    : { ...summary, isInline: false, isStored: true }
}

/** Whether some of its events may be in the range. */
export function isInRange(
  batch: Pick<FoldedBatch, 'firstReceivedAt' | 'lastReceivedAt'>,
  { since, until }: TimeRange,
): boolean {
  return (
    (since === undefined || batch.lastReceivedAt >= since) &&
    (until === undefined || batch.firstReceivedAt < until)
  )
}

/** Whether there is an object, of this archive or of a log that was lost. */
export async function hasObjects(store: StoreReader, prefix: string): Promise<boolean> {
  for await (const _ of store.list(`${prefix}/dt=`)) return true
  return false
}
