import type { Readable } from 'node:stream'
import {
  GetObjectCommand,
  HeadBucketCommand,
  ListObjectsV2Command,
  NoSuchKey,
  S3Client,
  S3ServiceException,
} from '@aws-sdk/client-s3'
import { Upload } from '@aws-sdk/lib-storage'
import type { Config } from '../config.ts'
import { ConfigInvalid, ObjectNotFound, StoreUnavailable } from '../errors.ts'
import type { ObjectStore } from './store.ts'

/** The smallest part that S3 takes (but for the last), and so the least memory that an upload can hold. */
const PART_BYTES = 5 * 1024 * 1024
const PARTS_IN_FLIGHT_MAX = 2
const CONNECT_MS_MAX = 5_000
const IDLE_MS_MAX = 30_000
const ATTEMPTS_MAX = 4

/** Answers to HeadBucket that a person has to mend, by status. */
const REFUSALS: Record<number, string> = {
  301: 'the bucket is in another region: set AWS_REGION',
  400: 'the request was refused: check AWS_REGION and the credentials',
  401: 'the credentials were refused',
  403: 'access was refused: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what they may do',
  404: 'the bucket does not exist',
}

class S3Store implements ObjectStore {
  readonly description: string
  readonly #client: S3Client
  readonly #bucket: string

  constructor(client: S3Client, bucket: string, prefix: string) {
    this.#client = client
    this.#bucket = bucket
    this.description = `S3, s3://${bucket}/${prefix}`
  }

  async check(): Promise<void> {
    try {
      await this.#client.send(new HeadBucketCommand({ Bucket: this.#bucket }))
    } catch (cause) {
      const status = cause instanceof S3ServiceException ? cause.$metadata.httpStatusCode : undefined
      const refusal = status === undefined ? refusalWithoutAnswer(cause) : REFUSALS[status]
      if (refusal !== undefined)
        throw new ConfigInvalid(`ARCHIVE_URL: s3://${this.#bucket}: ${refusal}.`, { cause })
      throw new StoreUnavailable(`S3 cannot be used now: ${messageOf(cause)}`, { cause })
    }
  }

  async put(key: string, body: Readable): Promise<void> {
    const upload = new Upload({
      client: this.#client,
      params: { Bucket: this.#bucket, Key: key, Body: body, ContentType: contentTypeOf(key) },
      partSize: PART_BYTES,
      queueSize: PARTS_IN_FLIGHT_MAX,
      leavePartsOnError: false,
    })
    try {
      await upload.done()
    } catch (cause) {
      body.destroy()
      throw new StoreUnavailable(`${key} was not stored: ${messageOf(cause)}`, { cause })
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

/**
 * Opens a bucket with the AWS SDK's own settings (`AWS_ACCESS_KEY_ID`, `AWS_REGION`,
 * `AWS_ENDPOINT_URL_S3`, profiles, roles …). A server that does not answer is waited for.
 *
 * @throws ConfigInvalid for a bucket that does not exist, or that may not be used.
 */
export async function openS3Store(
  location: { bucket: string; prefix: string },
  { s3ForcePathStyle }: Pick<Config, 's3ForcePathStyle'>,
): Promise<ObjectStore> {
  const hasEndpoint = (process.env.AWS_ENDPOINT_URL_S3 ?? process.env.AWS_ENDPOINT_URL) !== undefined
  const hasRegion = (process.env.AWS_REGION ?? process.env.AWS_DEFAULT_REGION) !== undefined
  const client = new S3Client({
    forcePathStyle: s3ForcePathStyle,
    maxAttempts: ATTEMPTS_MAX,
    // Servers other than AWS have no regions, but requests are signed for one.
    ...(hasEndpoint && !hasRegion && { region: 'us-east-1' }),
    requestHandler: {
      connectionTimeout: CONNECT_MS_MAX,
      requestTimeout: IDLE_MS_MAX,
      throwOnRequestTimeout: true,
    },
  })
  const store = new S3Store(client, location.bucket, location.prefix)
  try {
    await store.check()
  } catch (error) {
    if (!(error instanceof StoreUnavailable)) {
      client.destroy()
      throw error
    }
  }
  return store
}
