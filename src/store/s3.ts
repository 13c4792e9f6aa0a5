import { randomUUID } from 'node:crypto'
import type { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import {
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  type GetObjectCommandOutput,
  HeadBucketCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3'
import type { Config } from '../config/config.ts'
import { ObjectNotFound, StoreUnavailable } from '../errors.ts'
import { withTimeLimit } from '../process/time-limit.ts'
import {
  asStoreError,
  conditionIgnored,
  conditionUnknown,
  contentTypeOf,
  createS3Client,
  isNoSuchKey,
  messageOf,
  readMessageOf,
  statusOf,
  watchDate,
  watchRetries,
} from './s3-client.ts'
import { type Move, moveObject } from './s3-move.ts'
import { abortAbandoned, uploadStream } from './s3-upload.ts'
import type {
  ByteRange,
  Created,
  ObjectStore,
  ReadAnswer,
  StoredObject,
  StoreReader,
  StoreStats,
} from './store.ts'

/** How long a start waits for a silent server. The archiver calls `check` again before it archives. */
const FIRST_ANSWER_MS_MAX = 3_000
/** A larger log record takes long to write, and other archivers wait for the next number meanwhile. */
const INLINE_BYTES_MAX = 1024 * 1024
/** Limit of keys in one DeleteObjects request. */
const REMOVED_KEYS_MAX = 1_000
/** Retries of a `create` that meets another write of the same key (409), with pauses that double. */
const CONFLICTS_MAX = 8
const CONFLICT_MS_MIN = 50
const CONFLICT_MS_MAX = 2_000

/**
 * Objects in a bucket. Only PutObject is used with a condition: Ceph before Squid ignores the condition on
 * CompleteMultipartUpload.
 */
export class S3Store implements ObjectStore {
  readonly description: string
  readonly stats: StoreStats = { retries: 0, failedPuts: 0 }
  readonly inlineBytesMax = INLINE_BYTES_MAX
  readonly #client: S3Client
  readonly #bucket: string
  readonly #prefix: string
  readonly #closed = new AbortController()
  #isProven = false

  constructor(client: S3Client, bucket: string, prefix: string) {
    this.#client = client
    this.#bucket = bucket
    this.#prefix = prefix
    this.description = `S3, s3://${bucket}/${prefix}`
    watchRetries(client, () => this.stats.retries++)
  }

  async check(): Promise<void> {
    await this.checkBucket()
    if (this.#isProven) return
    await this.#explain(() => this.#proveConditionalWrites())
    this.#isProven = true
    this.#abortAbandoned()
  }

  /** Checks that the bucket exists and may be used. Writes nothing. @throws like `check` */
  async checkBucket(): Promise<void> {
    await this.#explain(() => this.#client.send(new HeadBucketCommand({ Bucket: this.#bucket })))
  }

  async create(key: string, body: Buffer): Promise<Created> {
    for (let conflicts = 0; ; conflicts++) {
      const command = this.#putCommand(key, body, '*')
      const date = watchDate(command)
      try {
        await this.#client.send(command)
        return { outcome: 'created', date: date() }
      } catch (cause) {
        const status = statusOf(cause)
        if (status === 412) return { outcome: 'exists', date: date() }
        if (status === 501) throw conditionUnknown(cause)
        if (status !== 409 || conflicts >= CONFLICTS_MAX) throw this.#failedPut(key, cause)
      }
      this.stats.retries++
      const pause = Math.min(CONFLICT_MS_MAX, CONFLICT_MS_MIN * 2 ** conflicts)
      await delay(pause * (0.5 + Math.random() / 2))
    }
  }

  async replace(key: string, body: Buffer): Promise<void> {
    try {
      await this.#client.send(this.#putCommand(key, body))
    } catch (cause) {
      throw this.#failedPut(key, cause)
    }
  }

  async put(key: string, body: Readable): Promise<number> {
    try {
      return await uploadStream(this.#client, { Bucket: this.#bucket, Key: key }, body)
    } catch (cause) {
      throw this.#failedPut(key, cause)
    }
  }

  move(from: string, to: string): Promise<'moved' | 'gone'> {
    return this.#move({ bucket: this.#bucket, from, to })
  }

  async moveAll(moves: readonly Pick<Move, 'from' | 'to'>[]): Promise<('moved' | 'gone')[]> {
    const copied: string[] = []
    const remove = async (key: string): Promise<void> => {
      copied.push(key)
    }
    const results = await Promise.allSettled(
      moves.map(({ from, to }) => this.#move({ bucket: this.#bucket, from, to, remove })),
    )
    const outcomes = results.map(result => {
      if (result.status === 'rejected') throw result.reason
      return result.value
    })
    await this.remove(copied)
    return outcomes
  }

  async remove(keys: readonly string[]): Promise<void> {
    for (let at = 0; at < keys.length; at += REMOVED_KEYS_MAX) {
      const chunk = keys.slice(at, at + REMOVED_KEYS_MAX)
      try {
        await this.#removeChunk(chunk)
      } catch (cause) {
        const which = `Not all ${chunk.length} keys from ${chunk[0]} on`
        throw new StoreUnavailable(`${which} were removed: ${messageOf(cause)}`, { cause })
      }
    }
  }

  async read(key: string, range?: ByteRange): Promise<ReadAnswer> {
    try {
      return await this.#read(key, range)
    } catch (cause) {
      throw new StoreUnavailable(`${key} cannot be read: ${readMessageOf(cause)}`, { cause })
    }
  }

  async get(key: string): Promise<Readable> {
    try {
      const { Body } = await this.#client.send(new GetObjectCommand({ Bucket: this.#bucket, Key: key }))
      return Body as Readable
    } catch (cause) {
      if (isNoSuchKey(cause)) throw new ObjectNotFound(key)
      throw new StoreUnavailable(`${key} cannot be read: ${readMessageOf(cause)}`, { cause })
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

  localPath(): undefined {}

  async close(): Promise<void> {
    this.#closed.abort()
    this.#client.destroy()
  }

  async #move(move: Move): Promise<'moved' | 'gone'> {
    try {
      return await moveObject(this.#client, move)
    } catch (cause) {
      throw new StoreUnavailable(`${move.from} was not moved to ${move.to}: ${readMessageOf(cause)}`, {
        cause,
      })
    }
  }

  async #read(key: string, range: ByteRange | undefined): Promise<ReadAnswer> {
    const command = new GetObjectCommand({ Bucket: this.#bucket, Key: key, Range: rangeHeaderOf(range) })
    const date = watchDate(command)
    try {
      const answer = await this.#client.send(command)
      const at = date()
      return { object: await objectOf(answer, range), date: at }
    } catch (error) {
      if (isNoSuchKey(error)) return { object: undefined, date: date() }
      if (statusOf(error) !== 416 || range === undefined) throw error
      return this.#readPastEnd(key, range)
    }
  }

  /** Answers a range that begins past the end. The 416 itself has neither size nor time. */
  async #readPastEnd(key: string, { start }: ByteRange): Promise<ReadAnswer> {
    const command = new HeadObjectCommand({ Bucket: this.#bucket, Key: key })
    const date = watchDate(command)
    const { ContentLength: size, LastModified } = await this.#client.send(command)
    if (size === undefined || LastModified === undefined)
      throw new Error('the answer to HEAD has no size or time')
    if (size > start) throw new Error('the object was replaced while it was read')
    return { object: { body: Buffer.alloc(0), size, modifiedAt: LastModified.getTime() }, date: date() }
  }

  async #removeChunk(keys: readonly string[]): Promise<void> {
    const [only] = keys
    if (keys.length === 1) {
      await this.#client.send(new DeleteObjectCommand({ Bucket: this.#bucket, Key: only }))
      return
    }
    const Objects = keys.map(Key => ({ Key }))
    const { Errors = [] } = await this.#client.send(
      new DeleteObjectsCommand({ Bucket: this.#bucket, Delete: { Objects, Quiet: true } }),
    )
    const [error] = Errors.filter(({ Code }) => Code !== 'NoSuchKey')
    if (error !== undefined) throw new Error(`${error.Key}: ${error.Code}: ${error.Message}`)
  }

  #putCommand(key: string, body: Buffer, condition?: '*'): PutObjectCommand {
    return new PutObjectCommand({
      Bucket: this.#bucket,
      Key: key,
      Body: body,
      ContentType: contentTypeOf(key),
      IfNoneMatch: condition,
    })
  }

  #failedPut(key: string, cause: unknown): Error {
    this.stats.failedPuts++
    return new StoreUnavailable(`${key} was not stored: ${messageOf(cause)}`, { cause })
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

  /** @throws ConfigInvalid if a setting is the reason why `ask` fails, else StoreUnavailable */
  async #explain(ask: () => Promise<unknown>): Promise<void> {
    try {
      await ask()
    } catch (cause) {
      throw asStoreError(cause, this.#bucket)
    }
  }

  /**
   * Writes a probe object twice on condition, and removes it.
   *
   * @throws ConfigInvalid if the server accepts the second write: archives on it would not be exactly-once.
   */
  async #proveConditionalWrites(): Promise<void> {
    const key = `${this.#prefix}/_frequency/probe-${randomUUID()}`
    const put = () => this.#client.send(this.#putCommand(key, Buffer.from('probe'), '*'))
    try {
      await put()
      const isRefused = await put().then(
        () => false,
        error => {
          if (statusOf(error) === 412) return true
          throw error
        },
      )
      if (!isRefused) throw conditionIgnored()
    } catch (error) {
      if (statusOf(error) === 501) throw conditionUnknown(error)
      throw error
    } finally {
      await this.#client.send(new DeleteObjectCommand({ Bucket: this.#bucket, Key: key }))
    }
  }

  /** Runs in the background. If it fails, the next process does it. */
  #abortAbandoned(): void {
    const location = { bucket: this.#bucket, prefix: `${this.#prefix}/_frequency/staged/` }
    abortAbandoned(this.#client, location, this.#closed.signal).catch(() => {})
  }
}

/** The `Range` header of a request. S3 refuses an empty range, so the shortest has one byte. */
function rangeHeaderOf(range: ByteRange | undefined): string | undefined {
  if (range === undefined) return undefined
  return `bytes=${range.start}-${range.start + Math.max(range.length, 1) - 1}`
}

/** Reads an answer to its last byte. @throws Error if it is incomplete */
async function objectOf(answer: GetObjectCommandOutput, range: ByteRange | undefined): Promise<StoredObject> {
  const { Body, ContentLength, ContentRange, LastModified } = answer
  const read = await buffer(Body as Readable)
  if (LastModified === undefined) throw new Error('the answer has no Last-Modified')
  if (ContentLength !== undefined && read.length !== ContentLength)
    throw new Error(`the answer has ${read.length} bytes of ${ContentLength}`)
  const modifiedAt = LastModified.getTime()
  if (range === undefined) return { body: read, size: read.length, modifiedAt }
  // A server may ignore the range, and send the whole object.
  if (ContentRange === undefined)
    return { body: read.subarray(range.start, range.start + range.length), size: read.length, modifiedAt }
  const size = Number(/\/(\d+)$/.exec(ContentRange)?.[1])
  if (!Number.isSafeInteger(size)) throw new Error(`the answer has the range ${ContentRange}`)
  return { body: read.subarray(0, range.length), size, modifiedAt }
}

/**
 * Opens a bucket for writing. If the server cannot be reached within 3 seconds, it resolves nonetheless.
 *
 * @throws ConfigInvalid if the bucket does not exist or may not be used, or the server has no conditional writes.
 */
export async function openS3Store(
  location: { bucket: string; prefix: string },
  config: Pick<Config, 's3ForcePathStyle' | 's3IdleMsMax'>,
): Promise<ObjectStore> {
  const store = new S3Store(createS3Client(config), location.bucket, location.prefix)
  try {
    await withTimeLimit(store.check(), FIRST_ANSWER_MS_MAX, () => {})
  } catch (error) {
    if (!(error instanceof StoreUnavailable)) {
      await store.close()
      throw error
    }
  }
  return store
}

/**
 * Opens a bucket for reading only.
 *
 * @throws ConfigInvalid if the bucket does not exist or may not be used.
 * @throws StoreUnavailable if the server cannot be reached.
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
