/** Decides what expires. It reads the log once, and keeps counts of days only. */

import { LogRefused, QueryFailed } from '../errors.ts'
import { LaterChanges } from '../log/later-changes.ts'
import { logKeys } from '../log/log-keys.ts'
import { LogReader } from '../log/log-reader.ts'
import { walkLog } from '../log/log-walk.ts'
import type { FoldedBatch } from '../log/manifest.ts'
import { hasObjects } from '../query/archive-batches.ts'
import { coverageOf } from '../query/coverage.ts'
import type { StoreReader } from '../store/store.ts'
import type { TableState } from '../table/table-state.ts'

export const DAY_MS = 24 * 60 * 60 * 1000

/** What is to go: days (UTC) before these. Milliseconds since 1970, each the start of a day. Undefined: nothing. */
export interface Cuts {
  /** From objects and table. */
  readonly all: number | undefined
  /** Objects whose events are all in the table. */
  readonly raw: number | undefined
}

export interface Retention {
  readonly retentionMs: number | undefined
  readonly rawRetentionMs: number | undefined
  /** Objects of this time are never removed: known events are looked up in them. */
  readonly dedupeWindowMs: number
}

/** Objects of one day that expire. */
export interface ExpiredObjects {
  objects: number
  events: number
  /** As stored. */
  bytes: number
}

export interface Expiry {
  /** Of the archive's log; undefined if there is none, and no object. */
  readonly log: string | undefined
  /** Objects of records up to `through` whose last event was received before this expire. Undefined: no further ones. */
  readonly before: number | undefined
  /** The last record that was read. */
  readonly through: number
  /** By the day in their keys. Only what no record says yet. */
  readonly days: ReadonlyMap<string, ExpiredObjects>
  /** What `all` and `raw` leave, although it is older: objects of this day are not all in the table. */
  readonly heldFrom: number | undefined
  /** Days of which objects expire, by their last events. */
  readonly lastDays: ReadonlySet<number>
  /** Of all records. */
  readonly changes: LaterChanges
}

/** Batches of which the last event was received on one day. */
interface LastDay {
  readonly byKey: Map<string, ExpiredObjects>
  /** Whether the table has all of their events. */
  isCovered: boolean
}

export function cutsOf(now: number, { retentionMs, rawRetentionMs, dedupeWindowMs }: Retention): Cuts {
  const least = startOfDay(now - dedupeWindowMs - DAY_MS)
  const cut = (ms: number | undefined): number | undefined =>
    ms === undefined ? undefined : Math.min(startOfDay(now - ms), least)
  return { all: cut(retentionMs), raw: cut(rawRetentionMs) }
}

export function startOfDay(ms: number): number {
  return Math.floor(ms / DAY_MS) * DAY_MS
}

/**
 * The record that expires objects goes by time alone. So it names the latest day before which nothing is left that
 * must stay: with RAW_RETENTION, events that the table does not have.
 *
 * @throws QueryFailed if the log is damaged; LogRefused if there is none; StoreUnavailable
 */
export async function findExpiry(
  store: StoreReader,
  prefix: string,
  table: TableState,
  cuts: Cuts,
): Promise<Expiry> {
  const keys = logKeys(prefix)
  const end = Math.max(cuts.all ?? Number.NEGATIVE_INFINITY, cuts.raw ?? Number.NEGATIVE_INFINITY)
  const lastDays = new Map<number, LastDay>()
  const changes = new LaterChanges()
  let log: string | undefined
  let through = 0
  for await (const step of walkLog({ store, reader: new LogReader(store, keys), keys })) {
    if (step.kind === 'damaged') throw new QueryFailed(step.message)
    if (step.kind === 'manifest') {
      log = step.manifest.log
      continue
    }
    const { record } = step
    if (step.kind === 'record') log ??= step.record.log
    through = record.number
    changes.add(record, record.number)
    if (record.expiredBefore !== undefined) dropBefore(lastDays, record.expiredBefore)
    for (const batch of record.batches) {
      const day = startOfDay(batch.lastReceivedAt)
      if (day >= end) continue
      const lastDay = lastDays.get(day) ?? { byKey: new Map(), isCovered: true }
      lastDays.set(day, lastDay)
      count(lastDay, batch)
      if (coverageOf(table, batch, record.number) !== 'all') lastDay.isCovered = false
    }
  }
  if (log === undefined && (await hasObjects(store, prefix)))
    throw new LogRefused('The archive has objects and no log: run "frequency log build", then this again.')
  return { log, through, changes, ...decided(lastDays, cuts) }
}

function decided(
  lastDays: ReadonlyMap<number, LastDay>,
  { all, raw }: Cuts,
): Pick<Expiry, 'before' | 'days' | 'heldFrom' | 'lastDays'> {
  const start = all ?? Number.NEGATIVE_INFINITY
  const heldFrom = firstUncovered(lastDays, start)
  const isHeld = raw !== undefined && heldFrom !== undefined && heldFrom < raw
  const before = Math.max(start, raw === undefined ? start : isHeld ? heldFrom : raw)
  const expired = [...lastDays].filter(([day]) => day < before)
  const days = new Map<string, ExpiredObjects>()
  for (const [, { byKey }] of expired)
    for (const [day, objects] of byKey) addTo(objectsOf(days, day), objects)
  return {
    before: expired.length === 0 ? undefined : before,
    days,
    heldFrom: isHeld ? heldFrom : undefined,
    lastDays: new Set(expired.map(([day]) => day)),
  }
}

function firstUncovered(lastDays: ReadonlyMap<number, LastDay>, start: number): number | undefined {
  let first: number | undefined
  for (const [day, { isCovered }] of lastDays)
    if (!isCovered && day >= start && (first === undefined || day < first)) first = day
  return first
}

/** What a record has expired already. A record names the start of a day. */
function dropBefore(lastDays: Map<number, LastDay>, before: number): void {
  for (const day of lastDays.keys()) if (day + DAY_MS <= before) lastDays.delete(day)
}

function count({ byKey }: LastDay, { key, events, storedBytes }: FoldedBatch): void {
  addTo(objectsOf(byKey, dayInKey(key)), { objects: 1, events, bytes: storedBytes })
}

export function dayInKey(key: string): string {
  return /\/dt=([^/]*)\//.exec(key)?.[1] ?? 'unknown'
}

export function objectsOf(days: Map<string, ExpiredObjects>, day: string): ExpiredObjects {
  const known = days.get(day)
  if (known !== undefined) return known
  const none = { objects: 0, events: 0, bytes: 0 }
  days.set(day, none)
  return none
}

export function addTo(sum: ExpiredObjects, { objects, events, bytes }: ExpiredObjects): void {
  sum.objects += objects
  sum.events += events
  sum.bytes += bytes
}
