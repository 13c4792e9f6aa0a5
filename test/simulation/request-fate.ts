/** What becomes of a request to the store: drawn from the seed, for each request by itself. */

import { Random } from '../fault/random.ts'
import type { S3Request } from '../services/s3-operations.ts'

export type Operation = S3Request['operation']

export interface S3Traits {
  readonly clockMs: number
  /** As Ceph before Squid does it. */
  readonly ignoresConditionOnComplete: boolean
  /** An Abort that meets a Complete under way destroys the object later, as radosgw 16.2 does it. */
  readonly abortDestroys: boolean
  /** Of a request's way to the store, of its effect, and of the answer's way back, each. */
  readonly latencyMsMax: number
  /** How likely it is that something goes wrong with a request. */
  readonly faultChance: number
  /** How long a client waits for an answer that does not come. */
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

/** How one request fares. */
export interface Fate {
  readonly fault: FaultKind | undefined
  /** The way there, from there to the effect, from the effect to the answer's date, and the way back, in milliseconds. */
  readonly sendMs: number
  readonly workMs: number
  readonly dateMs: number
  readonly answerMs: number
  /** How much later an effect comes whose sender has heard of a failure. */
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
  /** A fault that it has in any case. */
  readonly forced: FaultKind | undefined
  /** Whether a fault that was drawn happens. */
  happens(fault: FaultKind): boolean
}

/** @param name of the request, which has a chance of its own */
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

/** A build deletes what an abandoned one left, at numbers that it then uses: docs/operations.md says so. */
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
