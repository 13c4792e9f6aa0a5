/**
 * What is left of records that are folded: a manifest, and two runs.
 *
 * Manifest *g* says up to which record the log is folded. The run of ids holds 16 bytes for each event of the
 * range; it is deleted when it is old. The run of objects has a line of JSON for each record of the range, and
 * stays.
 */

import { type Static, Type } from '@sinclair/typebox'
import { type TypeCheck, TypeCompiler } from '@sinclair/typebox/compiler'
import { LogRefused } from '../errors.ts'
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
  /** Of the last record. */
  hash: Type.String(),
  /** When the last record was stored, in milliseconds since 1970, by the store's clock. */
  storedAt: Type.Integer(),
  ids: RUN,
  objects: RUN,
  /** Of `receivedAt`, of all events up to `through`: see spans.ts. */
  spans: Type.Array(Type.Tuple([Type.Integer(), Type.Integer()])),
  /** Records of which this range makes batches void: whoever has applied one, and not this range, knows ids that are not archived. */
  voided: Type.Array(count),
  /** What the log names in all, up to `through`. */
  total: Type.Object({ events: count, objects: count }),
})

let check: TypeCheck<typeof MANIFEST_SCHEMA> | undefined

export type Manifest = Static<typeof MANIFEST_SCHEMA>

export type Run = Static<typeof RUN>

/** A line of a run of objects. */
export interface FoldedRecord {
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
  // One that cannot be read would stop every archiver for good.
  decodeManifest(manifest.generation, bytes)
  return bytes
}

/** @throws LogRefused */
export function decodeManifest(generation: number, bytes: Buffer): Manifest {
  const manifest = parsed(bytes)
  check ??= TypeCompiler.Compile(MANIFEST_SCHEMA)
  if (!check.Check(manifest) || manifest.generation !== generation)
    throw new LogRefused(
      `The log's manifest ${generation} is damaged: restore it from a backup of the bucket.`,
    )
  if (manifest.version > VERSION)
    throw new LogRefused('A newer version of frequency has written to this archive: update this one.')
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
