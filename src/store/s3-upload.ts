/**
 * An upload of a stream under a key that nobody else uses.
 *
 * An upload is aborted only where its completion was never asked for. radosgw 16.2 answers a completion
 * with 200 and loses the object where an abort races with it, or follows it.
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

/** The smallest part that S3 takes (but for the last), and so the least memory that an upload can hold. */
const PART_BYTES = 5 * 1024 * 1024
const PARTS_IN_FLIGHT_MAX = 2
/** Others abort an upload that is older, so that it must have been completed long before. */
const ABANDONED_MS_MIN = 24 * 60 * 60 * 1000
const COMPLETE_MS_MAX = ABANDONED_MS_MIN / 2
/** Of ListMultipartUploads, each of up to 1,000 uploads. */
const ABANDONED_PAGES_MAX = 10

interface Location {
  readonly Bucket: string
  readonly Key: string
}

/** @returns the object's bytes. @throws what S3 answered; the object may be there, or may appear later. */
export async function uploadStream(client: S3Client, location: Location, body: Readable): Promise<number> {
  const watched = new WatchedClient(client, body)
  const upload = new Upload({
    client: watched.client,
    params: { ...location, Body: body, ContentType: contentTypeOf(location.Key) },
    partSize: PART_BYTES,
    queueSize: PARTS_IN_FLIGHT_MAX,
    leavePartsOnError: true,
  })
  let bytes = 0
  upload.on('httpUploadProgress', ({ loaded = 0 }) => {
    bytes = loaded
  })
  try {
    await upload.done()
  } catch (error) {
    if (watched.isCompleteSent) await requireObject(client, location, bytes, error)
    else {
      await abortUpload(client, location, watched.uploadId)
      throw error
    }
  }
  return bytes
}

/**
 * The client of one upload. It ends the body when a request fails for good. lib-storage does not: of its
 * uploaders one fails, and the other goes on waiting for the body's next part, so that the failure is
 * not told before that part is full, or the body ends.
 */
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
      throw new StoreUnavailable('the upload took longer than half a day, and is given up')
    this.isCompleteSent = true
  }
}

/**
 * Resolves where all of the object is there. It is read, since HEAD of radosgw also answers for an object
 * whose bytes are lost.
 *
 * @throws `error` where it is not there, or not whole.
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

/** Aborts an upload whose completion was never asked for. What fails is left to `abortAbandoned`. */
export async function abortUpload(
  client: S3Client,
  location: Location,
  uploadId: string | undefined,
): Promise<void> {
  if (uploadId === undefined) return
  await client.send(new AbortMultipartUploadCommand({ ...location, UploadId: uploadId })).catch(() => {})
}

/** Aborts uploads below a prefix that began more than a day ago. @throws what S3 answered */
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
