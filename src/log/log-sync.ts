/** Brings an index to where the log's manifests are: what is folded is read as runs, and not record by record. */

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
  /** Of the archive. */
  readonly prefix: string
  readonly dedupeWindowMs: number
  readonly log: Logger
}

const MANIFESTS_AT_ONCE = 16
/** Runs of ids that are read while others are added: at most so many, of which all but one have fewer bytes. */
const RUNS_AHEAD_MAX = 8
const BYTES_AHEAD = 8 * 1024 * 1024
const NO_IDS = Buffer.alloc(0)

/**
 * Record 0, which is made where the archive is empty.
 *
 * @throws LogRefused where there are objects and no log.
 * @throws StoreUnavailable
 */
export async function rootOf(
  { store, reader, keys, prefix }: LogParts,
  root: () => Buffer,
): Promise<LogRecord> {
  const { record } = await reader.record(0)
  if (record !== undefined) return record
  for await (const key of store.list(`${prefix}/dt=`)) {
    // Another may have begun the log, and archived, since the first look.
    const again = await reader.record(0)
    if (again.record !== undefined) return again.record
    throw new LogRefused(
      `The archive has objects (${key}) and no log: stop all archivers, and run "frequency log build" once.`,
    )
  }
  await store.create(keys.record(0), root())
  const created = await reader.record(0)
  if (created.record === undefined) throw new LogRefused('The store does not show what it has just stored.')
  return created.record
}

/** A log's first record: it holds nothing but the log's id. */
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
 * Forgets what the index holds where it is of another log, or of another past of this one: a bucket that was
 * restored, or replaced.
 *
 * @returns whether it was forgotten
 * @throws StoreUnavailable, LogDamaged, LogRefused
 */
export async function resetIfOtherHistory(parts: LogParts, root: LogRecord): Promise<boolean> {
  const { index, log } = parts
  const { position } = index
  if (position === undefined || (await isInHistory(parts, root, position))) return false
  log.warn({ position }, 'The index of ids is of another past than the log: it is made anew.')
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
  const manifest = await manifestOf(parts, number)
  if (number === manifest.through) return manifest.hash === hash
  const folded = await parts.reader.objects(manifest)
  return folded.some(record => record.number === number && record.hash === hash)
}

/** The manifest whose range has this record. */
async function manifestOf({ reader, watermark }: LogParts, number: number): Promise<Manifest> {
  let low = 1
  let high = watermark.manifest?.generation ?? 0
  while (low <= high) {
    const middle = Math.floor((low + high) / 2)
    const manifest = await knownManifest(reader, middle)
    if (number < manifest.from) high = middle - 1
    else if (number > manifest.through) low = middle + 1
    else return manifest
  }
  throw new LogRefused(
    `No manifest has the log's record ${number}: restore _frequency/manifests from a backup.`,
  )
}

/**
 * Adds what is folded and not known. Afterwards the index is at the watermark, or behind it.
 *
 * @throws StoreUnavailable, LogRefused, or what the disk says
 */
export async function synchronise(parts: LogParts, root: LogRecord): Promise<void> {
  const { index, reader, watermark, log } = parts
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
  for await (const { manifest, ids } of runsOf(reader, manifests)) {
    if (ids === undefined) await index.reset(manifest.through + 1)
    addRange(index, root, ids ?? NO_IDS, manifest)
    count += (ids?.length ?? 0) / ID_BYTES
    await index.ready()
  }
  if (manifests.length > 0)
    log.info({ ids: count, manifests: manifests.length, watermark: watermark.number }, 'Read what is folded.')
}

/** With the ids of each, which are undefined where they were deleted; the next ones are read meanwhile. */
async function* runsOf(
  reader: LogReader,
  manifests: readonly Manifest[],
): AsyncGenerator<{ manifest: Manifest; ids: Buffer | undefined }, undefined> {
  const reads: { manifest: Manifest; ids: Promise<Buffer | undefined> }[] = []
  const left = [...manifests]
  const readAhead = () => {
    let bytes = reads.reduce((sum, { manifest }) => sum + manifest.ids.bytes, 0)
    while (left.length > 0 && bytes < BYTES_AHEAD && reads.length < RUNS_AHEAD_MAX) {
      const manifest = left.shift() as Manifest
      const ids = reader.ids(manifest)
      // It is waited for when it is its turn, or never where something fails before.
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

/** Oldest first: those behind the index, or, where it has nothing, those of the window. */
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

/** This one, and those before it, of which the more are read at once the further back it goes. */
async function* manifestsBackFrom(reader: LogReader, newest: Manifest): AsyncGenerator<Manifest, undefined> {
  yield newest
  let last = newest.generation - 1
  for (let count = 1; last > 0; count = Math.min(MANIFESTS_AT_ONCE, count * 2)) {
    const reads = Array.from({ length: Math.min(count, last) }, (_, n) => knownManifest(reader, last - n))
    // That one is gone is no matter where it is not asked for.
    for (const read of reads) read.catch(() => {})
    for (const read of reads) yield await read
    last -= reads.length
  }
}

async function knownManifest(reader: LogReader, generation: number): Promise<Manifest> {
  const { manifest } = await reader.manifest(generation)
  if (manifest === undefined)
    throw new LogRefused(`The log's manifest ${generation} is gone: restore it from a backup of the bucket.`)
  return manifest
}

function addRange(
  index: IdIndex,
  { log }: LogRecord,
  ids: Buffer,
  { from, through, storedAt, hash }: Pick<Manifest, 'from' | 'through' | 'storedAt' | 'hash'>,
): void {
  index.add(ids, { from, through, storedAt }, { log, number: through, hash, unsettled: [] })
}
