/**
 * Folds the log: writes the content of its oldest records to two runs and a manifest, and deletes the records an hour
 * later. So a new archiver reads a few large objects instead of many small records.
 *
 *   due ──► settle ──► read records ──► write runs ──► create the manifest ──► an hour later: delete
 *
 * Every archiver may fold at any time, also the same records as another. The first to create the manifest with the
 * next number wins. The others delete their runs. Runs that are left after a crash are never read.
 */

import { hash, randomUUID } from 'node:crypto'
import { LogDamaged } from '../errors.ts'
import type { CommitLog } from './commit-log.ts'
import { type Fold, foldRecords, type NumberedRecord } from './fold.ts'
import type { LogParts } from './log-sync.ts'
import { encodeManifest, encodeObjects, type Manifest, type Run } from './manifest.ts'
import type { Settlement } from './settlement.ts'
import { DELETION_DELAY_MS } from './watermark.ts'

/** A fold is due when the oldest unfolded record is this old, or when there are this many unfolded records. */
const FOLD_MS = 60 * 60 * 1000
const FOLD_RECORDS = 500
/** Bound on the ids of one fold. They are in memory while they are written, and again while they are read. */
const FOLD_IDS_MAX = 1_000_000
const READS_AT_ONCE = 8
/** Probability that an archiver does a fold that is due, at each check: so not all of them do it at once. */
const FOLD_CHANCE = 0.25
/** Runs of ids are deleted after this many dedupe windows. */
const IDS_WINDOWS = 2
/** Bound on the runs of ids that are deleted after one fold. */
const IDS_DELETED_AT_ONCE = 64
/** Interval between two checks for folded records that can be deleted. */
const DELETION_CHECK_MS = 5 * 60 * 1000

export interface FolderParts extends LogParts {
  readonly commitLog: Pick<CommitLog, 'position'>
  readonly settlement: Pick<Settlement, 'settleThrough' | 'voids'>
  /** When aborted, reading records and deleting records ends. */
  readonly stopping: AbortSignal
  /** Its dedupe window is not that of archivers, so it deletes no ids. @default false */
  readonly keepsIds?: boolean
}

export class Folder {
  readonly #parts: FolderParts
  /** The records of all manifests up to this one are deleted. */
  #deletedThrough = 0
  /** The ids of all manifests up to this one are deleted, as far as is known; undefined until the first fold. */
  #idsDeletedThrough: number | undefined
  #deletionCheckedAt = Number.NEGATIVE_INFINITY
  /** When this process first saw the oldest unfolded record, by `performance.now()`. */
  #unfoldedSince: number | undefined
  /** All records up to this one are due, because one fold could not take all of them. */
  #dueThrough = 0

  constructor(parts: FolderParts) {
    this.#parts = parts
  }

  /** @throws StoreUnavailable, LogDamaged, LogRefused */
  async foldIfDue(): Promise<void> {
    if (performance.now() - this.#deletionCheckedAt >= DELETION_CHECK_MS) await this.deleteFolded()
    if (!this.#isDue() || Math.random() >= FOLD_CHANCE) return
    // Another archiver may have folded since the watermark was last read.
    await this.#parts.watermark.refresh()
    if (this.#isDue()) await this.fold()
  }

  #isDue(): boolean {
    const { commitLog, watermark } = this.#parts
    const unfolded = (commitLog.position?.number ?? 0) - watermark.number
    if (unfolded <= 0) {
      this.#unfoldedSince = undefined
      return false
    }
    this.#unfoldedSince ??= performance.now()
    const isLong = performance.now() - this.#unfoldedSince >= FOLD_MS
    return isLong || unfolded >= FOLD_RECORDS || watermark.number < this.#dueThrough
  }

  /**
   * Folds all applied records, or as many as one fold takes.
   *
   * @returns the manifest; undefined if there was nothing to fold, or another archiver was faster
   * @throws StoreUnavailable, LogDamaged, LogRefused
   */
  async fold(): Promise<Manifest | undefined> {
    const { store, watermark, commitLog, settlement, log } = this.#parts
    await watermark.refresh()
    const before = watermark.manifest
    const from = watermark.number + 1
    const through = commitLog.position?.number ?? 0
    if (through < from) return undefined
    await settlement.settleThrough(through)
    const records = await this.#readRecords(from, through)
    if (records === undefined) return undefined
    const folded = foldRecords(records, before, settlement.voids)
    const { ids, objects } = await this.#writeRuns(folded)
    await store.remove(folded.staged)
    const manifest = await this.#create({ ...folded.manifest, ids, objects })
    if (manifest !== undefined) this.#dueThrough = through
    if (watermark.number >= through) this.#unfoldedSince = undefined
    if (manifest === undefined) await store.remove([ids.key, objects.key])
    else log.info({ from, through: manifest.through, watermark: watermark.number }, 'The log is folded.')
    if (this.#parts.keepsIds !== true) await this.#deleteOldIds()
    return manifest
  }

  /** @returns undefined if the manifest of another archiver has the number */
  async #create(manifest: Omit<Manifest, 'version'>): Promise<Manifest | undefined> {
    const { store, keys, reader, watermark } = this.#parts
    await store.create(keys.manifest(manifest.generation), encodeManifest(manifest))
    const { manifest: created } = await reader.manifest(manifest.generation)
    await watermark.refresh()
    return created?.objects.key === manifest.objects.key ? created : undefined
  }

  /** @returns undefined if another archiver has folded the records, or when stopping */
  async #readRecords(from: number, through: number): Promise<NumberedRecord[] | undefined> {
    const { reader, watermark } = this.#parts
    const records: NumberedRecord[] = []
    let ids = 0
    for (let first = from; first <= through && ids < FOLD_IDS_MAX; first += READS_AT_ONCE) {
      if (this.#parts.stopping.aborted) return undefined
      const numbers = Array.from(
        { length: Math.min(READS_AT_ONCE, through - first + 1) },
        (_, n) => first + n,
      )
      const answers = await Promise.all(numbers.map(number => reader.record(number)))
      for (const [n, { record, storedAt }] of answers.entries()) {
        if (record === undefined) {
          await watermark.refresh()
          if (watermark.number >= from) return undefined
          throw new LogDamaged(first + n, 'it is gone')
        }
        records.push({ record, storedAt })
        ids += record.batches.reduce((sum, { events }) => sum + events, 0)
      }
    }
    return records
  }

  async #writeRuns({ manifest: { from, through }, ids, records }: Fold): Promise<{ ids: Run; objects: Run }> {
    const range = [from, through].map(number => String(number).padStart(16, '0')).join('-')
    const name = `${this.#parts.keys.runs}${range}-${randomUUID()}`
    const write = async (key: string, bytes: Buffer): Promise<Run> => {
      await this.#parts.store.replace(key, bytes)
      return { key, bytes: bytes.length, sha256: hash('sha256', bytes, 'hex') }
    }
    return {
      ids: await write(`${name}.ids`, ids),
      objects: await write(`${name}.objects`, encodeObjects(records)),
    }
  }

  /**
   * Deletes the records of manifests that are at least an hour old, by the store's clock. Oldest first.
   *
   * @throws StoreUnavailable, LogDamaged, LogRefused
   */
  async deleteFolded(): Promise<void> {
    this.#deletionCheckedAt = performance.now()
    const { watermark, stopping } = this.#parts
    const newest = watermark.manifest?.generation ?? 0
    if (this.#deletedThrough === 0) this.#deletedThrough = (await this.#firstUndeleted(newest)) - 1
    while (this.#deletedThrough < newest && !stopping.aborted) {
      if (!(await this.#deleteRecordsOf(this.#deletedThrough + 1))) return
      this.#deletedThrough++
    }
  }

  /** @returns whether the records of the manifest are deleted */
  async #deleteRecordsOf(generation: number): Promise<boolean> {
    const { reader, store, keys, log } = this.#parts
    const { manifest, storedAt, date } = await reader.manifest(generation)
    if (manifest === undefined || (date ?? Date.now()) < storedAt + DELETION_DELAY_MS) return false
    const { from, through } = manifest
    if (!(await reader.exists(from))) return true
    await store.remove(Array.from({ length: through - from }, (_, n) => keys.record(through - n)))
    await store.remove([keys.record(from)])
    log.debug({ from, through }, 'Folded records are deleted.')
    return true
  }

  /** The oldest manifest whose records are not all deleted. The first record of a range is deleted last. */
  async #firstUndeleted(newest: number): Promise<number> {
    const { reader } = this.#parts
    let generation = newest
    for (; generation > 1; generation--) {
      const { manifest } = await reader.manifest(generation - 1)
      if (manifest === undefined || !(await reader.exists(manifest.from))) break
    }
    return Math.max(1, generation)
  }

  async #deleteOldIds(): Promise<void> {
    const { reader, watermark, store, dedupeWindowMs } = this.#parts
    const newest = watermark.manifest
    if (newest === undefined) return
    const cutoff = newest.storedAt - IDS_WINDOWS * dedupeWindowMs
    const done = this.#idsDeletedThrough ?? (await this.#firstIdsToDelete(cutoff, newest.generation))
    const keys: string[] = []
    for (let generation = done + 1; generation < newest.generation; generation++) {
      if (keys.length === IDS_DELETED_AT_ONCE) break
      const { manifest } = await reader.manifest(generation)
      if (manifest === undefined || manifest.storedAt >= cutoff) break
      keys.push(manifest.ids.key)
    }
    await store.remove(keys)
    this.#idsDeletedThrough = done + keys.length
  }

  /** Starts some manifests before the newest that is old enough: an earlier process may have ended before it deleted them. */
  async #firstIdsToDelete(cutoff: number, newest: number): Promise<number> {
    let low = 0
    let high = newest
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2)
      const { manifest } = await this.#parts.reader.manifest(middle)
      if (manifest !== undefined && manifest.storedAt < cutoff) low = middle
      else high = middle
    }
    return Math.max(0, low - IDS_DELETED_AT_ONCE)
  }
}
