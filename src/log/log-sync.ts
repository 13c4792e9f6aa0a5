/** Brings an index up to the newest manifest of the log. Folded ids are read as runs, not record by record. */

import type { IdIndex, LogPosition } from '../dedupe/id-index.ts'
import { LogRefused } from '../errors.ts'
import { ID_BYTES } from '../event/message-id.ts'
import type { Logger } from '../process/logger.ts'
import type { ObjectStore } from '../store/store.ts'
import type { LogKeys } from './log-keys.ts'
import type { LogReader } from './log-reader.ts'
import { encodeRecord, type LogRecord, NOT_AN_ARCHIVER } from './log-record.ts'
import type { Manifest } from './manifest.ts'
import type { Watermark } from './watermark.ts'

export interface LogParts {
  readonly store: ObjectStore
  readonly index: IdIndex
  readonly reader: LogReader
  readonly watermark: Watermark
  readonly keys: LogKeys
  /** The prefix of the archive, without a trailing slash. */
  readonly prefix: string
  readonly dedupeWindowMs: number
  /** The ids of folded records are not read: the index keeps none. @default true */
  readonly readsIds?: boolean
  readonly log: Logger
}

const MANIFESTS_AT_ONCE = 16
/** Bounds on the runs of ids that are read ahead. The last run may exceed the bytes. */
const RUNS_AHEAD_MAX = 8
const BYTES_AHEAD = 8 * 1024 * 1024
const NO_IDS = Buffer.alloc(0)

/**
 * Reads record 0. Creates it if the archive is empty.
 *
 * @param root the bytes of a new record 0
 * @throws LogRefused if the archive has objects but no log
 * @throws StoreUnavailable
 */
export async function rootOf(
  { store, reader, keys, prefix }: LogParts,
  root: () => Buffer,
): Promise<LogRecord> {
  const { record } = await reader.record(0)
  if (record !== undefined) return record
  for await (const key of store.list(`${prefix}/dt=`)) {
    // Another writer may have created the log and archived since the first read.
    const again = await reader.record(0)
    if (again.record !== undefined) return again.record
    throw new LogRefused(
      `The archive has objects (${key}) but no log. Stop all archivers, and run "frequency log build" once.`,
    )
  }
  await store.create(keys.record(0), root())
  const created = await reader.record(0)
  if (created.record === undefined)
    throw new LogRefused('The store does not return record 0 of the log, which it has just stored.')
  return created.record
}

/** Encodes record 0. It has no batches, only the id of the log. */
export function rootRecord(log: string, writer: string): Buffer {
  return encodeRecord({
    log,
    number: 0,
    previous: '',
    nonce: log,
    writer,
    ...NOT_AN_ARCHIVER,
    batches: [],
  }).bytes
}

/**
 * Resets the index if its position is in another log, or not in the history of this one: the bucket was replaced, or
 * restored from a backup.
 *
 * @returns whether the index was reset
 * @throws StoreUnavailable, LogDamaged, LogRefused
 */
export async function resetIfOtherHistory(parts: LogParts, root: LogRecord): Promise<boolean> {
  const { index, log } = parts
  const { position } = index
  if (position === undefined || (await isInHistory(parts, root, position))) return false
  log.warn({ position }, 'The index of ids does not match the history of the log. It is rebuilt.')
  await index.reset(0)
  return true
}

async function isInHistory(
  parts: LogParts,
  root: LogRecord,
  { log, number, hash }: LogPosition,
): Promise<boolean> {
  if (log !== root.log) return false
  if (number === 0) return hash === root.hash
  if (number > parts.watermark.number) {
    const { record, date } = await parts.reader.record(number)
    if (await parts.watermark.counts(number, date)) return record?.hash === hash
  }
  const manifest = await parts.watermark.manifestWith(number)
  if (number === manifest.through) return manifest.hash === hash
  const folded = await parts.reader.objects(manifest)
  return folded.some(record => record.number === number && record.hash === hash)
}

/**
 * Adds the folded ids that the index does not have. Afterwards the position of the index is at the watermark or above.
 *
 * @throws StoreUnavailable, LogRefused, or a disk error of the index
 */
export async function synchronise(parts: LogParts, root: LogRecord): Promise<void> {
  const { index, watermark, log } = parts
  let manifests = await manifestsToRead(parts)
  let count = 0
  const { number: applied = -1 } = index.position ?? {}
  if (manifests.some(({ voided }) => voided.some(number => number <= applied))) {
    await index.reset(0)
    manifests = await manifestsToRead(parts)
  }
  if (index.position === undefined) {
    await index.reset(manifests[0]?.from ?? 0)
    if (manifests.length === 0)
      addRange(index, root, NO_IDS, { from: 0, through: 0, storedAt: 0, hash: root.hash })
  }
  index.expect(manifests.reduce((sum, { ids }) => sum + ids.bytes / ID_BYTES, 0))
  for await (const { manifest, ids } of runsOf(parts, manifests)) {
    if (ids === undefined) await index.reset(manifest.through + 1)
    addRange(index, root, ids ?? NO_IDS, manifest)
    count += (ids?.length ?? 0) / ID_BYTES
    await index.ready()
  }
  if (manifests.length > 0)
    log.info(
      { ids: count, manifests: manifests.length, watermark: watermark.number },
      'Read the ids of folded records.',
    )
}

/** Yields each manifest with its ids, if these are read; undefined if they were deleted. Reads the next runs ahead. */
async function* runsOf(
  { reader, readsIds = true }: LogParts,
  manifests: readonly Manifest[],
): AsyncGenerator<{ manifest: Manifest; ids: Buffer | undefined }, undefined> {
  const reads: { manifest: Manifest; ids: Promise<Buffer | undefined> }[] = []
  const left = [...manifests]
  const readAhead = () => {
    let bytes = reads.reduce((sum, { manifest }) => sum + manifest.ids.bytes, 0)
    while (left.length > 0 && bytes < BYTES_AHEAD && reads.length < RUNS_AHEAD_MAX) {
      const manifest = left.shift() as Manifest
      const ids = readsIds ? reader.ids(manifest) : Promise.resolve(NO_IDS)
      // No unhandled rejection if the caller fails before it awaits this read.
      ids.catch(() => {})
      reads.push({ manifest, ids })
      bytes += manifest.ids.bytes
    }
  }
  readAhead()
  for (let next = reads.shift(); next !== undefined; next = reads.shift()) {
    const ids = await next.ids
    readAhead()
    yield { manifest: next.manifest, ids }
  }
}

/** The manifests above the position of the index; those of the dedupe window if the index is empty. Oldest first. */
async function manifestsToRead({ index, reader, watermark, dedupeWindowMs }: LogParts): Promise<Manifest[]> {
  const newest = watermark.manifest
  const manifests: Manifest[] = []
  if (newest === undefined) return manifests
  const { position } = index
  for await (const manifest of manifestsBackFrom(reader, newest)) {
    const isWanted =
      position === undefined
        ? manifest.storedAt > newest.storedAt - dedupeWindowMs
        : manifest.through > position.number
    if (!isWanted && (position !== undefined || manifests.length > 0)) break
    manifests.push(manifest)
  }
  return manifests.reverse()
}

/** Yields this manifest and those before it. Reads 1, 2, 4 and up to 16 at a time. */
async function* manifestsBackFrom(reader: LogReader, newest: Manifest): AsyncGenerator<Manifest, undefined> {
  yield newest
  let last = newest.generation - 1
  for (let count = 1; last > 0; count = Math.min(MANIFESTS_AT_ONCE, count * 2)) {
    const reads = Array.from({ length: Math.min(count, last) }, (_, n) => reader.requiredManifest(last - n))
    // No unhandled rejection for a missing manifest that the caller never asks for.
    for (const read of reads) read.catch(() => {})
    for (const read of reads) yield await read
    last -= reads.length
  }
}

function addRange(
  index: IdIndex,
  { log }: LogRecord,
  ids: Buffer,
  { from, through, storedAt, hash }: Pick<Manifest, 'from' | 'through' | 'storedAt' | 'hash'>,
): void {
  index.add(ids, { from, through, storedAt }, { log, number: through, hash, unsettled: [] })
}
