/** Writes the manifests and the manifest list of a new snapshot: what differs between two states of the table. */

import { createHash, randomUUID } from 'node:crypto'
import type { ObjectStore } from '../../store/store.ts'
import type { TableKeys } from '../table-keys.ts'
import type { DataFile } from './data-file.ts'
import {
  type ManifestEntry,
  type ManifestFile,
  readManifest,
  readManifestList,
  type Snapshot,
  STATUS,
  writeManifest,
  writeManifestList,
} from './manifest.ts'
import {
  currentSchema,
  currentSnapshot,
  PARTITION_FIELDS,
  type SnapshotMetadata,
  type TableMetadata,
} from './table-metadata.ts'

/** Limits of the manifests of a snapshot. */
export interface ManifestLimits {
  readonly entriesMax: number
  /** Manifests with fewer than half of `entriesMax` entries. At this number they are merged. */
  readonly smallMax: number
}

export const MANIFEST_LIMITS: ManifestLimits = { entriesMax: 10_000, smallMax: 16 }

const VERSION_DIGITS = 10
const READS_AT_ONCE = 8

export interface SnapshotParts {
  readonly store: ObjectStore
  readonly keys: TableKeys
  toUri(key: string): string
}

interface Live {
  readonly manifest: ManifestFile
  readonly entries: readonly ManifestEntry[]
}

interface Difference {
  readonly kept: readonly ManifestFile[]
  readonly added: readonly DataFile[]
  readonly existing: readonly ManifestEntry[]
  readonly deleted: readonly ManifestEntry[]
}

/**
 * The version of the metadata for which a manifest or a manifest list was written. If that is the current one or an
 * older one, and no kept snapshot has the file, no snapshot ever will.
 *
 * @returns undefined if frequency has not written the file
 */
export function versionIn(keys: TableKeys, key: string): number | undefined {
  const digits = /^(?:snap-)?(\d{10})-[^/]+\.avro$/.exec(key.slice(keys.metadata.length))?.[1]
  return digits === undefined ? undefined : Number(digits)
}

/**
 * @param metadata without the snapshot
 * @param version that will have the snapshot
 * @param files all files of the table
 * @returns undefined if the current snapshot has these files
 * @throws StoreUnavailable, TableDamaged
 */
export async function writeSnapshot(
  parts: SnapshotParts,
  metadata: TableMetadata,
  version: number,
  files: readonly DataFile[],
  limits: ManifestLimits,
): Promise<SnapshotMetadata | undefined> {
  const live = await liveManifests(parts, currentSnapshot(metadata))
  const difference = differenceOf(live, files, limits)
  if (difference.added.length === 0 && difference.deleted.length === 0) return undefined
  const snapshot = nextSnapshot(metadata)
  const own = await writeManifests(parts, metadata, version, snapshot, difference, limits)
  const manifests = [...own, ...difference.kept]
  const operation = operationOf(difference)
  const summary = { operation, ...changes(difference), ...totals(files) }
  return writeList(parts, metadata, version, snapshot, manifests, summary)
}

/**
 * Writes a snapshot with the files of the current one that does not name the files which were deleted.
 *
 * @returns undefined if the current snapshot names none
 * @throws StoreUnavailable, TableDamaged
 */
export async function writeSnapshotWithoutDeleted(
  parts: SnapshotParts,
  metadata: TableMetadata,
  version: number,
): Promise<SnapshotMetadata | undefined> {
  const current = currentSnapshot(metadata)
  if (current === undefined) return undefined
  const manifests = await readManifestList(parts.store, parts.keys, current['manifest-list'])
  const live = manifests.filter(hasFiles)
  if (live.length === manifests.length) return undefined
  const kept = Object.entries(current.summary).filter(([name]) => name.startsWith('total-'))
  const summary = { operation: 'replace', ...Object.fromEntries(kept) }
  return writeList(parts, metadata, version, nextSnapshot(metadata), live, summary)
}

async function liveManifests(
  { store, keys }: SnapshotParts,
  current: SnapshotMetadata | undefined,
): Promise<Live[]> {
  if (current === undefined) return []
  const manifests = (await readManifestList(store, keys, current['manifest-list'])).filter(hasFiles)
  const live: Live[] = []
  for (let at = 0; at < manifests.length; at += READS_AT_ONCE) {
    const some = manifests.slice(at, at + READS_AT_ONCE)
    const read = some.map(async manifest => ({
      manifest,
      entries: await readManifest(store, keys, manifest),
    }))
    live.push(...(await Promise.all(read)))
  }
  return live
}

/** Deleted files are in manifests of their own. */
function hasFiles({ added_files_count, existing_files_count }: ManifestFile): boolean {
  return added_files_count + existing_files_count > 0
}

function differenceOf(
  live: readonly Live[],
  files: readonly DataFile[],
  { entriesMax, smallMax }: ManifestLimits,
): Difference {
  const added = new Map(files.map(file => [file.file_path, file]))
  const deleted: ManifestEntry[] = []
  const checked = live.map(({ manifest, entries }) => {
    const existing = entries.filter(({ data_file }) => {
      const file = added.get(data_file.file_path)
      return file !== undefined && isSameFile(file, data_file)
    })
    const present = new Set(existing)
    deleted.push(...entries.filter(entry => !present.has(entry)))
    return { manifest, existing, isChanged: existing.length < entries.length }
  })
  for (const { existing } of checked) for (const { data_file } of existing) added.delete(data_file.file_path)
  const small = checked.filter(({ existing }) => existing.length < entriesMax / 2)
  const isMerged = small.length >= smallMax
  const rewritten = checked.filter(each => each.isChanged || (isMerged && small.includes(each)))
  return {
    kept: checked.filter(each => !rewritten.includes(each)).map(({ manifest }) => manifest),
    added: [...added.values()],
    existing: rewritten.flatMap(each => each.existing),
    deleted,
  }
}

/** A file that was written again has another size or other rows, unless it has a path of its own. */
function isSameFile(a: DataFile, b: DataFile): boolean {
  return a.file_size_in_bytes === b.file_size_in_bytes && a.record_count === b.record_count
}

async function writeManifests(
  { store, keys, toUri }: SnapshotParts,
  metadata: TableMetadata,
  version: number,
  snapshot: Snapshot,
  { added, existing, deleted }: Difference,
  { entriesMax }: ManifestLimits,
): Promise<ManifestFile[]> {
  const entries: ManifestEntry[][] = [
    added.map(data_file => ({
      status: STATUS.added,
      snapshot_id: snapshot.id,
      sequence_number: null,
      file_sequence_number: null,
      data_file,
    })),
    existing.map(entry => ({ ...entry, status: STATUS.existing })),
    deleted.map(entry => ({ ...entry, status: STATUS.deleted, snapshot_id: snapshot.id })),
  ]
  const header = {
    schema: currentSchema(metadata),
    schemaId: metadata['current-schema-id'],
    partitionFields: PARTITION_FIELDS,
  }
  const written: ManifestFile[] = []
  for (const chunk of entries.flatMap(each => chunks(each.sort(byHour), entriesMax))) {
    const key = `${keys.metadata}${padded(version)}-${randomUUID()}.avro`
    written.push(await writeManifest(store, { key, path: toUri(key) }, chunk, snapshot, header))
  }
  return written
}

async function writeList(
  { store, keys, toUri }: SnapshotParts,
  metadata: TableMetadata,
  version: number,
  snapshot: Snapshot,
  manifests: readonly ManifestFile[],
  summary: SnapshotMetadata['summary'],
): Promise<SnapshotMetadata> {
  const key = `${keys.metadata}snap-${padded(version)}-${randomUUID()}.avro`
  await writeManifestList(store, key, manifests, snapshot)
  return {
    'snapshot-id': snapshot.id,
    ...(snapshot.parentId !== undefined && { 'parent-snapshot-id': snapshot.parentId }),
    'sequence-number': snapshot.sequenceNumber,
    'timestamp-ms': metadata['last-updated-ms'],
    'manifest-list': toUri(key),
    summary,
    'schema-id': metadata['current-schema-id'],
  }
}

/** Its id is the same for every writer, and below 2^53: other numbers are not exact in JSON. */
function nextSnapshot(metadata: TableMetadata): Snapshot {
  const sequenceNumber = metadata['last-sequence-number'] + 1
  const hash = createHash('sha256').update(`${metadata['table-uuid']} ${sequenceNumber}`).digest()
  return {
    id: hash.readUIntBE(0, 6),
    parentId: currentSnapshot(metadata)?.['snapshot-id'],
    sequenceNumber,
  }
}

function operationOf({ added, deleted }: Difference): string {
  if (deleted.length === 0) return 'append'
  return added.length === 0 ? 'delete' : 'overwrite'
}

function changes({ added, deleted }: Difference): Record<string, string> {
  const [addedSum, deletedSum] = [sumOf(added), sumOf(deleted.map(({ data_file }) => data_file))]
  return {
    ...(added.length > 0 && {
      'added-data-files': String(added.length),
      'added-records': String(addedSum.rows),
      'added-files-size': String(addedSum.bytes),
    }),
    ...(deleted.length > 0 && {
      'deleted-data-files': String(deleted.length),
      'deleted-records': String(deletedSum.rows),
      'removed-files-size': String(deletedSum.bytes),
    }),
  }
}

function totals(files: readonly DataFile[]): Record<string, string> {
  const { rows, bytes } = sumOf(files)
  return {
    'total-data-files': String(files.length),
    'total-records': String(rows),
    'total-files-size': String(bytes),
    'total-delete-files': '0',
    'total-position-deletes': '0',
    'total-equality-deletes': '0',
  }
}

function sumOf(files: readonly DataFile[]): { rows: number; bytes: number } {
  return files.reduce(
    (sum, file) => ({ rows: sum.rows + file.record_count, bytes: sum.bytes + file.file_size_in_bytes }),
    { rows: 0, bytes: 0 },
  )
}

/** Files of neighbouring hours are in one manifest, so that a reader of some hours reads few manifests. */
function byHour(a: { readonly data_file: DataFile }, b: { readonly data_file: DataFile }): number {
  return (a.data_file.partition.received_at_hour ?? 0) - (b.data_file.partition.received_at_hour ?? 0)
}

function chunks<Item>(items: readonly Item[], size: number): Item[][] {
  const count = Math.ceil(items.length / size)
  return Array.from({ length: count }, (_, index) => items.slice(index * size, (index + 1) * size))
}

function padded(version: number): string {
  return String(version).padStart(VERSION_DIGITS, '0')
}
