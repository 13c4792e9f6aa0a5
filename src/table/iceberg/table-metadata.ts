/** The metadata of a version of the Iceberg table. Source: Iceberg specification, version 2, "Table Metadata". */

import { createHash } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { type Static, Type } from '@sinclair/typebox'
import { type TypeCheck, TypeCompiler } from '@sinclair/typebox/compiler'
import { TableDamaged } from '../../errors.ts'
import { tableColumns } from '../table-columns.ts'
import type { TableColumn } from '../table-entry.ts'
import type { TableKeys } from '../table-keys.ts'
import { metadataDamaged } from './manifest.ts'

const ENTRY_PROPERTY = 'frequency.entry'
const PARTITION_FIELD_ID = 1000
const SORT_ORDER_ID = 1

const integer = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })

const SNAPSHOT = Type.Object({
  'snapshot-id': integer,
  'parent-snapshot-id': Type.Optional(integer),
  'sequence-number': integer,
  'timestamp-ms': integer,
  /** A URI. */
  'manifest-list': Type.String(),
  summary: Type.Record(Type.String(), Type.String()),
  'schema-id': Type.Optional(integer),
})

const SCHEMA = Type.Object({
  type: Type.Literal('struct'),
  'schema-id': integer,
  fields: Type.Array(
    Type.Object({
      id: integer,
      name: Type.String(),
      required: Type.Boolean(),
      type: Type.Unknown(),
    }),
  ),
})

const METADATA = Type.Object({
  'format-version': Type.Literal(2),
  'table-uuid': Type.String(),
  /** A URI. */
  location: Type.String(),
  'last-sequence-number': integer,
  'last-updated-ms': integer,
  'last-column-id': integer,
  'current-schema-id': integer,
  schemas: Type.Array(SCHEMA),
  'default-spec-id': integer,
  'partition-specs': Type.Array(Type.Unknown()),
  'last-partition-id': integer,
  'default-sort-order-id': integer,
  'sort-orders': Type.Array(Type.Unknown()),
  properties: Type.Record(Type.String(), Type.String()),
  /** -1: there is none. */
  'current-snapshot-id': Type.Integer({ minimum: -1, maximum: Number.MAX_SAFE_INTEGER }),
  refs: Type.Record(Type.String(), Type.Object({ 'snapshot-id': integer, type: Type.String() })),
  snapshots: Type.Array(SNAPSHOT),
  'snapshot-log': Type.Array(Type.Object({ 'snapshot-id': integer, 'timestamp-ms': integer })),
  'metadata-log': Type.Array(Type.Object({ 'metadata-file': Type.String(), 'timestamp-ms': integer })),
})

export type TableMetadata = Static<typeof METADATA>
export type SnapshotMetadata = Static<typeof SNAPSHOT>
export type TableSchema = Static<typeof SCHEMA>

/** How many snapshots are kept. */
export interface SnapshotLimits {
  /** Milliseconds for which a snapshot is kept. */
  readonly keptMs: number
  /** The newest ones; the current snapshot is always kept. */
  readonly keptMax: number
}

let check: TypeCheck<typeof METADATA> | undefined

/** @throws TableDamaged */
export function decodeMetadata(keys: TableKeys, version: number, bytes: Buffer): TableMetadata {
  const metadata = parsed(bytes)
  check ??= TypeCompiler.Compile(METADATA)
  if (!check.Check(metadata) || !/^\d+$/.test(metadata.properties[ENTRY_PROPERTY] ?? ''))
    throw metadataDamaged(keys, `version ${version} is not as frequency writes it`)
  return metadata
}

export function encodeMetadata(metadata: TableMetadata): Buffer {
  return Buffer.from(`${JSON.stringify(metadata)}\n`)
}

/** The number of the last entry of the table's log that this version has. */
export function entryOf({ properties }: TableMetadata): number {
  return Number(properties[ENTRY_PROPERTY])
}

export function currentSnapshot(metadata: TableMetadata | undefined): SnapshotMetadata | undefined {
  return metadata?.snapshots.find(each => each['snapshot-id'] === metadata['current-snapshot-id'])
}

export function currentSchema(metadata: TableMetadata): TableSchema {
  return metadata.schemas.find(each => each['schema-id'] === metadata['current-schema-id']) as TableSchema
}

export interface Reflected {
  /** Of the archive's log. */
  readonly log: string
  readonly entry: number
  readonly location: string
  readonly columns: readonly TableColumn[]
}

/** @returns the metadata after `base` without a new snapshot @throws TableDamaged if the table is of another log */
export function reflected(
  keys: TableKeys,
  base: TableMetadata | undefined,
  { log, entry, location, columns }: Reflected,
): TableMetadata {
  const uuid = tableUuid(log)
  if (base !== undefined && base['table-uuid'] !== uuid)
    throw new TableDamaged(
      `The Iceberg metadata of the table belongs to another log. Remove all objects below ${keys.metadata}; they are written again.`,
    )
  const own = base ?? emptyMetadata(uuid)
  const fields = fieldsOf(columns)
  const known = own.schemas.find(schema => isDeepStrictEqual(schema.fields, fields))
  const schemaId = known?.['schema-id'] ?? Math.max(-1, ...own.schemas.map(each => each['schema-id'])) + 1
  return {
    ...own,
    location,
    'last-updated-ms': Math.max(Date.now(), own['last-updated-ms']),
    'last-column-id': Math.max(own['last-column-id'], ...fields.map(({ id }) => id)),
    'current-schema-id': schemaId,
    schemas:
      known === undefined ? [...own.schemas, { type: 'struct', 'schema-id': schemaId, fields }] : own.schemas,
    properties: { ...own.properties, [ENTRY_PROPERTY]: String(entry) },
  }
}

export function withSnapshot(metadata: TableMetadata, snapshot: SnapshotMetadata): TableMetadata {
  const id = snapshot['snapshot-id']
  const at = { 'snapshot-id': id, 'timestamp-ms': snapshot['timestamp-ms'] }
  return {
    ...metadata,
    'last-sequence-number': snapshot['sequence-number'],
    'current-snapshot-id': id,
    refs: { ...metadata.refs, main: { 'snapshot-id': id, type: 'branch' } },
    snapshots: [...metadata.snapshots, snapshot],
    'snapshot-log': [...metadata['snapshot-log'], at],
  }
}

/** @returns the metadata without old snapshots; `metadata` itself if there are none */
export function withoutOldSnapshots(metadata: TableMetadata, limits: SnapshotLimits): TableMetadata {
  const since = Date.now() - limits.keptMs
  const newest = metadata.snapshots.slice(-Math.max(1, limits.keptMax))
  const current = metadata['current-snapshot-id']
  const kept = newest.filter(each => each['timestamp-ms'] > since || each['snapshot-id'] === current)
  if (kept.length === metadata.snapshots.length) return metadata
  const ids = new Set(kept.map(each => each['snapshot-id']))
  return {
    ...metadata,
    snapshots: kept,
    refs: Object.fromEntries(
      Object.entries(metadata.refs).filter(([, each]) => ids.has(each['snapshot-id'])),
    ),
    'snapshot-log': metadata['snapshot-log'].filter(each => ids.has(each['snapshot-id'])),
  }
}

/** The partition spec and the sort order, as a manifest or the metadata has them. */
export const PARTITION_FIELDS = [
  {
    name: 'received_at_hour',
    transform: 'hour',
    'source-id': idOf('received_at'),
    'field-id': PARTITION_FIELD_ID,
  },
]

const SORT_FIELDS = ['event', 'received_at'].map(name => ({
  transform: 'identity',
  'source-id': idOf(name),
  direction: 'asc',
  'null-order': 'nulls-last',
}))

function emptyMetadata(uuid: string): TableMetadata {
  return {
    'format-version': 2,
    'table-uuid': uuid,
    location: '',
    'last-sequence-number': 0,
    'last-updated-ms': 0,
    'last-column-id': 0,
    'current-schema-id': 0,
    schemas: [],
    'default-spec-id': 0,
    'partition-specs': [{ 'spec-id': 0, fields: PARTITION_FIELDS }],
    'last-partition-id': PARTITION_FIELD_ID,
    'default-sort-order-id': SORT_ORDER_ID,
    'sort-orders': [{ 'order-id': SORT_ORDER_ID, fields: SORT_FIELDS }],
    // `gc.enabled`: other programs must not remove data files, which the archive has on its own account.
    properties: { 'gc.enabled': 'false', 'write.format.default': 'parquet' },
    'current-snapshot-id': -1,
    refs: {},
    snapshots: [],
    'snapshot-log': [],
    'metadata-log': [],
  }
}

function idOf(name: string): number {
  return tableColumns([]).find(column => column.name === name)?.fieldId as number
}

function fieldsOf(columns: readonly TableColumn[]): TableSchema['fields'] {
  return tableColumns(columns).map(({ name, type, fieldId }) => ({
    id: fieldId,
    name,
    required: false,
    type,
  }))
}

/** The same for every writer. A UUID of version 8 (RFC 9562, section 5.8). */
function tableUuid(log: string): string {
  const hex = createHash('sha256').update(`frequency table ${log}`).digest('hex')
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    `8${hex.slice(13, 16)}`,
    `8${hex.slice(17, 20)}`,
    hex.slice(20, 32),
  ].join('-')
}

function parsed(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString())
  } catch {
    return undefined
  }
}
