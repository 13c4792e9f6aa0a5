/**
 * Removes days that are older than RETENTION from objects, log and table, and objects that are older than RAW_RETENTION
 * and in the table.
 *
 *   fold ──► decide ──► append {expiredBefore}
 *        ──► table's log: removed ──► Iceberg ──► remove files ──► remove bytes in records ──► remove objects
 *
 * Each step goes by what the steps before have written, and not by what this process remembers. So the command may be
 * killed at any time, and any number of them may run: the next run completes what is left.
 *
 * - Nothing goes that must stay. The record says a time, and counts for all records before it. It is appended only if
 *   all batches of these records were seen: LogMaintainer refuses it if, since the fold, a batch with such a time was
 *   archived, or records were folded unseen. Then all is decided again. A record whose answer was lost can only follow
 *   the record that was read last, so it is as right a day later.
 * - Batches of later records with old times do not expire by it. They are named, and stay until a later run.
 * - No archiver misses an object. All batches that expire are in folded records, which were settled: no archiver stores
 *   them again. One that was paused, and does, stores an object that the log names as expired. The next run removes it.
 * - RAW_RETENTION loses no event. The table's log is read before the archive's log, and says only ever more that the
 *   table has. Files of these events have to be there, with their sizes. A query that has read the table's log before
 *   reads it again if a batch has expired meanwhile (event-sources.ts).
 * - What has expired does not come back into the table. The record comes first. The entry that takes files out then
 *   counts as an erasure does: a compactor whose plan is older adds nothing, and one that plans later finds no batch.
 * - Readers of the table never see an event twice. A query has the files of one state of the table's log. For Iceberg
 *   `publish` has to leave no snapshot that names a file that the table does not have: then the files are removed.
 *   Between the entry and the removal a glob still has them. Only events that expire differ between readers meanwhile.
 * - Removals are late or twice without harm: no key is ever used again.
 * - A wrong clock does not remove too much if the store has one: the earlier of both counts.
 */

import { moveNamed } from '../erase/rewrite-objects.ts'
import { QueryFailed } from '../errors.ts'
import { logKeys } from '../log/log-keys.ts'
import { LogMaintainer } from '../log/log-maintainer.ts'
import { removeBodies } from '../log/record-bodies.ts'
import type { Logger } from '../process/logger.ts'
import type { ObjectStore } from '../store/store.ts'
import type { TablePublisher } from '../table/staged-files.ts'
import type { TableFile } from '../table/table-entry.ts'
import { partitionOf, tableKeys } from '../table/table-keys.ts'
import { TableLog, TableLogReader } from '../table/table-log.ts'
import type { TableState } from '../table/table-state.ts'
import {
  assertThere,
  expiredFiles,
  hourOfFile,
  removeUnnamed,
  type TableParts,
  takeOut,
} from './expired-files.ts'
import { removeExpired } from './expired-objects.ts'
import { type Cuts, cutsOf, dayInKey, type Expiry, findExpiry, type Retention } from './expiry.ts'

/** Attempts to append a record, while archivers archive events of days that expire. */
const ATTEMPTS_MAX = 5

export interface ExpirerParts {
  readonly store: ObjectStore
  readonly prefix: string
  readonly retention: Retention
  readonly log: Logger
  readonly stopping: AbortSignal
  readonly publish: TablePublisher
  /** Objects are removed by somebody else, as a lifecycle rule. @default false */
  readonly isRecordOnly?: boolean
  /** Milliseconds since 1970. @default the clock of this machine */
  readonly now?: () => number
}

/** What goes of one day (UTC). */
export interface ExpiredDay {
  /** `2026-11-24`, as in keys. Files of events without a time have the day of their batches. */
  readonly day: string
  objects: number
  events: number
  /** Of the objects, as stored. */
  bytes: number
  files: number
  rows: number
  fileBytes: number
}

export interface ExpiryReport {
  /** Objects whose last event was received before this have expired, by all records. ISO 8601. */
  readonly expiredBefore: string | undefined
  /** Objects from this day on are older than RAW_RETENTION and stay: the table does not have all of their events. */
  readonly heldFrom: string | undefined
  readonly hasTable: boolean
  /** Oldest first. */
  readonly days: readonly ExpiredDay[]
}

export class Expirer {
  readonly progress = { phase: 'log' as 'log' | 'table' | 'objects', objects: 0, files: 0 }
  readonly #parts: ExpirerParts

  constructor(parts: ExpirerParts) {
    this.#parts = parts
  }

  /** What expires. Changes nothing. @throws QueryFailed, StoreUnavailable, LogRefused, TableDamaged */
  async plan(): Promise<ExpiryReport> {
    const cuts = await this.#cuts()
    const { table, expiry } = await this.#found(cuts)
    const days = new Map<string, ExpiredDay>()
    for (const [day, objects] of expiry.days) Object.assign(dayOf(days, day), objects)
    for (const file of expiredFiles(table, cuts.all)) addFile(days, file)
    return reportOf(expiry, expiry.before, table, days)
  }

  /** @throws QueryFailed, StoreUnavailable, LogDamaged, LogRefused, TableDamaged; the reason of `stopping` */
  async run(): Promise<ExpiryReport> {
    const { store, prefix, stopping, publish, isRecordOnly } = this.#parts
    const cuts = await this.#cuts()
    const first = await this.#found(cuts)
    const { expiry, table } = first.expiry.before === undefined ? first : await this.#recorded(cuts)
    const days = new Map<string, ExpiredDay>()
    if (expiry.log === undefined) return reportOf(expiry, undefined, table, days)
    const { before, changes, through } = expiry
    // The record that was appended. Its number is at least this one, and what was read is before it.
    if (before !== undefined) changes.add({ expiredBefore: before }, through + 1)
    this.progress.phase = 'table'
    if (table.number > 0) {
      const log = new TableLog(store, tableKeys(prefix), expiry.log, stopping)
      const parts: TableParts = { store, log, publish, stopping }
      const taken = await takeOut(parts, cuts.all, before !== undefined)
      await removeUnnamed(parts, taken)
      for (const file of taken) addFile(days, file)
      this.progress.files = taken.length
    }
    this.progress.phase = 'objects'
    if (changes.expiredBefore !== undefined)
      await removeBodies(store, prefix, (batch, record) => changes.isExpired(record, batch.lastReceivedAt))
    if (isRecordOnly !== true) await this.#removeObjects(expiry, days)
    return reportOf(expiry, undefined, table, days)
  }

  /** The earlier of the clocks of this machine and of the store. */
  async #cuts(): Promise<Cuts> {
    const { store, prefix, retention, now = Date.now } = this.#parts
    const { date } = await store.read(logKeys(prefix).head, { start: 0, length: 1 })
    return cutsOf(Math.min(now(), date ?? Number.POSITIVE_INFINITY), retention)
  }

  async #found(cuts: Cuts): Promise<{ table: TableState; expiry: Expiry }> {
    const { store, prefix } = this.#parts
    const table = await new TableLogReader(store, tableKeys(prefix)).refresh()
    return { table, expiry: await findExpiry(store, prefix, table, cuts) }
  }

  /** Appends a record that says what has expired. */
  async #recorded(cuts: Cuts): Promise<{ table: TableState; expiry: Expiry }> {
    const { store, prefix, log, stopping } = this.#parts
    const maintainer = await LogMaintainer.open({ store, prefix, log, stopping })
    for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
      stopping.throwIfAborted()
      await maintainer.fold()
      const found = await this.#found(cuts)
      const { before, lastDays } = found.expiry
      if (before === undefined) return found
      const start = cuts.all ?? Number.NEGATIVE_INFINITY
      await assertThere(store, found.table, new Set([...lastDays].filter(day => day >= start)))
      if (await maintainer.append({ expiredBefore: before })) return found
    }
    throw new QueryFailed('Events of days that expire are being archived just now. Run this again later.')
  }

  async #removeObjects({ changes }: Expiry, days: Map<string, ExpiredDay>): Promise<void> {
    const { store, prefix, stopping } = this.#parts
    // A staged object that replaces one that has expired goes with it.
    await moveNamed(store, prefix, changes.rewrites)
    const removed = ({ key, events, storedBytes }: { key: string; events: number; storedBytes: number }) => {
      const day = dayOf(days, dayInKey(key))
      day.objects++
      day.events += events
      day.bytes += storedBytes
      this.progress.objects++
    }
    await removeExpired({ store, prefix, stopping, removed }, changes)
  }
}

function dayOf(days: Map<string, ExpiredDay>, day: string): ExpiredDay {
  const known = days.get(day)
  if (known !== undefined) return known
  const none = { day, objects: 0, events: 0, bytes: 0, files: 0, rows: 0, fileBytes: 0 }
  days.set(day, none)
  return none
}

function addFile(days: Map<string, ExpiredDay>, file: TableFile): void {
  const day = dayOf(days, dayInKey(`/${partitionOf(hourOfFile(file))}`))
  day.files++
  day.rows += file.rows
  day.fileBytes += file.bytes
}

/** @param before what a record would say in addition */
function reportOf(
  { changes, heldFrom }: Expiry,
  before: number | undefined,
  table: TableState,
  days: ReadonlyMap<string, ExpiredDay>,
): ExpiryReport {
  const expiredBefore = Math.max(changes.expiredBefore ?? 0, before ?? 0)
  return {
    expiredBefore: expiredBefore === 0 ? undefined : new Date(expiredBefore).toISOString(),
    heldFrom: heldFrom === undefined ? undefined : new Date(heldFrom).toISOString().slice(0, 10),
    hasTable: table.number > 0,
    days: [...days.values()].toSorted((a, b) => (a.day < b.day ? -1 : 1)),
  }
}
