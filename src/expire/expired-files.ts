/** Removes expired days from the table: first from its log, then for readers of Iceberg, then the files. */

import { TableDamaged } from '../errors.ts'
import { forEachAtOnce } from '../process/for-each-at-once.ts'
import type { ObjectStore } from '../store/store.ts'
import { abandonedFiles, publishTable, type TablePublisher } from '../table/staged-files.ts'
import type { TableFile } from '../table/table-entry.ts'
import { HOUR_MS } from '../table/table-keys.ts'
import type { TableLog } from '../table/table-log.ts'
import type { TableState } from '../table/table-state.ts'
import { DAY_MS, startOfDay } from './expiry.ts'

const REMOVED_AT_ONCE = 1_000
const READS_AT_ONCE = 16
/** Of files that `frequency` puts below `data/`. */
const FILE = /^dt=[^/]+\/hour=[^/]+\/[0-9a-f-]{36}\.parquet$/

export interface TableParts {
  readonly store: ObjectStore
  readonly log: TableLog
  readonly publish: TablePublisher
  readonly stopping: AbortSignal
}

/** The files of days before `cut`. A file of events without a time has the time of their batches. */
export function expiredFiles({ files }: TableState, cut: number | undefined): TableFile[] {
  if (cut === undefined) return []
  return [...files.values()].filter(file => {
    const hour = hourOfFile(file)
    return hour !== null && (hour + 1) * HOUR_MS <= cut
  })
}

export function hourOfFile({ hour, batchHour }: TableFile): number | null {
  return batchHour ?? hour
}

/**
 * Takes files out of the table's log. Also refuses what a compactor has made of objects that have expired since: its
 * plan is older than the entry.
 *
 * @param hasNewlyExpired whether the archive's log says since now that objects have expired
 * @returns the files
 */
export async function takeOut(
  { log }: TableParts,
  cut: number | undefined,
  hasNewlyExpired: boolean,
): Promise<readonly TableFile[]> {
  let taken: readonly TableFile[] = []
  if (cut === undefined) return taken
  await log.append(table => {
    taken = expiredFiles(table, cut)
    if (taken.length === 0 && !hasNewlyExpired) return undefined
    return { removed: taken.map(({ key }) => key), erasures: table.erasures + 1 }
  })
  return taken
}

/**
 * Removes all files that the table does not name: those that were taken out, by this run or an earlier one, and what a
 * late move has brought back.
 */
export async function removeUnnamed(parts: TableParts, taken: readonly TableFile[]): Promise<void> {
  const { store, log, publish, stopping } = parts
  const listed: string[] = []
  for await (const key of store.list(log.keys.data))
    if (FILE.test(key.slice(log.keys.data.length)) && !log.state.files.has(key)) listed.push(key)
  await publishTable(store, log, publish, taken.length + listed.length > 0)
  // Read after the listing: a file comes to its key after its entry.
  const { files } = await log.refresh()
  const copies = taken.flatMap(({ key, path, copy }) => (path === key ? [] : [path]).concat(copy ?? []))
  const unnamed = listed.filter(key => !files.has(key)).concat(copies)
  for (let at = 0; at < unnamed.length; at += REMOVED_AT_ONCE) {
    stopping.throwIfAborted()
    await store.remove(unnamed.slice(at, at + REMOVED_AT_ONCE))
  }
  await store.remove(await abandonedFiles(store, log.keys.rewritten, log.state))
}

/**
 * Objects go because the table has their events: so its files have to be there.
 *
 * @param lastDays of the last events of the objects; their first events may be of the day before
 * @throws TableDamaged, StoreUnavailable
 */
export async function assertThere(
  store: ObjectStore,
  table: TableState,
  lastDays: ReadonlySet<number>,
): Promise<void> {
  const files = [...table.files.values()].filter(file => {
    const hour = hourOfFile(file)
    const day = startOfDay((hour ?? 0) * HOUR_MS)
    return hour === null || lastDays.has(day) || lastDays.has(day + DAY_MS)
  })
  await forEachAtOnce(files, READS_AT_ONCE, async ({ key, path, bytes }) => {
    for (const at of [path, key]) {
      const { object } = await store.read(at, { start: 0, length: 1 })
      if (object?.size === bytes) return
    }
    throw new TableDamaged(
      `The file ${key} of the table is gone or cut short: restore it from a backup. The objects that have its events stay until then.`,
    )
  })
}
