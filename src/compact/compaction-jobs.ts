/** Plans which events go into which files of the table. Pure. */

import { GIB, MIB } from '../config/setting-types.ts'
import type { ArchivedBatch } from '../query/archive-batches.ts'
import { missingHours } from '../query/coverage.ts'
import { compactedThrough, type TableState } from '../table/table-state.ts'

/** Limits of the objects of one file. */
export interface FileLimits {
  /** As stored. The file is smaller: it is sorted, and has zstd. */
  readonly storedBytesMax: number
  /** Of their events. They are on local disk while the file is made. */
  readonly eventBytesMax: number
}

const FILE_LIMITS: FileLimits = { storedBytesMax: 512 * MIB, eventBytesMax: 4 * GIB }

/** One file of the table: the events of an hour in some batches. */
export interface CompactionJob {
  /** Hours since 1970. */
  readonly hour: number
  /** The file is added only if the table has the events of the hour in records up to this one, and no further. */
  readonly after: number
  /** Events of the hour in batches of records up to this one are in the file, or in the table already. */
  readonly through: number
  /** At least one, in the order of their records. */
  readonly batches: readonly ArchivedBatch[]
}

/**
 * @param batches all that the table does not have whole, in the order of their records
 * @param through the last record of the archive's log that was read
 * @param isDue whether an hour goes into the table now
 * @returns jobs in the order of their hours, and of their records within an hour
 */
export function compactionJobs(
  table: TableState,
  batches: readonly ArchivedBatch[],
  through: number,
  isDue: (hour: number) => boolean,
  limits = FILE_LIMITS,
): CompactionJob[] {
  const byHour = new Map<number, ArchivedBatch[]>()
  for (const batch of batches)
    for (const hour of missingHours(table, batch, batch.record)) {
      if (!isDue(hour)) continue
      const ofHour = byHour.get(hour)
      if (ofHour === undefined) byHour.set(hour, [batch])
      else ofHour.push(batch)
    }
  const hours = [...byHour].toSorted(([a], [b]) => a - b)
  return hours.flatMap(([hour, ofHour]) =>
    jobsOfHour({ hour, after: compactedThrough(table, hour), through }, ofHour, limits),
  )
}

/** A record is in one file: the log of the table names records. */
function jobsOfHour(
  { hour, after: afterFirst, through }: Omit<CompactionJob, 'batches'>,
  batches: readonly ArchivedBatch[],
  { storedBytesMax, eventBytesMax }: FileLimits,
): CompactionJob[] {
  const jobs: CompactionJob[] = []
  let after = afterFirst
  let group: ArchivedBatch[] = []
  let storedBytes = 0
  let eventBytes = 0
  for (const batch of batches) {
    const last = group.at(-1)
    const isFull =
      storedBytes + batch.storedBytes > storedBytesMax || eventBytes + batch.bytes > eventBytesMax
    if (last !== undefined && last.record !== batch.record && isFull) {
      jobs.push({ hour, after, through: last.record, batches: group })
      after = last.record
      group = []
      storedBytes = 0
      eventBytes = 0
    }
    group.push(batch)
    storedBytes += batch.storedBytes
    eventBytes += batch.bytes
  }
  jobs.push({ hour, after, through, batches: group })
  return jobs
}
