/**
 * Moves an object: copies it within the bucket, then removes the source.
 *
 * A copy in parts has its bytes before it is completed. Meanwhile another process may move the object, and an erasure
 * may replace it. So it is completed on condition that the target is what it was before the first part: a process that
 * was paused does not bring erased events back. A server that ignores the condition, or does not know it, leaves this gap.
 */
import {
  type CompletedPart,
  CompleteMultipartUploadCommand,
  type CompleteMultipartUploadCommandInput,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  HeadObjectCommand,
  type S3Client,
  UploadPartCopyCommand,
} from '@aws-sdk/client-s3'
import { StoreUnavailable } from '../errors.ts'
import { contentTypeOf, isNoSuchKey, statusOf } from './s3-client.ts'
import { abortUpload, requireObject } from './s3-upload.ts'

const MIB = 1024 * 1024
const NOT_FOUND = 404
const CONFLICT = 409
const PRECONDITION_FAILED = 412
const NOT_IMPLEMENTED = 501

export interface CopyLimits {
  /** Limit of a copy in one request. If the server refuses one above it, the copy is made in parts. S3 allows 5 GiB. */
  readonly wholeBytesMax: number
  readonly partBytes: number
  readonly partsInFlightMax: number
}

/** How often a copy in parts is begun again because the target has changed. */
const ATTEMPTS_MAX = 3

const LIMITS: CopyLimits = { wholeBytesMax: 4096 * MIB, partBytes: 512 * MIB, partsInFlightMax: 4 }

export interface Move {
  readonly bucket: string
  readonly from: string
  readonly to: string
  /** Removes the source after the copy. @default a DeleteObject request */
  remove?(key: string): Promise<void>
}

/** @returns `gone` if the source does not exist @throws the error of S3. The object may be copied, and not removed. */
export async function moveObject(
  client: S3Client,
  move: Move,
  limits: CopyLimits = LIMITS,
): Promise<'moved' | 'gone'> {
  try {
    for (let attempt = 1; !(await isCopied(client, move, limits)); attempt++)
      if (attempt === ATTEMPTS_MAX)
        throw new StoreUnavailable(`${move.to} was replaced again and again while it was copied.`)
  } catch (error) {
    if (isNoSuchKey(error)) return 'gone'
    throw error
  }
  if (move.remove !== undefined) await move.remove(move.from)
  else await client.send(new DeleteObjectCommand({ Bucket: move.bucket, Key: move.from }))
  return 'moved'
}

/**
 * Copies in one request. Reads the size only if the server refuses that, because nearly all objects are small enough.
 *
 * @returns false if the target has changed meanwhile
 */
async function isCopied(client: S3Client, move: Move, limits: CopyLimits): Promise<boolean> {
  try {
    await client.send(
      new CopyObjectCommand({
        Bucket: move.bucket,
        Key: move.to,
        CopySource: copySourceOf(move),
        MetadataDirective: 'REPLACE',
        ContentType: contentTypeOf(move.to),
      }),
    )
    return true
  } catch (error) {
    if (statusOf(error) !== 400) throw error
    const { ContentLength = 0 } = await client.send(
      new HeadObjectCommand({ Bucket: move.bucket, Key: move.from }),
    )
    if (ContentLength <= limits.wholeBytesMax) throw error
    return await isCopiedInParts(client, move, ContentLength, limits)
  }
}

async function isCopiedInParts(
  client: S3Client,
  move: Move,
  bytes: number,
  limits: CopyLimits,
): Promise<boolean> {
  const target = { Bucket: move.bucket, Key: move.to }
  const unchanged = await unchangedCondition(client, target)
  const { UploadId } = await client.send(
    new CreateMultipartUploadCommand({ ...target, ContentType: contentTypeOf(move.to) }),
  )
  let parts: CompletedPart[]
  try {
    parts = await copyParts(client, move, UploadId, bytes, limits)
  } catch (error) {
    await abortUpload(client, target, UploadId)
    throw error
  }
  const upload = { ...target, UploadId, MultipartUpload: { Parts: parts } }
  const complete = (condition: CopyCondition) =>
    client.send(new CompleteMultipartUploadCommand({ ...upload, ...condition }))
  try {
    await complete(unchanged).catch(error => {
      if (statusOf(error) !== NOT_IMPLEMENTED) throw error
      return complete({})
    })
  } catch (error) {
    // The upload is not aborted: see s3-upload.ts. A request that was sent again may have been refused by its own success.
    if (isRefused(error, unchanged)) return false
    await requireObject(client, target, bytes, error)
  }
  return true
}

type CopyCondition = Pick<CompleteMultipartUploadCommandInput, 'IfMatch' | 'IfNoneMatch'>

/** Whether the target is not as the condition says. Without a target S3 answers `NoSuchKey` to `If-Match`. */
function isRefused(error: unknown, { IfMatch }: CopyCondition): boolean {
  const status = statusOf(error)
  return (
    status === PRECONDITION_FAILED || status === CONFLICT || (IfMatch !== undefined && isNoSuchKey(error))
  )
}

async function unchangedCondition(
  client: S3Client,
  target: { readonly Bucket: string; readonly Key: string },
): Promise<CopyCondition> {
  try {
    const { ETag } = await client.send(new HeadObjectCommand(target))
    return { IfMatch: ETag }
  } catch (error) {
    if (statusOf(error) !== NOT_FOUND) throw error
    return { IfNoneMatch: '*' }
  }
}

/** Copies all parts. When it throws, no request is in flight any more: a part must not arrive after the abort. */
async function copyParts(
  client: S3Client,
  move: Move,
  UploadId: string | undefined,
  bytes: number,
  { partBytes, partsInFlightMax }: CopyLimits,
): Promise<CompletedPart[]> {
  const parts: CompletedPart[] = []
  const count = Math.ceil(bytes / partBytes)
  let next = 0
  let hasFailed = false
  const work = async (): Promise<void> => {
    while (next < count && !hasFailed) {
      const index = next++
      const end = Math.min(bytes, (index + 1) * partBytes)
      const part = {
        Bucket: move.bucket,
        Key: move.to,
        UploadId,
        PartNumber: index + 1,
        CopySource: copySourceOf(move),
        CopySourceRange: `bytes=${index * partBytes}-${end - 1}`,
      }
      const { CopyPartResult } = await client.send(new UploadPartCopyCommand(part)).catch(error => {
        hasFailed = true
        throw error
      })
      parts[index] = { PartNumber: index + 1, ETag: CopyPartResult?.ETag }
    }
  }
  const ended = await Promise.allSettled(Array.from({ length: partsInFlightMax }, work))
  const failure = ended.find(result => result.status === 'rejected')
  if (failure !== undefined) throw failure.reason
  return parts
}

/** The value of `CopySource`: each path segment is URL-encoded, slashes are not. */
export function copySourceOf({ bucket, from }: Pick<Move, 'bucket' | 'from'>): string {
  return `${bucket}/${from}`
    .split('/')
    .map(segment => encodeURIComponent(segment).replace(/[!'()*]/g, percentEncoded))
    .join('/')
}

function percentEncoded(char: string): string {
  return `%${char.charCodeAt(0).toString(16).toUpperCase()}`
}
