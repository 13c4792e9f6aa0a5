import type { PartitionState } from './id-index-state.ts'
import type { IdRun } from './id-run.ts'

/** This many runs of about the same size are merged into one. */
const FAN_IN = 8

/** The records that ids are from. */
export interface IdSource {
  /** The last record. */
  through: number
  /** When the first record was stored, in milliseconds since 1970. */
  storedFrom: number
  /** When the last record was stored. Never falls from one table or run to the next. */
  storedThrough: number
}

/** Ids on disk that were added one after another, and are dropped together. */
export class IdPartition {
  readonly source: IdSource
  readonly runs: IdRun[]
  /** Whether a newer partition exists, so that no more ids come. */
  isSealed = false

  constructor(source: IdSource, runs: IdRun[]) {
    this.source = source
    this.runs = runs
  }

  get size(): number {
    return sizeOf(this.runs)
  }

  get state(): PartitionState {
    return { ...this.source, runs: this.runs.map(({ number }) => number) }
  }

  add(run: IdRun, { through, storedThrough }: IdSource): void {
    this.runs.push(run)
    this.source.through = Math.max(this.source.through, through)
    this.source.storedThrough = storedThrough
  }

  /** Replaces merged runs. @param run undefined if no ids are left */
  replace(former: readonly IdRun[], run: IdRun | undefined): void {
    const kept = this.runs.filter(each => !former.includes(each))
    this.runs.splice(0, Infinity, ...(run === undefined ? [] : [run]), ...kept)
  }

  /**
   * Runs to merge: all runs of a sealed partition, or eight of about the same size of one that still grows. With the
   * sizes that open-id-index.ts sets, an id is merged at most three times.
   *
   * @param unit ids of a new run, before runs are merged
   */
  mergeable(unit: number): IdRun[] | undefined {
    if (this.isSealed) return this.runs.length > 1 ? [...this.runs] : undefined
    const levels = new Map<number, IdRun[]>()
    for (const run of this.runs) {
      const level = Math.max(0, Math.round(Math.log(run.size / unit) / Math.log(FAN_IN)))
      const runs = levels.get(level) ?? []
      levels.set(level, runs)
      runs.push(run)
      if (runs.length === FAN_IN) return runs
    }
    return undefined
  }
}

/** How many ids several runs or partitions have. */
export function sizeOf(parts: readonly { readonly size: number }[]): number {
  return parts.reduce((sum, { size }) => sum + size, 0)
}
