/** The data of the S3 server, in memory: buckets, objects and multipart uploads. Methods throw S3Error. */
import { createHash, randomUUID } from 'node:crypto'
import { crc32Base64, S3Error } from './s3-wire.ts'

const PART_BYTES_MIN = 5 * 1024 * 1024
const PART_NUMBER_MAX = 10_000
const KEY_BYTES_MAX = 1_024
const LIST_KEYS_MAX = 1_000

export interface StoredObject {
  body: Buffer
  /** With quotation marks. */
  etag: string
  lastModified: Date
  /** Headers of an answer with the object: metadata, Content-Type and others. */
  headers: Record<string, string>
  /** Whether the bytes are lost although the key is still there. */
  isLost?: boolean
}

export interface Part {
  body: Buffer
  etag: string
  lastModified: Date
}

export interface Upload {
  uploadId: string
  key: string
  initiated: Date
  headers: Record<string, string>
  parts: Map<number, Part>
}

/** A part in a request to complete an upload. */
export interface PartReference {
  partNumber: number
  etag: string
  crc32?: string | undefined
}

export interface ListOptions {
  prefix: string
  delimiter: string
  startAfter: string
  continuationToken: string | undefined
  maxKeys: number
}

export interface Listing {
  objects: [key: string, object: StoredObject][]
  commonPrefixes: string[]
  nextContinuationToken: string | undefined
}

interface ListItem {
  item: string
  isPrefix: boolean
}

/** Differences from AWS, and limits. A test may change them at any time. */
export interface ServerTraits {
  /** Milliseconds by which the clock of the server is ahead, in `Date`, `Last-Modified` and the times of uploads. @default 0 */
  clockShiftMs: number
  /**
   * Which operations obey `If-None-Match: *`. With `PutObject`, CompleteMultipartUpload ignores it, as Ceph before Squid
   * does. With `unknown`, PutObject answers 501 to it. @default 'both'
   */
  condition: 'both' | 'PutObject' | 'nowhere' | 'unknown'
  /**
   * Whether an abort of a completed upload succeeds, and the next `collectGarbage` removes the bytes of the object: HEAD
   * then answers 200, and GET 404. radosgw 16.2 does so if completion and abort race. @default false
   */
  losesAborted: boolean
  /** Largest source of CopyObject. @default 5 GiB */
  copyBytesMax: number
  /** Smallest size of a part, except the last. @default 5 MiB */
  partBytesMin: number
  /** Keys that DeleteObjects does not delete: its answer of 200 has an error for each. @default none */
  undeletable: ReadonlySet<string>
}

export function defaultTraits(): ServerTraits {
  return {
    clockShiftMs: 0,
    condition: 'both',
    losesAborted: false,
    copyBytesMax: 5 * 1024 ** 3,
    partBytesMin: PART_BYTES_MIN,
    undeletable: new Set(),
  }
}

export class Buckets extends Map<string, Bucket> {
  readonly traits = defaultTraits()

  create(name: string): void {
    this.set(name, new Bucket(this.traits))
  }
}

export class Bucket {
  readonly objects = new Map<string, StoredObject>()
  readonly uploads = new Map<string, Upload>()
  /** The lifecycle configuration, if one was put. */
  lifecycle: Buffer | undefined
  readonly #traits: ServerTraits
  /** By upload id. */
  readonly #completed = new Map<string, StoredObject>()
  readonly #losses = new Set<StoredObject>()

  constructor(traits: ServerTraits) {
    this.#traits = traits
  }

  /** @param onlyNew whether an existing object is an error, PreconditionFailed (If-None-Match: *) */
  put(key: string, body: Buffer, headers: Record<string, string>, onlyNew: boolean): StoredObject {
    const { condition } = this.#traits
    if (onlyNew && condition === 'unknown')
      throw new S3Error(
        'NotImplemented',
        'A header you provided implies functionality that is not implemented',
      )
    const object = { body, etag: md5Etag(body), lastModified: this.#now(), headers }
    return this.#store(key, object, onlyNew && condition !== 'nowhere')
  }

  get(key: string): StoredObject {
    const object = this.objects.get(key)
    if (object === undefined || object.isLost)
      throw new S3Error('NoSuchKey', 'The specified key does not exist.')
    return object
  }

  /** Like get(), but also returns an object whose bytes are lost. */
  head(key: string): StoredObject {
    return this.objects.get(key) ?? this.get(key)
  }

  /** Removes the bytes of objects whose uploads were aborted after their completion. */
  collectGarbage(): void {
    for (const object of this.#losses) object.isLost = true
    this.#losses.clear()
  }

  list(options: ListOptions): Listing {
    const items = [...this.#items(options)]
    const page = items.slice(0, Math.min(options.maxKeys, LIST_KEYS_MAX))
    const last = page.at(-1)
    return {
      objects: page.filter(({ isPrefix }) => !isPrefix).map(({ item }) => [item, this.head(item)]),
      commonPrefixes: page.filter(({ isPrefix }) => isPrefix).map(({ item }) => item),
      nextContinuationToken: last && page.length < items.length ? encodeToken(last) : undefined,
    }
  }

  createUpload(key: string, headers: Record<string, string>): Upload {
    requireKeyLength(key)
    const upload = { uploadId: randomUUID(), key, initiated: this.#now(), headers, parts: new Map() }
    this.uploads.set(upload.uploadId, upload)
    return upload
  }

  upload(key: string, uploadId: string): Upload {
    const upload = this.uploads.get(uploadId)
    if (upload?.key !== key)
      throw new S3Error('NoSuchUpload', 'The specified multipart upload does not exist.')
    return upload
  }

  putPart(key: string, uploadId: string, partNumber: number, body: Buffer): Part {
    if (!Number.isInteger(partNumber) || partNumber < 1 || partNumber > PART_NUMBER_MAX) {
      throw new S3Error('InvalidArgument', 'Part number must be an integer between 1 and 10000, inclusive')
    }
    const part = { body, etag: md5Etag(body), lastModified: this.#now() }
    this.upload(key, uploadId).parts.set(partNumber, part)
    return part
  }

  /** @param onlyNew as in put(); if that fails, the upload stays open */
  /** @param condition If-None-Match: * (`onlyNew`), or If-Match: the ETag of the object that is replaced (`onlyOver`) */
  completeUpload(
    key: string,
    uploadId: string,
    references: PartReference[],
    { onlyNew, onlyOver }: { readonly onlyNew: boolean; readonly onlyOver: string | undefined },
  ): StoredObject {
    const upload = this.upload(key, uploadId)
    const parts = chosenParts(upload, references, this.#traits.partBytesMin)
    const body = Buffer.concat(parts.map(part => part.body))
    const object = { body, etag: multipartEtag(parts), lastModified: this.#now(), headers: upload.headers }
    const isObeyed = this.#traits.condition === 'both'
    if (isObeyed && onlyOver !== undefined && this.objects.get(key)?.etag !== onlyOver)
      throw preconditionFailed()
    this.#store(key, object, onlyNew && isObeyed)
    this.uploads.delete(uploadId)
    this.#completed.set(uploadId, object)
    return object
  }

  abortUpload(key: string, uploadId: string): void {
    const completed = this.#completed.get(uploadId)
    if (completed !== undefined && this.#traits.losesAborted) this.#losses.add(completed)
    else this.uploads.delete(this.upload(key, uploadId).uploadId)
  }

  #now(): Date {
    return new Date(Date.now() + this.#traits.clockShiftMs)
  }

  #store(key: string, object: StoredObject, onlyNew: boolean): StoredObject {
    requireKeyLength(key)
    if (onlyNew && this.objects.has(key)) throw preconditionFailed()
    this.objects.set(key, object)
    return object
  }

  /** Yields the items of a listing after `startAfter` or after the last page: keys, and each common prefix once. */
  *#items({ prefix, delimiter, startAfter, continuationToken }: ListOptions): Generator<ListItem> {
    const last = continuationToken === undefined ? undefined : decodeToken(continuationToken)
    const after = last?.item ?? startAfter
    let group = last?.isPrefix ? last.item : undefined
    for (const key of [...this.objects.keys()].sort(compareUtf8)) {
      if (!key.startsWith(prefix) || compareUtf8(key, after) <= 0) continue
      const keyGroup = commonPrefix(key, prefix, delimiter)
      if (keyGroup === undefined) yield { item: key, isPrefix: false }
      else if (keyGroup !== group) yield { item: keyGroup, isPrefix: true }
      group = keyGroup
    }
  }
}

function chosenParts(upload: Upload, references: PartReference[], partBytesMin: number): Part[] {
  if (references.length === 0) throw new S3Error('MalformedXML', 'You must specify at least one part')
  const ascending = references.every(({ partNumber }, i) => partNumber > (references[i - 1]?.partNumber ?? 0))
  if (!ascending) throw new S3Error('InvalidPartOrder', 'The list of parts was not in ascending order')
  return references.map((reference, index) => {
    const { partNumber } = reference
    const part = upload.parts.get(partNumber)
    if (part === undefined || !matches(part, reference)) {
      throw new S3Error('InvalidPart', `Part ${partNumber} was not uploaded or its ETag did not match`)
    }
    if (index < references.length - 1 && part.body.length < partBytesMin) {
      throw new S3Error('EntityTooSmall', `Part ${partNumber} is smaller than the minimum allowed size`)
    }
    return part
  })
}

function matches(part: Part, { etag, crc32 }: PartReference): boolean {
  const sameEtag = part.etag === (etag.startsWith('"') ? etag : `"${etag}"`)
  return sameEtag && (crc32 === undefined || crc32 === crc32Base64(part.body))
}

function requireKeyLength(key: string): void {
  if (Buffer.byteLength(key) > KEY_BYTES_MAX) throw new S3Error('KeyTooLongError', 'Your key is too long')
}

function md5Etag(body: Buffer): string {
  return `"${createHash('md5').update(body).digest('hex')}"`
}

function multipartEtag(parts: Part[]): string {
  const digests = parts.map(({ etag }) => Buffer.from(etag.slice(1, -1), 'hex'))
  return `"${createHash('md5').update(Buffer.concat(digests)).digest('hex')}-${parts.length}"`
}

// S3 sorts keys by their UTF-8 bytes. JavaScript compares UTF-16 code units, which is another order.
export function compareUtf8(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}

function commonPrefix(key: string, prefix: string, delimiter: string): string | undefined {
  const index = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length)
  return index < 0 ? undefined : key.slice(0, index + delimiter.length)
}

// A continuation token is the last item of the previous page.
function encodeToken(item: ListItem): string {
  return Buffer.from(JSON.stringify(item)).toString('base64url')
}

function decodeToken(token: string): ListItem {
  try {
    return JSON.parse(Buffer.from(token, 'base64url').toString())
  } catch (err) {
    throw new S3Error('InvalidArgument', `The continuation token provided is incorrect: ${err}`)
  }
}

function preconditionFailed(): S3Error {
  return new S3Error('PreconditionFailed', 'At least one of the pre-conditions you specified did not hold')
}
