import { randomUUID } from 'node:crypto'
import type { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import {
  AbortMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  NoSuchKey,
  PutObjectCommand,
  S3Client,
  S3ServiceException,
} from '@aws-sdk/client-s3'
import { Upload } from '@aws-sdk/lib-storage'
import type { Config } from '../config.ts'
import { ConfigInvalid, ObjectExists, ObjectNotFound, StoreUnavailable } from '../errors.ts'
import type { ObjectStore, StoreReader, StoreStats } from './store.ts'

/** The smallest part that S3 takes (but for the last), and so the least memory that an upload can hold. */
const PART_BYTES = 5 * 1024 * 1024
const PARTS_IN_FLIGHT_MAX = 2
const CONNECT_MS_MAX = 5_000
const ATTEMPTS_MAX = 4
/** How long a start waits for a server that says nothing; it is asked again before anything is archived. */
const FIRST_ANSWER_MS_MAX = 3_000

/** Answers to HeadBucket that a person has to mend, by status. */
const REFUSALS: Record<number, string> = {
  301: 'the bucket is in another region: set AWS_REGION',
  400: 'the request was refused: check AWS_REGION and the credentials',
  401: 'the credentials were refused',
  403: 'access was refused: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what they may do',
  404: 'the bucket does not exist',
}

/**
 * Objects in a bucket. Every write carries `If-None-Match: *`, which makes one of several writers of a
 * key win.
 *
 * Some servers honour it on PutObject and ignore it on CompleteMultipartUpload (Ceph before Squid). So
 * a multipart upload looks for the object once it is created; and a writer that may have a rival, after
 * it has written, aborts all other uploads of the key and sees that the object is its own. A rival's
 * upload was either there to be aborted, or came later and found the object.
 */
class S3Store implements ObjectStore {
  readonly description: string
  readonly stats: StoreStats = { retries: 0, failedPuts: 0 }
  readonly #client: S3Client
  readonly #bucket: string
  readonly #prefix: string
  #isProven = false

  constructor(client: S3Client, bucket: string, prefix: string) {
    this.#client = client
    this.#bucket = bucket
    this.#prefix = prefix
    this.description = `S3, s3://${bucket}/${prefix}`
    this.#refuseUploadsOfExisting()
    this.#countRetries()
  }

  async check(): Promise<void> {
    await this.checkBucket()
    if (this.#isProven) return
    await this.#explain(() => this.#proveConditionalWrites())
    this.#isProven = true
  }

  /** Asks for the bucket, and writes nothing. */
  async checkBucket(): Promise<void> {
    await this.#explain(() => this.#client.send(new HeadBucketCommand({ Bucket: this.#bucket })))
  }

  async put(key: string, body: Readable, isContested = () => false): Promise<number> {
    // Whoever waits for the put hears of it; unheard here it would end the process.
    body.on('error', () => {})
    const upload = new Upload({
      client: endingWithAFailure(this.#client, body),
      params: {
        Bucket: this.#bucket,
        Key: key,
        Body: body,
        ContentType: contentTypeOf(key),
        IfNoneMatch: '*',
      },
      partSize: PART_BYTES,
      queueSize: PARTS_IN_FLIGHT_MAX,
      leavePartsOnError: false,
    })
    let bytes = 0
    upload.on('httpUploadProgress', ({ loaded = 0 }) => {
      bytes = loaded
    })
    try {
      const { ETag } = await upload.done()
      if (isContested()) await this.#ensureOwn(key, ETag)
      return bytes
    } catch (cause) {
      if (cause instanceof ObjectExists) throw cause
      if (statusOf(cause) === 412) throw new ObjectExists(key)
      this.stats.failedPuts++
      throw new StoreUnavailable(`${key} was not stored: ${messageOf(cause)}`, { cause })
    } finally {
      body.destroy()
    }
  }

  async get(key: string): Promise<Readable> {
    try {
      const { Body } = await this.#client.send(new GetObjectCommand({ Bucket: this.#bucket, Key: key }))
      return Body as Readable
    } catch (cause) {
      if (cause instanceof NoSuchKey) throw new ObjectNotFound(key)
      throw new StoreUnavailable(`${key} cannot be read: ${messageOf(cause)}`, { cause })
    }
  }

  async *list(prefix: string): AsyncIterable<string> {
    let token: string | undefined
    do {
      const page = await this.#listPage(prefix, token)
      for (const { Key } of page.Contents ?? []) if (Key !== undefined) yield Key
      token = page.NextContinuationToken
    } while (token !== undefined)
  }

  async close(): Promise<void> {
    this.#client.destroy()
  }

  async #listPage(prefix: string, token: string | undefined) {
    try {
      return await this.#client.send(
        new ListObjectsV2Command({ Bucket: this.#bucket, Prefix: prefix, ContinuationToken: token }),
      )
    } catch (cause) {
      throw new StoreUnavailable(`${prefix} cannot be listed: ${messageOf(cause)}`, { cause })
    }
  }

  /** Says which setting has to be mended where that is why `ask` fails. */
  async #explain(ask: () => Promise<unknown>): Promise<void> {
    try {
      await ask()
    } catch (cause) {
      throw asStoreError(cause, this.#bucket)
    }
  }

  /** A store that takes a second write under a condition that forbids it cannot keep an archive exact. */
  async #proveConditionalWrites(): Promise<void> {
    const probe = {
      Bucket: this.#bucket,
      Key: `${this.#prefix}/_frequency/probe-${randomUUID()}`,
      IfNoneMatch: '*',
    }
    await this.#client.send(new PutObjectCommand({ ...probe, Body: 'probe' }))
    const isRefused = await this.#client.send(new PutObjectCommand({ ...probe, Body: 'probe' })).then(
      () => false,
      error => {
        if (statusOf(error) === 412) return true
        throw error
      },
    )
    await this.#client.send(new DeleteObjectCommand({ Bucket: probe.Bucket, Key: probe.Key }))
    if (!isRefused) {
      throw new ConfigInvalid(
        'ARCHIVE_URL: this S3 server ignores If-None-Match on PutObject, so two writers could overwrite each other.',
      )
    }
  }

  #refuseUploadsOfExisting(): void {
    this.#client.middlewareStack.add(
      (next, context) => async args => {
        const result = await next(args)
        if (context.commandName === 'CreateMultipartUploadCommand') {
          const { Key, UploadId } = result.output as { Key: string; UploadId: string }
          if ((await this.#etagOf(Key)) !== undefined) {
            await this.#abortUpload(Key, UploadId)
            throw new ObjectExists(Key)
          }
        }
        return result
      },
      { step: 'initialize', name: 'refuseUploadsOfExisting' },
    )
  }

  /** Behind the client's own retries, so that it is called for each of them. */
  #countRetries(): void {
    this.#client.middlewareStack.add(
      next => async args => {
        const { request } = args as { request?: { headers?: Record<string, string> } }
        if (request?.headers?.['amz-sdk-request']?.startsWith('attempt=1;') === false) this.stats.retries++
        return next(args)
      },
      { step: 'finalizeRequest', priority: 'low', name: 'countRetries' },
    )
  }

  async #ensureOwn(key: string, etag: string | undefined): Promise<void> {
    const { Uploads = [] } = await this.#client.send(
      new ListMultipartUploadsCommand({ Bucket: this.#bucket, Prefix: key }),
    )
    for (const { Key, UploadId } of Uploads)
      if (Key === key && UploadId !== undefined) await this.#abortUpload(key, UploadId)
    if ((await this.#etagOf(key)) !== etag) throw new ObjectExists(key)
  }

  async #abortUpload(key: string, uploadId: string): Promise<void> {
    try {
      await this.#client.send(
        new AbortMultipartUploadCommand({ Bucket: this.#bucket, Key: key, UploadId: uploadId }),
      )
    } catch (error) {
      // It has ended by itself meanwhile.
      if (statusOf(error) !== 404) throw error
    }
  }

  async #etagOf(key: string): Promise<string | undefined> {
    try {
      return (await this.#client.send(new HeadObjectCommand({ Bucket: this.#bucket, Key: key }))).ETag
    } catch (error) {
      if (statusOf(error) === 404) return undefined
      throw error
    }
  }
}

/**
 * A client for one upload, which ends its body when a request fails for good. lib-storage does not: of its
 * uploaders one fails, and the other goes on waiting for the body's next part, so that the failure is
 * not told before that part is full, or the body ends.
 */
function endingWithAFailure(client: S3Client, body: Readable): S3Client {
  const send = async (command: Parameters<S3Client['send']>[0]): Promise<unknown> => {
    try {
      return await client.send(command)
    } catch (error) {
      body.destroy(error as Error)
      throw error
    }
  }
  return Object.create(client, { send: { value: send } })
}

export function statusOf(error: unknown): number | undefined {
  return error instanceof S3ServiceException ? error.$metadata.httpStatusCode : undefined
}

/** What S3 answered or did not, as what has to be mended, or as what may pass. */
export function asStoreError(cause: unknown, bucket: string): Error {
  if (cause instanceof ConfigInvalid) return cause
  const status = statusOf(cause)
  const refusal = status === undefined ? refusalWithoutAnswer(cause) : REFUSALS[status]
  if (refusal !== undefined) return new ConfigInvalid(`ARCHIVE_URL: s3://${bucket}: ${refusal}.`, { cause })
  return new StoreUnavailable(`S3 cannot be used now: ${messageOf(cause)}`, { cause })
}

/** What the SDK itself lacks, before it asks the server anything. */
function refusalWithoutAnswer(cause: unknown): string | undefined {
  const { name, message } = cause as Error
  if (name === 'CredentialsProviderError')
    return 'there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY'
  if (message === 'Region is missing') return 'no region is set: set AWS_REGION'
  return undefined
}

function messageOf(cause: unknown): string {
  const { name, message, code } = cause as NodeJS.ErrnoException
  return [code ?? name, message].filter(part => part !== undefined && part !== '').join(': ')
}

function contentTypeOf(key: string): string {
  if (key.endsWith('.gz')) return 'application/gzip'
  if (key.endsWith('.zst')) return 'application/zstd'
  return key.endsWith('.json') ? 'application/json' : 'application/x-ndjson'
}

/** A client with the AWS SDK's own settings (`AWS_ACCESS_KEY_ID`, `AWS_REGION`, `AWS_ENDPOINT_URL_S3`, profiles, roles …). */
export function createS3Client({
  s3ForcePathStyle,
  s3IdleMsMax,
}: Pick<Config, 's3ForcePathStyle' | 's3IdleMsMax'>): S3Client {
  const hasEndpoint = (process.env.AWS_ENDPOINT_URL_S3 ?? process.env.AWS_ENDPOINT_URL) !== undefined
  const hasRegion = (process.env.AWS_REGION ?? process.env.AWS_DEFAULT_REGION) !== undefined
  // Which Node the SDK will want next year is for those who choose its version, not for those who run this.
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true'
  return new S3Client({
    forcePathStyle: s3ForcePathStyle,
    maxAttempts: ATTEMPTS_MAX,
    // Servers other than AWS have no regions, but requests are signed for one.
    ...(hasEndpoint && !hasRegion && { region: 'us-east-1' }),
    requestHandler: {
      connectionTimeout: CONNECT_MS_MAX,
      // Not `requestTimeout`: that is for the whole request, and a slow line takes long for a part.
      socketTimeout: s3IdleMsMax,
    },
  })
}

/**
 * Opens a bucket to write to it. A server that does not answer is waited for.
 *
 * @throws ConfigInvalid for a bucket that does not exist, or that may not be used, or whose server
 * ignores conditional writes.
 */
export async function openS3Store(
  location: { bucket: string; prefix: string },
  config: Pick<Config, 's3ForcePathStyle' | 's3IdleMsMax'>,
): Promise<ObjectStore> {
  const store = new S3Store(createS3Client(config), location.bucket, location.prefix)
  const answered = new AbortController()
  const patience = delay(FIRST_ANSWER_MS_MAX, undefined, { signal: answered.signal }).catch(() => {})
  try {
    await Promise.race([store.check(), patience])
  } catch (error) {
    if (!(error instanceof StoreUnavailable)) {
      await store.close()
      throw error
    }
  } finally {
    answered.abort()
  }
  return store
}

/**
 * Opens a bucket to read it.
 *
 * @throws ConfigInvalid for a bucket that does not exist, or that may not be used.
 * @throws StoreUnavailable where the server does not answer.
 */
export async function openS3Reader(
  location: { bucket: string; prefix: string },
  config: Pick<Config, 's3ForcePathStyle' | 's3IdleMsMax'>,
): Promise<StoreReader> {
  const store = new S3Store(createS3Client(config), location.bucket, location.prefix)
  try {
    await store.checkBucket()
  } catch (error) {
    await store.close()
    throw error
  }
  return store
}
