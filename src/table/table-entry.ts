/**
 * Encodes and decodes an entry of the table's log: what the table has, and how far it stands for the archive's log.
 *
 * Entry n+1 is created on condition that there is none, by a process that has read all entries before it. So the
 * entries have one order, and no file is added on a state that somebody else has changed.
 */

import { type Static, Type } from '@sinclair/typebox'
import { type TypeCheck, TypeCompiler } from '@sinclair/typebox/compiler'
import { TableDamaged } from '../errors.ts'

const VERSION = 1

const count = Type.Integer({ minimum: 0 })
const text = Type.String({ minLength: 1 })
/** Hours since 1970. Null: events without a time. */
const hour = Type.Union([Type.Integer(), Type.Null()])

/** What is known of a column in one file. Bounds are texts, or microseconds since 1970. */
const COLUMN_STATS = Type.Object({
  /** Compressed. */
  bytes: count,
  nulls: count,
  /** Not above any value, and not below any. Absent if unknown, and for columns that may name a user. */
  min: Type.Optional(Type.Union([Type.String(), Type.Integer()])),
  max: Type.Optional(Type.Union([Type.String(), Type.Integer()])),
})

const TABLE_FILE = Type.Object({
  /** Where a glob finds it, below `data/`. It names the file. */
  key: text,
  /** Where its bytes are for sure: it differs from `key` while the file is staged, and for one that was rewritten. */
  path: text,
  /** `path` is a staged object: it is moved to `key`, which is then the file's path. */
  isStaged: Type.Optional(Type.Boolean()),
  /** The same bytes, staged: they are moved to `key`, where the bytes of before an erasure are. */
  copy: Type.Optional(text),
  bytes: count,
  rows: count,
  hour,
  /** Of the batches whose events it has: their first hour, if that is not `hour`. With it the file expires. */
  batchHour: Type.Optional(Type.Integer()),
  /** How many of the table's typed columns it has: the first ones. */
  typedColumns: count,
  stats: Type.Record(Type.String(), COLUMN_STATS),
})

const COMPACTED = Type.Object({
  hour: Type.Integer(),
  /** The events of this hour in all batches of records up to this one are in the table. */
  through: count,
})

const TABLE_COLUMN = Type.Object({
  name: text,
  /** The member of the event that it holds, as `properties.plan`. */
  member: text,
  type: Type.Union([
    Type.Literal('string'),
    Type.Literal('long'),
    Type.Literal('double'),
    Type.Literal('boolean'),
    Type.Literal('timestamptz'),
  ]),
  /** Of Iceberg and Parquet. Never given to another column. */
  fieldId: Type.Integer({ minimum: 1 }),
})

const ENTRY_SCHEMA = Type.Object({
  version: Type.Integer({ minimum: 1 }),
  /** Of the archive's log. */
  log: text,
  number: Type.Integer({ minimum: 1 }),
  /** New at each attempt: tells a writer whose answer was lost that the entry is its own. */
  nonce: text,
  /** Milliseconds since 1970, by the writer's clock. */
  at: Type.Integer(),
  added: Type.Optional(Type.Array(TABLE_FILE)),
  compacted: Type.Optional(Type.Array(COMPACTED)),
  /** Files with the same keys and other bytes, by an erasure. */
  replaced: Type.Optional(Type.Array(TABLE_FILE)),
  /** Keys of files that are no longer in the table. */
  removed: Type.Optional(Type.Array(text)),
  /** Files that are at their key now, and were staged before. */
  placed: Type.Optional(Type.Array(text)),
  /** In a checkpoint: paths of bytes that no file has any more, and that are not removed yet. */
  oldPaths: Type.Optional(Type.Array(text)),
  /** Of these paths, those whose bytes are removed. */
  removedPaths: Type.Optional(Type.Array(text)),
  /** How many erasures there were. A file that was made of objects before one must not be added any more. */
  erasures: Type.Optional(count),
  /** All events in records up to this one are in the table, or expired. */
  coveredThrough: Type.Optional(count),
  /** All typed columns from here on, in the order of their field ids. */
  columns: Type.Optional(Type.Array(TABLE_COLUMN)),
})

export type ColumnStats = Static<typeof COLUMN_STATS>
export type TableFile = Static<typeof TABLE_FILE>
export type TableColumn = Static<typeof TABLE_COLUMN>
export type TableEntry = Static<typeof ENTRY_SCHEMA>
/** The part of an entry that its writer decides. */
export type TableChange = Omit<TableEntry, 'version' | 'log' | 'number' | 'nonce' | 'at'>

let check: TypeCheck<typeof ENTRY_SCHEMA> | undefined

export function encodeEntry(entry: Omit<TableEntry, 'version'>): Buffer {
  const bytes = Buffer.from(`${JSON.stringify({ version: VERSION, ...entry })}\n`)
  // An entry that cannot be read would stop every compactor for good.
  decodeEntry(entry.number, bytes)
  return bytes
}

/** @throws TableDamaged */
export function decodeEntry(number: number, bytes: Buffer): TableEntry {
  const entry = parsed(bytes)
  check ??= TypeCompiler.Compile(ENTRY_SCHEMA)
  if (!check.Check(entry) || entry.number !== number)
    throw new TableDamaged(`Entry ${number} of the table's log is damaged.`)
  if (entry.version > VERSION)
    throw new TableDamaged('A newer version of frequency has written to this table. Update this one.')
  return entry
}

function parsed(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString())
  } catch {
    return undefined
  }
}
