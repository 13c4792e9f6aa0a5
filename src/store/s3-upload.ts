/**
 * Uploads a stream under a key that no other writer uses.
 *
 * The rule: an upload is aborted only if its completion was never requested. radosgw 16.2 answers a completion with
 * 200, and loses the object, if an abort runs at the same time or later. `Upload` of lib-storage breaks this rule,
 * and waits for its body after a failure. Three measures correct that:
 *
 *  1. `leavePartsOnError`: lib-storage never aborts.
 *  2. `WatchedClient` sends the requests of lib-storage, and records whether the completion was requested. If not,
 *     `uploadStream` aborts the failed upload. If so, it reads the object to find out whether it was stored.
 *  3. `WatchedClient` destroys the body when a request has failed for good. lib-storage has two uploaders. If one
 *     fails, the other still waits for the next part of the body, and the failure would be reported only when that
 *     part is full or the body ends.
 */
import type { Readable } from 'node:stream'
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  type CreateMultipartUploadCommandOutput,
  GetObjectCommand,
  ListMultipartUploadsCommand,
  type ListMultipartUploadsCommandOutput,
  type S3Client,
} from '@aws-sdk/client-s3'
import { Upload } from '@aws-sdk/lib-storage'
import { StoreUnavailable } from '../errors.ts'
import { contentTypeOf, statusOf, watchDate } from './s3-client.ts'

/** The smallest part that S3 accepts (except for the last), so that an upload needs little memory. */
const PART_BYTES = 5 * 1024 * 1024
const PARTS_IN_FLIGHT_MAX = 2
/** Any process may abort an upload that is older than this. */
const ABANDONED_MS_MIN = 24 * 60 * 60 * 1000
/** An upload that takes longer than this is not completed: another process may be about to abort it. */
const COMPLETE_MS_MAX = ABANDONED_MS_MIN / 2
/** Pages of ListMultipartUploads, with up to 1,000 uploads each. */
const ABANDONED_PAGES_MAX = 10

interface Location {
  readonly Bucket: string
  readonly Key: string
}

/**
 * Uploads a stream, and destroys it.
 *
 * @returns size of the object in bytes
 * @throws the error of S3, or of the body. The object may exist nonetheless, or may appear later.
 */
export async function uploadStream(client: S3Client, location: Location, body: Readable): Promise<number> {
  // The error of a destroyed body rejects `upload`. This listener prevents an uncaught exception beside it.
  body.on('error', () => {})
  try {
    return await upload(client, location, body)
  } finally {
    body.destroy()
  }
}

async function upload(client: S3Client, location: Location, body: Readable): Promise<number> {
  const watched = new WatchedClient(client, body)
  const multipart = new Upload({
    client: watched.client,
    params: { ...location, Body: body, ContentType: contentTypeOf(location.Key) },
    partSize: PART_BYTES,
    queueSize: PARTS_IN_FLIGHT_MAX,
    leavePartsOnError: true,
  })
  let bytes = 0
  multipart.on('httpUploadProgress', ({ loaded = 0 }) => {
    bytes = loaded
  })
  try {
    await multipart.done()
  } catch (error) {
    if (watched.isCompleteSent) await requireObject(client, location, bytes, error)
    else {
      await abortUpload(client, location, watched.uploadId)
      throw error
    }
  }
  return bytes
}

/** The client of one upload: see measures 2 and 3 above. */
class WatchedClient {
  readonly client: S3Client
  uploadId: string | undefined
  isCompleteSent = false
  readonly #startedAt = Date.now()

  constructor(client: S3Client, body: Readable) {
    const send = async (command: Parameters<S3Client['send']>[0]): Promise<unknown> => {
      try {
        if (command instanceof CompleteMultipartUploadCommand) this.#beforeComplete()
        const output = await client.send(command)
        if (command instanceof CreateMultipartUploadCommand)
          this.uploadId = (output as CreateMultipartUploadCommandOutput).UploadId
        return output
      } catch (error) {
        body.destroy(error as Error)
        throw error
      }
    }
    this.client = Object.create(client, { send: { value: send } })
  }

  #beforeComplete(): void {
    if (Date.now() - this.#startedAt > COMPLETE_MS_MAX)
      throw new StoreUnavailable('the upload took longer than half a day, and was aborted')
    this.isCompleteSent = true
  }
}

/**
 * Resolves if the whole object exists. It reads the object, because radosgw answers HEAD with 200 also if the bytes
 * are lost.
 *
 * @throws `error` if the object is missing or incomplete.
 */
export async function requireObject(
  client: S3Client,
  location: Location,
  bytes: number,
  error: unknown,
): Promise<void> {
  let read = 0
  try {
    const { Body } = await client.send(new GetObjectCommand(location))
    for await (const chunk of Body as Readable) read += chunk.length
  } catch {
    throw error
  }
  if (read !== bytes) throw error
}

/** Aborts an upload whose completion was never requested. If that fails, `abortAbandoned` does it a day later. */
export async function abortUpload(
  client: S3Client,
  location: Location,
  uploadId: string | undefined,
): Promise<void> {
  if (uploadId === undefined) return
  await client.send(new AbortMultipartUploadCommand({ ...location, UploadId: uploadId })).catch(() => {})
}

/** Aborts uploads below a prefix that began more than a day ago. @throws the error of S3 */
export async function abortAbandoned(
  client: S3Client,
  { bucket, prefix }: { bucket: string; prefix: string },
  abortSignal: AbortSignal,
): Promise<void> {
  let KeyMarker: string | undefined
  let UploadIdMarker: string | undefined
  for (let page = 0; page < ABANDONED_PAGES_MAX; page++) {
    const command = new ListMultipartUploadsCommand({
      Bucket: bucket,
      Prefix: prefix,
      KeyMarker,
      UploadIdMarker,
    })
    const date = watchDate(command)
    const listed: ListMultipartUploadsCommandOutput = await client.send(command, { abortSignal })
    const now = date() ?? Date.now()
    for (const { Key, UploadId, Initiated } of listed.Uploads ?? []) {
      if (Key === undefined || !Key.startsWith(prefix) || Initiated === undefined) continue
      if (now - Initiated.getTime() < ABANDONED_MS_MIN) continue
      const abort = new AbortMultipartUploadCommand({ Bucket: bucket, Key, UploadId })
      await client.send(abort, { abortSignal }).catch(error => {
        if (statusOf(error) !== 404) throw error
      })
    }
    if (listed.IsTruncated !== true) return
    KeyMarker = listed.NextKeyMarker
    UploadIdMarker = listed.NextUploadIdMarker
  }
}
