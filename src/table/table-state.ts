/** The content of an archive's table after some entries of its log. */

import type { TableColumn, TableEntry, TableFile } from './table-entry.ts'

export interface TableState {
  /** Of the archive's log; undefined before the first entry. */
  readonly log: string | undefined
  /** The number of the last entry; 0 before the first. */
  readonly number: number
  /** By key. */
  readonly files: ReadonlyMap<string, TableFile>
  /** By hour since 1970: the events of this hour in records up to this one are in the table. Only above `coveredThrough`. */
  readonly compactedThrough: ReadonlyMap<number, number>
  /** All events in records up to this one are in the table, or expired. */
  readonly coveredThrough: number
  /** How many erasures there were. */
  readonly erasures: number
  /** Paths outside the glob of bytes that no file has any more. They are to be removed when no snapshot names them. */
  readonly oldPaths: ReadonlySet<string>
  /** Typed columns. They are only ever added to. */
  readonly columns: readonly TableColumn[]
}

export const EMPTY_TABLE: TableState = {
  log: undefined,
  number: 0,
  files: new Map(),
  compactedThrough: new Map(),
  coveredThrough: 0,
  erasures: 0,
  oldPaths: new Set(),
  columns: [],
}

/** The state after these entries, which follow it. Pure: `state` stays as it is. */
export function applied(state: TableState, entries: readonly TableEntry[]): TableState {
  const files = new Map(state.files)
  const compactedThrough = new Map(state.compactedThrough)
  const oldPaths = new Set(state.oldPaths)
  let { log, number, coveredThrough, erasures, columns } = state
  for (const entry of entries) {
    log = entry.log
    number = entry.number
    for (const file of entry.added ?? []) files.set(file.key, file)
    for (const path of entry.oldPaths ?? []) oldPaths.add(path)
    for (const file of entry.replaced ?? []) {
      addOldPath(oldPaths, files.get(file.key))
      files.set(file.key, file)
    }
    for (const key of entry.placed ?? []) place(files, key)
    for (const key of entry.removed ?? []) {
      addOldPath(oldPaths, files.get(key))
      files.delete(key)
    }
    for (const path of entry.removedPaths ?? []) oldPaths.delete(path)
    for (const { hour, through } of entry.compacted ?? []) compactedThrough.set(hour, through)
    erasures = entry.erasures ?? erasures
    coveredThrough = Math.max(coveredThrough, entry.coveredThrough ?? 0)
    for (const [hour, through] of compactedThrough)
      if (through <= coveredThrough) compactedThrough.delete(hour)
    columns = entry.columns ?? columns
  }
  return { log, number, files, compactedThrough, coveredThrough, erasures, oldPaths, columns }
}

function addOldPath(oldPaths: Set<string>, file: TableFile | undefined): void {
  if (file !== undefined && file.path !== file.key && file.isStaged !== true) oldPaths.add(file.path)
}

function place(files: Map<string, TableFile>, key: string): void {
  const file = files.get(key)
  if (file?.isStaged === true) {
    const { isStaged: _, ...rest } = file
    files.set(key, { ...rest, path: key })
  } else if (file?.copy !== undefined) {
    const { copy: _, ...rest } = file
    files.set(key, rest)
  }
}

/** Whether the events of this hour in a record are in the table. Events up to `coveredThrough` are, whatever their hour. */
export function isCompacted(state: TableState, hour: number, record: number): boolean {
  return record <= compactedThrough(state, hour)
}

/** The last record up to which the events of this hour are in the table; 0 before the first. */
export function compactedThrough({ coveredThrough, compactedThrough }: TableState, hour: number): number {
  return Math.max(coveredThrough, compactedThrough.get(hour) ?? 0)
}
