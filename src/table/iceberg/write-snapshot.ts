/** Writes the manifests and the manifest list of a new snapshot: what differs between two states of the table. */

import { createHash, randomUUID } from 'node:crypto'
import type { ObjectStore } from '../../store/store.ts'
import type { TableColumn, TableFile } from '../table-entry.ts'
import type { TableKeys } from '../table-keys.ts'
import { type DataFile, dataFileOf } from './data-file.ts'
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

const MANIFEST_LIMITS: ManifestLimits = { entriesMax: 10_000, smallMax: 16 }

const VERSION_DIGITS = 10
const READS_AT_ONCE = 8

export interface SnapshotParts {
  readonly store: ObjectStore
  readonly keys: TableKeys
  /** The URI of an object. */
  toUri(key: string): string
  /** @default MANIFEST_LIMITS */
  readonly manifestLimits?: ManifestLimits
}

/** The files of the table, by their URI. */
export type FilesByUri = ReadonlyMap<string, TableFile>

interface Checked {
  readonly manifest: ManifestFile
  /** Of files that are in the table. Empty unless the manifest is written again. */
  readonly existing: readonly ManifestEntry[]
  readonly deleted: readonly ManifestEntry[]
  readonly isSmall: boolean
}

interface Difference {
  readonly kept: readonly ManifestFile[]
  readonly added: readonly (readonly [uri: string, file: TableFile])[]
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
  { files, columns }: { readonly files: FilesByUri; readonly columns: readonly TableColumn[] },
): Promise<SnapshotMetadata | undefined> {
  const difference = await differenceOf(parts, currentSnapshot(metadata), files)
  if (difference.added.length === 0 && difference.deleted.length === 0) return undefined
  const snapshot = nextSnapshot(metadata)
  const own = await writeManifests(
    parts,
    metadata,
    version,
    snapshot,
    entriesOf(difference, snapshot, columns),
  )
  const summary = {
    operation: operationOf(difference),
    ...changes(difference),
    ...totals([...files.values()]),
  }
  return writeList(parts, metadata, version, snapshot, [...own, ...difference.kept], summary)
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

/** Deleted files are in manifests of their own. */
function hasFiles({ added_files_count, existing_files_count }: ManifestFile): boolean {
  return added_files_count + existing_files_count > 0
}

async function differenceOf(
  { store, keys, manifestLimits: { entriesMax, smallMax } = MANIFEST_LIMITS }: SnapshotParts,
  current: SnapshotMetadata | undefined,
  files: FilesByUri,
): Promise<Difference> {
  const missing = new Map(files)
  const check = async (manifest: ManifestFile): Promise<Checked> => {
    const entries = await readManifest(store, keys, manifest)
    const [existing, deleted]: [ManifestEntry[], ManifestEntry[]] = [[], []]
    for (const entry of entries) {
      const { file_path } = entry.data_file
      const isPresent = isSameFile(missing.get(file_path), entry.data_file)
      if (isPresent) missing.delete(file_path)
      ;(isPresent ? existing : deleted).push(entry)
    }
    const isSmall = existing.length < entriesMax / 2
    const isKept = deleted.length === 0 && !isSmall
    return { manifest, existing: isKept ? [] : existing, deleted, isSmall }
  }
  const all = current === undefined ? [] : await readManifestList(store, keys, current['manifest-list'])
  const live = all.filter(hasFiles)
  const checked: Checked[] = []
  for (let at = 0; at < live.length; at += READS_AT_ONCE)
    checked.push(...(await Promise.all(live.slice(at, at + READS_AT_ONCE).map(check))))
  const isMerged = checked.filter(({ isSmall }) => isSmall).length >= smallMax
  const isRewritten = ({ deleted, isSmall }: Checked) => deleted.length > 0 || (isMerged && isSmall)
  return {
    kept: checked.filter(each => !isRewritten(each)).map(({ manifest }) => manifest),
    added: [...missing],
    existing: checked.filter(isRewritten).flatMap(({ existing }) => existing),
    deleted: checked.flatMap(({ deleted }) => deleted),
  }
}

/** A file that was written again has another size or other rows, unless it has a path of its own. */
function isSameFile(file: TableFile | undefined, { file_size_in_bytes, record_count }: DataFile): boolean {
  return file?.bytes === file_size_in_bytes && file.rows === record_count
}

/** The entries of new manifests: of added, existing and deleted files. */
function entriesOf(
  { added, existing, deleted }: Difference,
  { id }: Snapshot,
  columns: readonly TableColumn[],
): ManifestEntry[][] {
  const isNew = { status: STATUS.added, snapshot_id: id, sequence_number: null, file_sequence_number: null }
  return [
    added.map(([uri, file]) => ({ ...isNew, data_file: dataFileOf(file, uri, columns) })),
    existing.map(entry => ({ ...entry, status: STATUS.existing })),
    deleted.map(entry => ({ ...entry, status: STATUS.deleted, snapshot_id: id })),
  ]
}

async function writeManifests(
  { store, keys, toUri, manifestLimits: { entriesMax } = MANIFEST_LIMITS }: SnapshotParts,
  metadata: TableMetadata,
  version: number,
  snapshot: Snapshot,
  entries: readonly ManifestEntry[][],
): Promise<ManifestFile[]> {
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
  const removed = deleted.map(({ data_file }) => data_file)
  return {
    ...(added.length > 0 && {
      'added-data-files': String(added.length),
      'added-records': sum(added, ([, file]) => file.rows),
      'added-files-size': sum(added, ([, file]) => file.bytes),
    }),
    ...(deleted.length > 0 && {
      'deleted-data-files': String(deleted.length),
      'deleted-records': sum(removed, file => file.record_count),
      'removed-files-size': sum(removed, file => file.file_size_in_bytes),
    }),
  }
}

function totals(files: readonly TableFile[]): Record<string, string> {
  return {
    'total-data-files': String(files.length),
    'total-records': sum(files, ({ rows }) => rows),
    'total-files-size': sum(files, ({ bytes }) => bytes),
    'total-delete-files': '0',
    'total-position-deletes': '0',
    'total-equality-deletes': '0',
  }
}

function sum<Item>(items: readonly Item[], value: (item: Item) => number): string {
  return String(items.reduce((total, item) => total + value(item), 0))
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
