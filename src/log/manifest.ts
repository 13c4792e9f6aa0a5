/**
 * Encodes and decodes a manifest and its two runs: they stand for a range of folded records.
 *
 * The newest manifest names the last folded record. The run of ids has 16 bytes for each event of the range, and is
 * deleted after two dedupe windows. The run of objects has one line of JSON for each record of the range, and stays.
 */

import { type Static, Type } from '@sinclair/typebox'
import { type TypeCheck, TypeCompiler } from '@sinclair/typebox/compiler'
import { LogRefused } from '../errors.ts'
import type { Changes } from './later-changes.ts'
import type { LogBatch } from './log-record.ts'

const VERSION = 1

const count = Type.Integer({ minimum: 0 })

const RUN = Type.Object({
  key: Type.String({ minLength: 1 }),
  bytes: count,
  sha256: Type.String({ pattern: '^[0-9a-f]{64}$' }),
})

const MANIFEST_SCHEMA = Type.Object({
  version: Type.Integer({ minimum: 1 }),
  log: Type.String({ minLength: 1 }),
  /** Counts from 1. */
  generation: Type.Integer({ minimum: 1 }),
  /** The first and the last record of its range. */
  from: count,
  through: count,
  /** The hash of the last record. */
  hash: Type.String(),
  /** The latest time at which a record of the range was stored, in milliseconds since 1970, by the store's clock. */
  storedAt: Type.Integer(),
  ids: RUN,
  objects: RUN,
  /** The spans of `receivedAt` of all events in records up to `through`: see spans.ts. */
  spans: Type.Array(Type.Tuple([Type.Integer(), Type.Integer()])),
  /**
   * Records with batches that this range makes void. An index that has applied such a record, but not this range, has
   * ids that are not archived.
   */
  voided: Type.Array(count),
  /** All events and objects in records up to `through`. */
  total: Type.Object({ events: count, objects: count }),
})

let check: TypeCheck<typeof MANIFEST_SCHEMA> | undefined

export type Manifest = Static<typeof MANIFEST_SCHEMA>

export type Run = Static<typeof RUN>

/** A line in the run of objects. */
export interface FoldedRecord extends Changes {
  readonly number: number
  readonly hash: string
  readonly batches: readonly FoldedBatch[]
}

export type FoldedBatch = Pick<
  LogBatch,
  'key' | 'sha256' | 'storedBytes' | 'events' | 'bytes' | 'firstReceivedAt' | 'lastReceivedAt'
>

export function encodeManifest(manifest: Omit<Manifest, 'version'>): Buffer {
  const bytes = Buffer.from(`${JSON.stringify({ version: VERSION, ...manifest })}\n`)
  // A manifest that cannot be read would stop every archiver for good.
  decodeManifest(manifest.generation, bytes)
  return bytes
}

/** @throws LogRefused */
export function decodeManifest(generation: number, bytes: Buffer): Manifest {
  const manifest = parsed(bytes)
  check ??= TypeCompiler.Compile(MANIFEST_SCHEMA)
  if (!check.Check(manifest) || manifest.generation !== generation)
    throw new LogRefused(
      `Manifest ${generation} of the log is damaged. Restore it from a backup of the bucket.`,
    )
  if (manifest.version > VERSION)
    throw new LogRefused('A newer version of frequency has written to this archive. Update this one.')
  return manifest
}

export function encodeObjects(records: readonly FoldedRecord[]): Buffer {
  return Buffer.from(records.map(record => `${JSON.stringify(record)}\n`).join(''))
}

export function decodeObjects(bytes: Buffer): FoldedRecord[] {
  const lines = bytes.toString().split('\n').slice(0, -1)
  return lines.map(line => JSON.parse(line) as FoldedRecord)
}

function parsed(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString())
  } catch {
    return undefined
  }
}
