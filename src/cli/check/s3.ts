import { randomBytes, randomUUID } from 'node:crypto'
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
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
import type { Config } from '../../config/config.ts'
import { ConfigInvalid } from '../../errors.ts'
import {
  asStoreError,
  conditionIgnored,
  conditionUnknown,
  createS3Client,
  dateOf,
  isNoSuchKey,
  statusOf,
} from '../../store/s3-client.ts'
import { copySourceOf } from '../../store/s3-move.ts'
import { type Finding, type Findings, inTime, messageOf, StepOverdue } from './finding.ts'
import { checkLifecycle } from './s3-lifecycle.ts'

const PROBE_BYTES = 1024
/** The part of the probe that is read by a ranged request. */
const RANGE = { start: 100, end: 200 }
/** S3 refuses a request if the clock of its signer differs by more. */
const SKEW_MS_MAX = 15 * 60 * 1000
/** Smaller differences are not reported: the server sends its time in whole seconds, and answers take time. */
const SKEW_MS_NOTED = 10_000

/** Tests the operations that an archiver uses on the bucket. Deletes what it has written. */
export async function* checkS3(
  { bucket, prefix }: { bucket: string; prefix: string },
  config: Pick<Config, 's3ForcePathStyle' | 's3IdleMsMax' | 'retention'>,
): Findings {
  let client: S3Client
  try {
    client = createS3Client(config)
  } catch (error) {
    yield { name: 'bucket', result: 'trouble', detail: messageOf(error) }
    return
  }
  const readClock = watchClock(client)
  const trial = new S3Trial(client, bucket, `${prefix}/_frequency/check-${randomUUID()}`)
  try {
    const reached = await trial.find('bucket', () => trial.reach())
    yield reached
    if (reached.result === 'ok') {
      yield await trial.find('listing', () => trial.list(`${prefix}/`))
      yield await trial.find('missing', () => trial.miss())
      yield await trial.find('writing', () => trial.write())
      yield await trial.find('multipart', () => trial.upload())
      yield await trial.find('moving', () => trial.move())
      yield* trial.cleanUp()
      yield await checkLifecycle(client, bucket, prefix, config.retention)
    } else {
      yield { name: 'writing', result: 'skipped', detail: 'the bucket was not reached' }
    }
    yield readClock()
  } finally {
    // The caller may stop before the last finding. After `cleanUp` has run, this call does nothing.
    for await (const _ of trial.cleanUp());
    client.destroy()
  }
}

class S3Trial {
  readonly #client: S3Client
  readonly #bucket: string
  readonly #key: string
  readonly #body = randomBytes(PROBE_BYTES)
  /** Objects and uploads that `cleanUp` deletes. */
  readonly #written: { key: string; versionId: string | undefined }[] = []
  readonly #uploads: { key: string; uploadId: string }[] = []

  constructor(client: S3Client, bucket: string, key: string) {
    this.#client = client
    this.#bucket = bucket
    this.#key = key
  }

  /** Runs one step. @returns a finding with the text of the step, or with its error */
  async find(name: string, step: () => Promise<string>): Promise<Finding> {
    try {
      return { name, result: 'ok', detail: await inTime(step()) }
    } catch (error) {
      const explained = error instanceof StepOverdue ? error : asStoreError(error, this.#bucket)
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

  /** An archiver reads the log's next record again and again until it exists. So a missing object must get a 404. */
  async miss(): Promise<string> {
    try {
      await this.#read(`${this.#key}-missing`)
    } catch (error) {
      if (isNoSuchKey(error)) return 'a missing object is answered with 404'
      if (statusOf(error) === 403)
        throw new ConfigInvalid(
          'ARCHIVE_URL: a missing object is answered with 403. AWS does so if s3:ListBucket is not allowed. Allow s3:ListBucket for the bucket, and s3:GetObject for its objects.',
        )
      throw error
    }
    throw new ConfigInvalid('ARCHIVE_URL: the server returned an object that was never written')
  }

  async write(): Promise<string> {
    try {
      await this.#put(this.#key)
      if (!(await isRefused(this.#put(this.#key)))) throw conditionIgnored()
    } catch (error) {
      throw statusOf(error) === 501 ? conditionUnknown(error) : error
    }
    const { start, end } = RANGE
    const whole = await this.#read(this.#key)
    const part = await this.#read(this.#key, `bytes=${start}-${end - 1}`)
    if (!this.#body.equals(whole) || !this.#body.subarray(start, end).equals(part))
      throw new ConfigInvalid('ARCHIVE_URL: the bucket returned other bytes than were written')
    return 'an object can be written only once, and read, also in part'
  }

  async upload(): Promise<string> {
    const key = `${this.#key}-multipart`
    await this.#uploadTo(key)
    const works = 'an object can be uploaded in parts'
    // An archiver lists uploads when it starts, to abort those that a dead archiver has left behind.
    const command = new ListMultipartUploadsCommand({ Bucket: this.#bucket, Prefix: key })
    return this.#client.send(command).then(
      () => works,
      error =>
        `${works}; unfinished uploads of dead archivers are not aborted (ListMultipartUploads: ${messageOf(error)})`,
    )
  }

  async move(): Promise<string> {
    const [from, to] = [`${this.#key}-staged`, `${this.#key}-moved`]
    await this.#put(from)
    const CopySource = copySourceOf({ bucket: this.#bucket, from })
    const copied = await this.#client.send(
      new CopyObjectCommand({ Bucket: this.#bucket, Key: to, CopySource }),
    )
    this.#written.push({ key: to, versionId: copied.VersionId })
    const removed = await this.#client.send(new DeleteObjectCommand({ Bucket: this.#bucket, Key: from }))
    // With versioning, the object still exists under a delete marker. Then `cleanUp` deletes both.
    if (removed.VersionId === undefined) this.#written.splice(-2, 1)
    else this.#written.push({ key: from, versionId: removed.VersionId })
    if (!this.#body.equals(await this.#read(to)))
      throw new ConfigInvalid('ARCHIVE_URL: the bucket returned other bytes than were copied')
    return 'an object can be copied and deleted'
  }

  /** Deletes objects and uploads. Yields a warning for each object that remains. A second call does nothing. */
  async *cleanUp(): Findings {
    const name = 'clean-up'
    for (const { key, uploadId } of this.#uploads.splice(0)) {
      const command = new AbortMultipartUploadCommand({ Bucket: this.#bucket, Key: key, UploadId: uploadId })
      await inTime(this.#client.send(command)).catch(() => {})
    }
    for (const { key, versionId } of this.#written.splice(0)) {
      const command = new DeleteObjectCommand({ Bucket: this.#bucket, Key: key, VersionId: versionId })
      const found = await this.find(name, async () => {
        await this.#client.send(command)
        return key
      })
      if (found.result !== 'ok')
        yield { name, result: 'warning', detail: `${key} could not be deleted: ${found.detail}` }
    }
  }

  async #put(Key: string): Promise<void> {
    const command = new PutObjectCommand({ Bucket: this.#bucket, Key, Body: this.#body, IfNoneMatch: '*' })
    const { VersionId } = await this.#client.send(command)
    this.#written.push({ key: Key, versionId: VersionId })
  }

  async #read(Key: string, Range?: string): Promise<Uint8Array> {
    const { Body } = await this.#client.send(new GetObjectCommand({ Bucket: this.#bucket, Key, Range }))
    return Body === undefined ? new Uint8Array() : Body.transformToByteArray()
  }

  async #uploadTo(Key: string): Promise<void> {
    const target = { Bucket: this.#bucket, Key }
    const { UploadId } = await this.#client.send(new CreateMultipartUploadCommand(target))
    if (UploadId === undefined) throw new ConfigInvalid('ARCHIVE_URL: the server returned no upload id')
    this.#uploads.push({ key: Key, uploadId: UploadId })
    const part = { PartNumber: 1, Body: this.#body }
    const { ETag } = await this.#client.send(new UploadPartCommand({ ...target, UploadId, ...part }))
    const { VersionId } = await this.#client.send(
      new CompleteMultipartUploadCommand({
        ...target,
        UploadId,
        MultipartUpload: { Parts: [{ PartNumber: 1, ETag }] },
      }),
    )
    this.#uploads.pop()
    this.#written.push({ key: Key, versionId: VersionId })
  }
}

/** Whether the write fails because the object exists (412). Other errors are thrown. */
async function isRefused(write: Promise<void>): Promise<boolean> {
  try {
    await write
    return false
  } catch (error) {
    if (statusOf(error) === 412) return true
    throw error
  }
}

/** Compares the `Date` header of each response with the local clock. @returns a function that makes the finding */
function watchClock(client: S3Client): () => Finding {
  let skewMs: number | undefined
  client.middlewareStack.add(
    next => async args => {
      const sentAt = Date.now()
      const result = await next(args)
      const date = dateOf(result.response)
      // The date is cut to whole seconds, so on average it is half a second behind.
      if (date !== undefined) skewMs = (sentAt + Date.now()) / 2 - (date + 500)
      return result
    },
    // Low priority: it gets the raw response before the SDK parses it, so also the response to a refused request.
    { step: 'deserialize', priority: 'low', name: 'watchClock' },
  )
  return () => clockFinding(skewMs)
}

function clockFinding(skewMs: number | undefined): Finding {
  const name = 'clock'
  if (skewMs === undefined) return { name, result: 'skipped', detail: 'the S3 server sent no Date' }
  const off = Math.abs(skewMs)
  if (off < SKEW_MS_NOTED)
    return { name, result: 'ok', detail: 'within a few seconds of the clock of the S3 server' }
  const detail = `${Math.round(off / 1000)} s ${skewMs > 0 ? 'ahead of' : 'behind'} the clock of the S3 server: set it by NTP`
  return { name, result: off > SKEW_MS_MAX ? 'trouble' : 'warning', detail }
}
