/** Writes and reads manifests: lists of data files, each with what a snapshot did to it. */

import { TableDamaged } from '../../errors.ts'
import type { ObjectStore } from '../../store/store.ts'
import type { TableKeys } from '../table-keys.ts'
import { decodeAvro, encodeAvro } from './avro-file.ts'
import { MANIFEST_ENTRY, MANIFEST_FILE } from './avro-schemas.ts'
import { type DataFile, hourBound } from './data-file.ts'

export const STATUS = { existing: 0, added: 1, deleted: 2 } as const

export interface ManifestEntry {
  readonly status: number
  /** That added the file, or deleted it. */
  readonly snapshot_id: number
  /** Null for an added file: the manifest's. */
  readonly sequence_number: number | null
  readonly file_sequence_number: number | null
  readonly data_file: DataFile
}

/** A manifest as a manifest list has it. */
export interface ManifestFile {
  /** A URI. */
  readonly manifest_path: string
  readonly manifest_length: number
  readonly partition_spec_id: number
  readonly content: number
  readonly sequence_number: number
  readonly min_sequence_number: number
  readonly added_snapshot_id: number
  readonly added_files_count: number
  readonly existing_files_count: number
  readonly deleted_files_count: number
  readonly added_rows_count: number
  readonly existing_rows_count: number
  readonly deleted_rows_count: number
  readonly partitions:
    | readonly {
        readonly contains_null: boolean
        readonly contains_nan: boolean | null
        readonly lower_bound: Buffer | null
        readonly upper_bound: Buffer | null
      }[]
    | null
}

/** What the header of a manifest says of its table. */
export interface ManifestHeader {
  readonly schema: object
  readonly schemaId: number
  readonly partitionFields: readonly object[]
}

export interface Snapshot {
  readonly id: number
  readonly parentId: number | undefined
  readonly sequenceNumber: number
}

type Store = Pick<ObjectStore, 'create' | 'read'>

export async function writeManifest(
  store: Store,
  { key, path }: { readonly key: string; readonly path: string },
  entries: readonly ManifestEntry[],
  snapshot: Snapshot,
  { schema, schemaId, partitionFields }: ManifestHeader,
): Promise<ManifestFile> {
  const bytes = await encodeAvro(MANIFEST_ENTRY, entries, {
    schema: JSON.stringify(schema),
    'schema-id': String(schemaId),
    'partition-spec': JSON.stringify(partitionFields),
    'partition-spec-id': '0',
    'format-version': '2',
    content: 'data',
  })
  await store.create(key, bytes)
  const hours = entries.flatMap(({ data_file: { partition } }) => partition.received_at_hour ?? [])
  const count = (status: number) => entries.filter(entry => entry.status === status).length
  const rows = (status: number) => rowsOf(entries.filter(entry => entry.status === status))
  return {
    manifest_path: path,
    manifest_length: bytes.length,
    partition_spec_id: 0,
    content: 0,
    sequence_number: snapshot.sequenceNumber,
    min_sequence_number: Math.min(
      ...entries.map(({ sequence_number }) => sequence_number ?? snapshot.sequenceNumber),
    ),
    added_snapshot_id: snapshot.id,
    added_files_count: count(STATUS.added),
    existing_files_count: count(STATUS.existing),
    deleted_files_count: count(STATUS.deleted),
    added_rows_count: rows(STATUS.added),
    existing_rows_count: rows(STATUS.existing),
    deleted_rows_count: rows(STATUS.deleted),
    partitions: [
      {
        contains_null: hours.length < entries.length,
        contains_nan: false,
        lower_bound: hours.length === 0 ? null : hourBound(Math.min(...hours)),
        upper_bound: hours.length === 0 ? null : hourBound(Math.max(...hours)),
      },
    ],
  }
}

function rowsOf(entries: readonly ManifestEntry[]): number {
  return entries.reduce((sum, { data_file }) => sum + data_file.record_count, 0)
}

/** The files that are in the table, by a manifest, with their own sequence numbers. @throws TableDamaged, StoreUnavailable */
export async function readManifest(
  store: Store,
  keys: TableKeys,
  file: ManifestFile,
): Promise<ManifestEntry[]> {
  const entries = await readRows<ManifestEntry>(store, keys, file.manifest_path)
  return entries
    .filter(({ status }) => status !== STATUS.deleted)
    .map(entry => ({
      ...entry,
      sequence_number: entry.sequence_number ?? file.sequence_number,
      file_sequence_number: entry.file_sequence_number ?? file.sequence_number,
    }))
}

export function writeManifestList(
  store: Store,
  key: string,
  manifests: readonly ManifestFile[],
  { id, parentId, sequenceNumber }: Snapshot,
): Promise<unknown> {
  return encodeAvro(MANIFEST_FILE, manifests, {
    'snapshot-id': String(id),
    'parent-snapshot-id': String(parentId ?? null),
    'sequence-number': String(sequenceNumber),
    'format-version': '2',
  }).then(bytes => store.create(key, bytes))
}

/** @param path URI of the manifest list @throws TableDamaged, StoreUnavailable */
export function readManifestList(store: Store, keys: TableKeys, path: string): Promise<ManifestFile[]> {
  return readRows<ManifestFile>(store, keys, path)
}

/** The key of a file of metadata. It does not depend on where the table was when its URI was written. */
export function metadataKey(keys: TableKeys, path: string): string {
  return keys.metadata + path.slice(path.lastIndexOf('/') + 1)
}

async function readRows<Row>(store: Store, keys: TableKeys, path: string): Promise<Row[]> {
  const key = metadataKey(keys, path)
  const { object } = await store.read(key)
  if (object === undefined) throw metadataDamaged(keys, `${key} is missing`)
  try {
    return await decodeAvro<Row>(object.body)
  } catch (cause) {
    throw metadataDamaged(keys, `${key} cannot be read`, cause)
  }
}

export function metadataDamaged(keys: TableKeys, what: string, cause?: unknown): Error {
  return new TableDamaged(
    `The Iceberg metadata of the table is damaged: ${what}. Remove all objects below ${keys.metadata}; they are written again.`,
    { cause },
  )
}
