/**
 * Encodes and decodes a record of the log. Offset and length in bytes; numbers are little-endian:
 *
 *     0   8   magic: "FRQLOG" and two digits, the version of this layout
 *     8   4   H, the length of the head, from the magic to the end of the checksum
 *     12  4   J, the length of the JSON
 *     16  J   JSON (HEAD_SCHEMA)
 *     …   …   16 an event: the ids of all batches, in their order
 *     …   32  SHA-256 of the head before it. The next record names its predecessor by it
 *     H   …   the bytes of the inline objects, in the order of their batches
 */

import { hash } from 'node:crypto'
import { type Static, Type } from '@sinclair/typebox'
import { type TypeCheck, TypeCompiler } from '@sinclair/typebox/compiler'
import { LogDamaged } from '../errors.ts'
import { DIGEST_VERSION, ID_BYTES } from '../event/message-id.ts'
import { CHANGES, type Changes } from './later-changes.ts'

const VERSION = 1
const MAGIC = `FRQLOG${String(VERSION).padStart(2, '0')}`
const LENGTHS_AT = 8
const JSON_AT = 16
const CHECKSUM_BYTES = 32
/** Bound on a head. It has room for the ids of about 16 million events. */
const HEAD_BYTES_MAX = 256 * 1024 * 1024

const count = Type.Integer({ minimum: 0 })
const sha256 = Type.String({ pattern: '^[0-9a-f]{64}$' })

const BATCH_SCHEMA = Type.Object({
  key: Type.String({ minLength: 1 }),
  /** Of the object as stored. */
  sha256,
  storedBytes: count,
  events: count,
  /** Before compression. */
  bytes: count,
  /** The earliest and the latest `receivedAt` of its events, in milliseconds since 1970. */
  firstReceivedAt: Type.Integer(),
  lastReceivedAt: Type.Integer(),
  /** The key of its staged object, until it is settled. Without it, and without `isStored`, it is inline. */
  staged: Type.Optional(Type.String({ minLength: 1 })),
  /** Its object was stored before the record was made, as in a log that is built from objects. */
  isStored: Type.Optional(Type.Boolean()),
})

const HEAD_SCHEMA = Type.Object({
  log: Type.String({ minLength: 1 }),
  number: count,
  /** The hash of its predecessor; empty in record 0. */
  previous: Type.String(),
  nonce: Type.String({ minLength: 1 }),
  writer: Type.String({ minLength: 1 }),
  /** All records of this writer up to this number are settled. */
  done: count,
  /** The writer has more batches that are sealed. */
  waiting: Type.Boolean(),
  /** The time that a create takes for this writer, in milliseconds. */
  roundTripMs: count,
  /** The version of the digest that ids are made with (message-id.ts). */
  digest: count,
  batches: Type.Array(BATCH_SCHEMA),
  /** Batches of earlier records that can never be settled. Their ids no longer count as archived. */
  voids: Type.Array(Type.Object({ number: count, batch: count })),
  ...CHANGES,
  /** Of a repaired record: the hash of the record before the repair, by which its successor names it. */
  standsFor: Type.Optional(sha256),
})

type Head = Static<typeof HEAD_SCHEMA>

let headCheck: TypeCheck<typeof HEAD_SCHEMA> | undefined

function isHead(value: unknown): value is Head {
  headCheck ??= TypeCompiler.Compile(HEAD_SCHEMA)
  return headCheck.Check(value)
}

export interface LogBatch extends Static<typeof BATCH_SCHEMA> {
  /** 16 bytes an event, in the order of the events. */
  readonly ids: Buffer
}

export interface LogRecord extends Omit<Head, 'batches'> {
  readonly batches: readonly LogBatch[]
  /** The next record names it by this: 64 hexadecimal digits. */
  readonly hash: string
  /** Length of the head in bytes. The inline objects begin there. */
  readonly headBytes: number
}

/** A batch to encode. `body` has the bytes of its object if it is inline. */
export interface BatchDraft extends LogBatch {
  readonly body: Buffer | undefined
}

/** The fields of a record that a command wrote, and not an archiver: it settles nothing later, and takes no turns. */
export const NOT_AN_ARCHIVER = {
  done: 0,
  waiting: false,
  roundTripMs: 0,
  digest: DIGEST_VERSION,
  voids: [],
} satisfies Partial<RecordDraft>

export type RecordDraft = Omit<Head, 'batches'> & { readonly batches: readonly BatchDraft[] }

export interface EncodedRecord {
  readonly bytes: Buffer
  readonly record: LogRecord
}

export function encodeRecord({ batches, ...rest }: RecordDraft): EncodedRecord {
  const head = { ...rest, batches: batches.map(({ ids: _, body: __, ...batch }) => batch) }
  // A record that cannot be read would stop every archiver for good.
  if (!isHead(head)) throw new TypeError('A log record does not match its schema, so nobody could read it.')
  const json = Buffer.from(JSON.stringify(head))
  const idsBytes = batches.reduce((sum, { ids }) => sum + ids.length, 0)
  const headBytes = JSON_AT + json.length + idsBytes + CHECKSUM_BYTES
  const start = Buffer.alloc(JSON_AT)
  start.write(MAGIC, 'latin1')
  start.writeUInt32LE(headBytes, LENGTHS_AT)
  start.writeUInt32LE(json.length, LENGTHS_AT + 4)
  const covered = Buffer.concat([start, json, ...batches.map(({ ids }) => ids)])
  const digest = hash('sha256', covered, 'buffer')
  const bodies = batches.flatMap(({ body }) => body ?? [])
  const record = { ...rest, batches, headBytes, hash: rest.standsFor ?? digest.toString('hex') }
  return { bytes: Buffer.concat([covered, digest, ...bodies]), record }
}

/** The length of the head in bytes; undefined if `bytes` is too short to tell. @throws LogDamaged */
export function headLength(number: number, bytes: Buffer): number | undefined {
  if (bytes.length < JSON_AT) return undefined
  const magic = bytes.toString('latin1', 0, LENGTHS_AT)
  if (magic !== MAGIC) throw new LogDamaged(number, reasonOfMagic(magic))
  const length = bytes.readUInt32LE(LENGTHS_AT)
  if (length < JSON_AT + CHECKSUM_BYTES || length > HEAD_BYTES_MAX)
    throw new LogDamaged(number, 'the length of its head is impossible')
  return length
}

function reasonOfMagic(magic: string): string {
  const [, version] = /^FRQLOG(\d\d)$/.exec(magic) ?? []
  return version === undefined
    ? 'it is not a log record'
    : `a newer version of frequency wrote it (layout ${version})`
}

/**
 * Decodes the head of a record.
 *
 * @param number from its key
 * @param bytes from the record's beginning; may be longer than the head
 * @throws LogDamaged if the head is cut short, or differs from what was written
 */
export function decodeHead(number: number, bytes: Buffer): LogRecord {
  const headBytes = headLength(number, bytes)
  if (headBytes === undefined || bytes.length < headBytes) throw new LogDamaged(number, 'it is cut short')
  const covered = bytes.subarray(0, headBytes - CHECKSUM_BYTES)
  const digest = hash('sha256', covered, 'buffer')
  if (!digest.equals(bytes.subarray(headBytes - CHECKSUM_BYTES, headBytes)))
    throw new LogDamaged(number, 'its checksum is wrong')
  const jsonEnd = JSON_AT + covered.readUInt32LE(LENGTHS_AT + 4)
  const head = uncheckedJson(bytes)
  if (!isHead(head)) throw new LogDamaged(number, 'its head does not match the schema of this version')
  if (head.number !== number) throw new LogDamaged(number, `its head has the number ${head.number}`)
  let at = jsonEnd
  const batches = head.batches.map(batch => {
    const ids = covered.subarray(at, at + batch.events * ID_BYTES)
    at += ids.length
    return { ...batch, ids }
  })
  if (at !== covered.length)
    throw new LogDamaged(number, 'the number of its ids differs from the number of its events')
  return { ...head, batches, headBytes, hash: head.standsFor ?? digest.toString('hex') }
}

/** The bytes of a record's inline object. @param bytes of the whole record */
export function inlineBody(record: LogRecord, batch: LogBatch, bytes: Buffer): Buffer {
  let at = record.headBytes
  for (const each of record.batches) {
    if (each === batch) break
    if (isInline(each)) at += each.storedBytes
  }
  return bytes.subarray(at, at + batch.storedBytes)
}

/** Whether all objects of these batches were stored before their record was made. */
export function wasStored(batches: readonly Pick<LogBatch, 'isStored'>[]): boolean {
  return batches.every(({ isStored }) => isStored === true)
}

export function isInline({ staged, isStored }: Pick<LogBatch, 'staged' | 'isStored'>): boolean {
  return staged === undefined && isStored !== true
}

/** A batch in the head of a damaged record. Any of its fields may be wrong. */
export interface UnverifiedBatch extends Static<typeof BATCH_SCHEMA> {
  /** The bytes where its inline object should be, fewer if the record is cut short; undefined if it is not inline. */
  readonly body: Buffer | undefined
}

/** The batches in a record that is cut short or has a wrong checksum; none if its JSON cannot be read. */
export function unverifiedBatches(bytes: Buffer): UnverifiedBatch[] {
  const head = uncheckedJson(bytes)
  if (!isHead(head)) return []
  let at = bytes.readUInt32LE(LENGTHS_AT)
  return head.batches.map(batch => {
    const start = at
    if (isInline(batch)) at += batch.storedBytes
    return { ...batch, body: at > start ? bytes.subarray(start, at) : undefined }
  })
}

/** What a damaged record says of earlier objects. Any of it may be wrong. Undefined if its JSON cannot be read. */
export function unverifiedChanges(bytes: Buffer): Changes | undefined {
  const head = uncheckedJson(bytes)
  return isHead(head) ? head : undefined
}

/** The checksum in the head of a damaged record, unchecked; undefined if the record is too short. */
export function headHashIn(bytes: Buffer): string | undefined {
  if (bytes.length < JSON_AT) return undefined
  const end = bytes.readUInt32LE(LENGTHS_AT)
  if (end < JSON_AT + CHECKSUM_BYTES || end > bytes.length) return undefined
  return bytes.toString('hex', end - CHECKSUM_BYTES, end)
}

function uncheckedJson(bytes: Buffer): unknown {
  if (bytes.length < JSON_AT) return undefined
  try {
    return JSON.parse(bytes.toString('utf8', JSON_AT, JSON_AT + bytes.readUInt32LE(LENGTHS_AT + 4)))
  } catch {
    return undefined
  }
}
