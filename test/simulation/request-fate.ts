/** Draws the fault and the times of a request to the store. Each request has a generator of its own. */

import { Random } from '../fault/random.ts'
import type { S3Request } from '../services/s3-operations.ts'

export type Operation = S3Request['operation']

export interface S3Traits {
  readonly clockMs: number
  /** Like Ceph before Squid. */
  readonly ignoresConditionOnComplete: boolean
  /** An Abort during a Complete destroys the object later, as in radosgw 16.2. */
  readonly abortDestroys: boolean
  /** Bound on each of: the request's way to the store, its effect, the answer's way back. */
  readonly latencyMsMax: number
  /** The chance that a request has a fault, from 0 to 1. */
  readonly faultChance: number
  /** The time-out of a client. */
  readonly idleMs: number
}

const FAULTS = [
  { kind: 'request lost', weight: 3 },
  { kind: 'answer lost', weight: 5 },
  { kind: 'no answer', weight: 2 },
  { kind: 'no answer, effect', weight: 3 },
  { kind: 'late effect', weight: 5 },
  { kind: 'status 500', weight: 2 },
  { kind: 'status 500, effect', weight: 3 },
  { kind: 'status 503', weight: 2 },
  { kind: 'status 409', weight: 2 },
  { kind: 'error in 200', weight: 3 },
  { kind: 'error in 200, effect', weight: 2 },
  { kind: 'slow', weight: 3 },
  { kind: 'twice', weight: 3 },
  { kind: 'answer cut', weight: 2 },
] as const

export type FaultKind = (typeof FAULTS)[number]['kind']

/** The fault and the times of one request. */
export interface Fate {
  readonly fault: FaultKind | undefined
  /** Milliseconds of: the way to the store, until the effect, until the answer's date, the way back. */
  readonly sendMs: number
  readonly workMs: number
  readonly dateMs: number
  readonly answerMs: number
  /** Milliseconds by which an effect is late, if its sender got a failure as the answer. */
  readonly lateMs: number
}

export const WRITES = new Set([
  'PutObject',
  'CopyObject',
  'CompleteMultipartUpload',
  'DeleteObject',
  'DeleteObjects',
  'AbortMultipartUpload',
])

export interface FateOptions {
  readonly seed: string
  readonly traits: S3Traits
  readonly headers: Record<string, string>
  /** The fault that the request must have; undefined if none is forced. */
  readonly forced: FaultKind | undefined
  /** Whether a drawn fault happens. */
  happens(fault: FaultKind): boolean
}

/** @param name of the request; seeds its generator */
export function fateOf(name: string, operation: Operation, options: FateOptions): Fate {
  const { seed, traits, headers, forced, happens } = options
  const random = new Random(`${seed} request ${name}`)
  const { latencyMsMax, faultChance } = traits
  const ms = () =>
    random.chance(0.1) ? random.between(0, latencyMsMax) : random.between(0, latencyMsMax >> 2)
  const [sendMs, workMs, dateMs, answerMs] = [ms(), ms(), ms(), ms()]
  const lateMs = Math.floor(10 ** (3 + 3.9 * random.next()))
  const drawn = random.chance(faultChance) ? random.pickWeighted(FAULTS).kind : undefined
  const isSlow = drawn === 'slow'
  const isPossible = (kind: FaultKind) =>
    fits(kind, operation, headers) && !(isLate(kind) && isRemovalOfBuild(name, operation))
  const fault = forced ?? (drawn !== undefined && isPossible(drawn) && happens(drawn) ? drawn : undefined)
  return {
    fault,
    sendMs,
    workMs: workMs + (isSlow && fault === 'slow' ? random.between(1_000, 12_000) : 0),
    dateMs,
    answerMs,
    lateMs,
  }
}

/** A build deletes the records of an abandoned build, and then uses their numbers (docs/operations.md). */
function isRemovalOfBuild(name: string, operation: Operation): boolean {
  return name.startsWith('builder') && operation.startsWith('DeleteObject')
}

function isLate(fault: FaultKind): boolean {
  return fault === 'late effect' || fault === 'slow'
}

function fits(fault: FaultKind, operation: Operation, headers: Record<string, string>): boolean {
  const isWrite = WRITES.has(operation)
  if (fault === 'status 409') return headers['if-none-match'] !== undefined
  if (fault.startsWith('error in 200'))
    return operation === 'CompleteMultipartUpload' || operation === 'CopyObject'
  if (fault === 'answer cut') return operation === 'GetObject' || operation === 'ListObjectsV2'
  if (fault === 'late effect' || fault === 'twice' || fault.endsWith('effect'))
    return isWrite || operation === 'UploadPart'
  return true
}
