import { randomBytes, randomUUID } from 'node:crypto'
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadBucketCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import type { Config } from '../config.ts'
import { ConfigInvalid } from '../errors.ts'
import { asStoreError, createS3Client, statusOf } from '../store/s3.ts'
import { type Finding, type Findings, inTime, messageOf, Overdue } from './finding.ts'

const PROBE_BYTES = 1024
/** S3 refuses what is signed by a clock that is further off. */
const SKEW_MS_MAX = 15 * 60 * 1000
/** The server gives its time in whole seconds. */
const SKEW_MS_NOTED = 10_000

/** Whether a bucket can be used as the archiver uses it. What it writes it removes. */
export async function* checkS3(
  { bucket, prefix }: { bucket: string; prefix: string },
  config: Pick<Config, 's3ForcePathStyle' | 's3IdleMsMax'>,
): Findings {
  const client = createS3Client(config)
  const clock = watchClock(client)
  const trial = new S3Trial(client, bucket, `${prefix}/_frequency/check-${randomUUID()}`)
  try {
    const reached = await trial.find('bucket', () => trial.reach())
    yield reached
    if (reached.result === 'ok') {
      yield await trial.find('listing', () => trial.list(`${prefix}/`))
      yield await trial.find('writing', () => trial.write())
      yield await trial.find('multipart', () => trial.upload())
      yield* trial.cleanUp()
    } else {
      yield { name: 'writing', result: 'skipped', detail: 'the bucket was not reached' }
    }
    yield clock()
  } finally {
    client.destroy()
  }
}

class S3Trial {
  readonly #client: S3Client
  readonly #bucket: string
  readonly #key: string
  readonly #body = randomBytes(PROBE_BYTES)
  /** To be removed. */
  readonly #written: { key: string; versionId: string | undefined }[] = []
  readonly #uploads: { key: string; uploadId: string }[] = []

  constructor(client: S3Client, bucket: string, key: string) {
    this.#client = client
    this.#bucket = bucket
    this.#key = key
  }

  async find(name: string, step: () => Promise<string>): Promise<Finding> {
    try {
      return { name, result: 'ok', detail: await inTime(step()) }
    } catch (error) {
      const explained = error instanceof Overdue ? error : asStoreError(error, this.#bucket)
      return { name, result: 'trouble', detail: messageOf(explained) }
    }
  }

  async reach(): Promise<string> {
    const startedAt = performance.now()
    await this.#client.send(new HeadBucketCommand({ Bucket: this.#bucket }))
    return `s3://${this.#bucket} answers within ${Math.ceil(performance.now() - startedAt)} ms`
  }

  async list(prefix: string): Promise<string> {
    await this.#client.send(new ListObjectsV2Command({ Bucket: this.#bucket, Prefix: prefix, MaxKeys: 1 }))
    return `${prefix} can be listed`
  }

  async write(): Promise<string> {
    await this.#put()
    if (!(await isRefused(this.#put())))
      throw new Error(
        'this server ignores If-None-Match on PutObject, so two writers could overwrite each other',
      )
    const { Body } = await this.#client.send(new GetObjectCommand({ Bucket: this.#bucket, Key: this.#key }))
    const read = await Body?.transformToByteArray()
    if (read === undefined || !this.#body.equals(read))
      throw new ConfigInvalid('ARCHIVE_URL: what was written is read otherwise')
    return 'an object can be written once, and read'
  }

  async upload(): Promise<string> {
    const key = `${this.#key}-multipart`
    await this.#uploadTo(key)
    // Asked when two archivers may be at work on one object.
    await this.#client.send(new ListMultipartUploadsCommand({ Bucket: this.#bucket, Prefix: key }))
    return (await isRefused(this.#uploadTo(key)))
      ? 'an object can be uploaded in parts, once'
      : 'an object can be uploaded in parts; the server ignores If-None-Match there, so frequency looks itself'
  }

  /** What cannot be removed is named. */
  async *cleanUp(): Findings {
    const name = 'clean-up'
    for (const { key, uploadId } of this.#uploads) {
      const command = new AbortMultipartUploadCommand({ Bucket: this.#bucket, Key: key, UploadId: uploadId })
      await inTime(this.#client.send(command)).catch(() => {})
    }
    for (const { key, versionId } of this.#written) {
      const command = new DeleteObjectCommand({ Bucket: this.#bucket, Key: key, VersionId: versionId })
      const found = await this.find(name, async () => {
        await this.#client.send(command)
        return key
      })
      if (found.result !== 'ok') yield { name, result: 'warning', detail: `${key} is left: ${found.detail}` }
    }
  }

  async #put(): Promise<void> {
    const Key = this.#key
    const command = new PutObjectCommand({ Bucket: this.#bucket, Key, Body: this.#body, IfNoneMatch: '*' })
    const { VersionId } = await this.#client.send(command)
    this.#written.push({ key: Key, versionId: VersionId })
  }

  async #uploadTo(Key: string): Promise<void> {
    const target = { Bucket: this.#bucket, Key }
    const { UploadId } = await this.#client.send(new CreateMultipartUploadCommand(target))
    if (UploadId === undefined) throw new ConfigInvalid('ARCHIVE_URL: the server gives no id of an upload')
    this.#uploads.push({ key: Key, uploadId: UploadId })
    const part = { PartNumber: 1, Body: this.#body }
    const { ETag } = await this.#client.send(new UploadPartCommand({ ...target, UploadId, ...part }))
    const { VersionId } = await this.#client.send(
      new CompleteMultipartUploadCommand({
        ...target,
        UploadId,
        IfNoneMatch: '*',
        MultipartUpload: { Parts: [{ PartNumber: 1, ETag }] },
      }),
    )
    this.#uploads.pop()
    this.#written.push({ key: Key, versionId: VersionId })
  }
}

async function isRefused(write: Promise<void>): Promise<boolean> {
  try {
    await write
    return false
  } catch (error) {
    if (statusOf(error) === 412) return true
    throw error
  }
}

/** Compares each answer's Date with the clock here; gives what was found. */
function watchClock(client: S3Client): () => Finding {
  let skewMs: number | undefined
  client.middlewareStack.add(
    next => async args => {
      const sentAt = Date.now()
      const result = await next(args)
      const { headers } = result.response as { headers?: Record<string, string> }
      const date = Date.parse(headers?.date ?? '')
      // A date in whole seconds is half a second behind, on average.
      if (!Number.isNaN(date)) skewMs = (sentAt + Date.now()) / 2 - (date + 500)
      return result
    },
    // What is low here sees the answer before it is read, also one that is a refusal.
    { step: 'deserialize', priority: 'low', name: 'watchClock' },
  )
  return () => clockFinding(skewMs)
}

function clockFinding(skewMs: number | undefined): Finding {
  const name = 'clock'
  if (skewMs === undefined) return { name, result: 'skipped', detail: 'the S3 server has not said its time' }
  const off = Math.abs(skewMs)
  if (off < SKEW_MS_NOTED)
    return { name, result: 'ok', detail: 'it goes with that of the S3 server, to within a few seconds' }
  const detail = `it is ${Math.round(off / 1000)} s ${skewMs > 0 ? 'ahead of' : 'behind'} that of the S3 server: set it by NTP`
  return { name, result: off > SKEW_MS_MAX ? 'trouble' : 'warning', detail }
}
