/** Where the events of an archive are read from: files of its table, and batches that the table does not have yet. */

import type { StoreReader } from '../store/store.ts'
import type { TableFile } from '../table/table-entry.ts'
import { HOUR_MS, tableKeys } from '../table/table-keys.ts'
import { assertOfLog, TableLogReader } from '../table/table-log.ts'
import type { TableState } from '../table/table-state.ts'
import {
  type ArchivedBatch,
  type ArchivedBatches,
  archivedBatches,
  isInRange,
  type TimeRange,
} from './archive-batches.ts'
import { coverageOf, missingHours, type RowsOfHours } from './coverage.ts'

/** Each event is in one file, or in one batch. */
export interface ArchiveSources {
  /** Batches with events that the table does not have. */
  readonly batches: readonly ArchivedBatch[]
  /** By key: of these batches, those of which the table has a part, and what it does not have. */
  readonly parts: ReadonlyMap<string, RowsOfHours>
  /** Files of the table. */
  readonly files: readonly TableFile[]
}

/** Of an archive, what is in a range. */
export interface EventSources extends ArchiveSources {
  readonly all: ArchiveSources
}

/**
 * Reads the table's log first: a batch that is added to the table meanwhile is then read from its object. If it has
 * expired meanwhile, too, both logs are read again: RAW_RETENTION lets objects go whose events are in the table.
 *
 * @throws QueryFailed, StoreUnavailable, LogRefused, TableDamaged
 */
export async function archiveSources(store: StoreReader, prefix: string): Promise<ArchiveSources> {
  const log = new TableLogReader(store, tableKeys(prefix))
  for (let table = await log.refresh(); ; ) {
    const { expired, sources } = await sourcesBeside(table, store, prefix)
    if (expired.length === 0) return sources
    const now = await log.refresh()
    const missingIn = (state: TableState, batch: ArchivedBatch): number =>
      missingHours(state, batch, batch.record).length
    if (!expired.some(batch => missingIn(now, batch) < missingIn(table, batch))) return sources
    table = now
  }
}

async function sourcesBeside(
  table: TableState,
  store: StoreReader,
  prefix: string,
): Promise<{ readonly sources: ArchiveSources; readonly expired: readonly ArchivedBatch[] }> {
  const { log, batches, expired } = await uncoveredBatches(table, store, prefix)
  assertOfLog(table, log)
  const parts = new Map<string, RowsOfHours>()
  for (const batch of batches) {
    const coverage = coverageOf(table, batch, batch.record)
    if (typeof coverage === 'object') parts.set(batch.key, coverage)
  }
  return { sources: { batches, parts, files: [...table.files.values()] }, expired }
}

/**
 * The batches with events that the table does not have.
 *
 * @throws QueryFailed, StoreUnavailable, LogRefused
 */
export function uncoveredBatches(
  table: TableState,
  store: StoreReader,
  prefix: string,
): Promise<ArchivedBatches> {
  const first = table.coveredThrough === 0 ? 0 : table.coveredThrough + 1
  return archivedBatches(store, prefix, first, batch => coverageOf(table, batch, batch.record) !== 'all')
}

export function inRange(all: ArchiveSources, range: TimeRange): EventSources {
  return {
    batches: all.batches.filter(batch => isInRange(batch, range)),
    parts: all.parts,
    files: all.files.filter(({ hour }) => isHourInRange(hour, range)),
    all,
  }
}

/** Events without a time are in no range. */
function isHourInRange(hour: number | null, { since, until }: TimeRange): boolean {
  if (since === undefined && until === undefined) return true
  if (hour === null) return false
  const startMs = hour * HOUR_MS
  return (since === undefined || startMs + HOUR_MS > since) && (until === undefined || startMs < until)
}
