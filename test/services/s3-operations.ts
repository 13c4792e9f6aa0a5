/** The operations of the S3 server: how a request is matched to one, and what each does and answers. */
import type { IncomingHttpHeaders } from 'node:http'
import {
  type Bucket,
  type Buckets,
  compareUtf8,
  type PartReference,
  type StoredObject,
} from './s3-storage.ts'
import { crc32Base64, elements, S3Error, text, xml, xmlDocument } from './s3-wire.ts'

export interface S3Request {
  operation: S3Operation | 'Unknown'
  method: string
  bucket: string
  key: string
  query: URLSearchParams
  headers: IncomingHttpHeaders
}

export interface S3Reply {
  status: number
  headers?: Record<string, string>
  body?: string | Buffer
}

type Operation = (request: S3Request, body: Buffer, buckets: Buckets) => S3Reply

interface Route {
  method: string
  /** Whether the request has `x-amz-copy-source`. */
  copies?: true
  on: 'bucket' | 'object'
  /** Query parameters by which this operation differs from others of the same method. */
  query: readonly string[]
  /** More query parameters that the operation supports. */
  options?: readonly string[]
}

const LIST_OPTIONS = ['prefix', 'delimiter', 'start-after', 'continuation-token', 'max-keys']

const ROUTES = {
  CreateBucket: { method: 'PUT', on: 'bucket', query: [] },
  HeadBucket: { method: 'HEAD', on: 'bucket', query: [] },
  ListObjectsV2: { method: 'GET', on: 'bucket', query: ['list-type'], options: LIST_OPTIONS },
  ListMultipartUploads: {
    method: 'GET',
    on: 'bucket',
    query: ['uploads'],
    options: ['prefix', 'key-marker', 'upload-id-marker', 'max-uploads'],
  },
  DeleteObjects: { method: 'POST', on: 'bucket', query: ['delete'] },
  GetBucketLifecycleConfiguration: { method: 'GET', on: 'bucket', query: ['lifecycle'] },
  PutBucketLifecycleConfiguration: { method: 'PUT', on: 'bucket', query: ['lifecycle'] },
  UploadPartCopy: { method: 'PUT', on: 'object', query: ['partNumber', 'uploadId'], copies: true },
  CopyObject: { method: 'PUT', on: 'object', query: [], copies: true },
  UploadPart: { method: 'PUT', on: 'object', query: ['partNumber', 'uploadId'] },
  PutObject: { method: 'PUT', on: 'object', query: [] },
  ListParts: { method: 'GET', on: 'object', query: ['uploadId'] },
  GetObject: { method: 'GET', on: 'object', query: [] },
  HeadObject: { method: 'HEAD', on: 'object', query: [] },
  AbortMultipartUpload: { method: 'DELETE', on: 'object', query: ['uploadId'] },
  DeleteObject: { method: 'DELETE', on: 'object', query: [] },
  CreateMultipartUpload: { method: 'POST', on: 'object', query: ['uploads'] },
  CompleteMultipartUpload: { method: 'POST', on: 'object', query: ['uploadId'] },
} as const satisfies Record<string, Route>

export type S3Operation = keyof typeof ROUTES

/** Parses a path-style URL: /BUCKET/KEY?QUERY @throws URIError if the percent-encoding is malformed */
export function parseRequest(method: string, target: string, headers: IncomingHttpHeaders): S3Request {
  const [, path = '', search = ''] = /^\/([^?]*)\??(.*)$/.exec(target) ?? []
  const [, bucket = '', key = ''] = /^([^/]*)\/?(.*)$/s.exec(decodeURIComponent(path)) ?? []
  const query = new URLSearchParams(search)
  const on = key === '' ? 'bucket' : 'object'
  const found = Object.entries(ROUTES).find(([, route]) => fits(route, method, on, query, headers))
  const operation = bucket === '' || found === undefined ? 'Unknown' : (found[0] as S3Operation)
  return { operation, method, bucket, key, query, headers }
}

// A request with an unknown parameter matches no operation: it may ask for another one, as "?acl" does.
function fits(
  route: Route,
  method: string,
  on: string,
  query: URLSearchParams,
  headers: IncomingHttpHeaders,
): boolean {
  const known = [...route.query, ...(route.options ?? []), 'x-id']
  return (
    route.method === method &&
    route.on === on &&
    (route.copies ?? false) === (headers['x-amz-copy-source'] !== undefined) &&
    route.query.every(name => query.has(name)) &&
    [...query.keys()].every(name => known.includes(name))
  )
}

/** @throws S3Error */
export function perform(request: S3Request, body: Buffer, buckets: Buckets): S3Reply {
  if (request.operation === 'Unknown')
    throw new S3Error('NotImplemented', `${request.method} is not implemented`)
  requireKnownHeaders(request)
  return OPERATIONS[request.operation](request, body, buckets)
}

const UNSUPPORTED_HEADERS = [
  'if-match',
  'if-modified-since',
  'if-unmodified-since',
  'x-amz-copy-source-if-match',
  'x-amz-copy-source-if-none-match',
  'x-amz-write-offset-bytes',
  'x-amz-server-side-encryption-customer-algorithm',
]

function requireKnownHeaders({ operation, headers }: S3Request): void {
  for (const name of UNSUPPORTED_HEADERS) {
    if (name === 'if-match' && operation === 'CompleteMultipartUpload') continue
    if (headers[name] !== undefined) throw new S3Error('NotImplemented', `${name} is not implemented`)
  }
  const conditional = operation === 'PutObject' || operation === 'CompleteMultipartUpload'
  const condition = headers['if-none-match']
  if (condition !== undefined && !(conditional && condition === '*')) {
    throw new S3Error('NotImplemented', `If-None-Match: ${condition} is not implemented for ${operation}`)
  }
}

const OPERATIONS: Record<S3Operation, Operation> = {
  CreateBucket({ bucket }, _body, buckets) {
    if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucket)) throw new S3Error('InvalidBucketName')
    if (buckets.has(bucket)) throw new S3Error('BucketAlreadyOwnedByYou')
    buckets.create(bucket)
    return { status: 200, headers: { location: `/${bucket}` } }
  },

  HeadBucket(request, _body, buckets) {
    findBucket(request, buckets)
    return { status: 200 }
  },

  ListObjectsV2(request, _body, buckets) {
    const { bucket, query } = request
    const prefix = query.get('prefix') ?? ''
    const delimiter = query.get('delimiter') ?? ''
    const continuationToken = query.get('continuation-token') ?? undefined
    const startAfter = query.get('start-after') ?? ''
    const maxKeys = maxKeysOf(query)
    const options = { prefix, delimiter, startAfter, continuationToken, maxKeys }
    const { objects, commonPrefixes, nextContinuationToken } = findBucket(request, buckets).list(options)
    const head = xml({
      Name: bucket,
      Prefix: prefix,
      Delimiter: delimiter || undefined,
      StartAfter: startAfter || undefined,
      MaxKeys: maxKeys,
      KeyCount: objects.length + commonPrefixes.length,
      IsTruncated: nextContinuationToken !== undefined,
      ContinuationToken: continuationToken,
      NextContinuationToken: nextContinuationToken,
    })
    const contents = objects.map(([key, object]) => `<Contents>${listed(key, object)}</Contents>`)
    const prefixes = commonPrefixes.map(each => `<CommonPrefixes>${xml({ Prefix: each })}</CommonPrefixes>`)
    return document('ListBucketResult', head + contents.join('') + prefixes.join(''))
  },

  DeleteObjects(request, body, buckets) {
    const { objects } = findBucket(request, buckets)
    const { undeletable } = buckets.traits
    // AWS requires one of these headers.
    if (!['content-md5', 'x-amz-checksum-crc32'].some(name => request.headers[name] !== undefined))
      throw new S3Error('InvalidRequest', 'Missing required header for this request: Content-MD5')
    const source = body.toString()
    const keys = elements(source, 'Object').map(each => text(each, 'Key') ?? '')
    if (keys.length === 0 || keys.length > 1_000) throw new S3Error('MalformedXML')
    const [refused, taken] = [true, false].map(is => keys.filter(key => undeletable.has(key) === is))
    for (const key of taken ?? []) objects.delete(key)
    const errors = (refused ?? []).map(
      Key => `<Error>${xml({ Key, Code: 'AccessDenied', Message: 'Access Denied' })}</Error>`,
    )
    const deleted = (taken ?? []).map(Key => `<Deleted>${xml({ Key })}</Deleted>`)
    return document(
      'DeleteResult',
      (text(source, 'Quiet') === 'true' ? errors : [...deleted, ...errors]).join(''),
    )
  },

  PutObject(request, body, buckets) {
    const { key, headers } = request
    const checksum = { 'x-amz-checksum-crc32': crc32Base64(body) }
    const stored = { ...storedHeaders(headers), ...checksum }
    const { etag } = findBucket(request, buckets).put(key, body, stored, onlyNew(headers))
    return { status: 200, headers: { etag, ...checksum } }
  },

  GetObject(request, _body, buckets) {
    const object = findBucket(request, buckets).get(request.key)
    const { range } = request.headers
    if (range === undefined) return { status: 200, headers: objectHeaders(object), body: object.body }
    const [start, end] = parseRange(range, object.body.length)
    const { 'x-amz-checksum-crc32': _ofTheWhole, ...headers } = objectHeaders(object)
    headers['content-range'] = `bytes ${start}-${end - 1}/${object.body.length}`
    return { status: 206, headers, body: object.body.subarray(start, end) }
  },

  HeadObject(request, _body, buckets) {
    const object = findBucket(request, buckets).head(request.key)
    const length = { 'content-length': String(object.body.length) }
    return { status: 200, headers: { ...objectHeaders(object), ...length } }
  },

  DeleteObject(request, _body, buckets) {
    findBucket(request, buckets).objects.delete(request.key)
    return { status: 204 }
  },

  CopyObject(request, _body, buckets) {
    const { key, headers } = request
    const source = copySource(request, buckets)
    if (source.body.length > buckets.traits.copyBytesMax)
      throw new S3Error(
        'InvalidRequest',
        'The specified copy source is larger than the maximum allowable size',
      )
    const isNew = headers['x-amz-metadata-directive'] === 'REPLACE'
    const stored = isNew ? storedHeaders(headers) : source.headers
    const { etag, lastModified } = findBucket(request, buckets).put(key, source.body, stored, false)
    return document('CopyObjectResult', xml({ LastModified: lastModified.toISOString(), ETag: etag }))
  },

  UploadPartCopy(request, _body, buckets) {
    const { key, query, headers } = request
    const { body } = copySource(request, buckets)
    const range = headers['x-amz-copy-source-range']
    const [start, end] = range === undefined ? [0, body.length] : parseRange(String(range), body.length)
    const partNumber = Number(query.get('partNumber'))
    const bucket = findBucket(request, buckets)
    const part = bucket.putPart(key, uploadIdOf(request), partNumber, body.subarray(start, end))
    return document('CopyPartResult', xml({ LastModified: part.lastModified.toISOString(), ETag: part.etag }))
  },

  GetBucketLifecycleConfiguration(request, _body, buckets) {
    const { lifecycle } = findBucket(request, buckets)
    if (lifecycle === undefined) throw new S3Error('NoSuchLifecycleConfiguration')
    return { status: 200, headers: { 'content-type': 'application/xml' }, body: lifecycle }
  },

  PutBucketLifecycleConfiguration(request, body, buckets) {
    findBucket(request, buckets).lifecycle = body
    return { status: 200 }
  },

  CreateMultipartUpload(request, _body, buckets) {
    const { bucket, key, headers } = request
    const { uploadId } = findBucket(request, buckets).createUpload(key, storedHeaders(headers))
    return document('InitiateMultipartUploadResult', xml({ Bucket: bucket, Key: key, UploadId: uploadId }))
  },

  UploadPart(request, body, buckets) {
    const { key, query } = request
    const partNumber = Number(query.get('partNumber'))
    const { etag } = findBucket(request, buckets).putPart(key, uploadIdOf(request), partNumber, body)
    return { status: 200, headers: { etag, 'x-amz-checksum-crc32': crc32Base64(body) } }
  },

  CompleteMultipartUpload(request, body, buckets) {
    const { bucket, key, headers } = request
    const parts = elements(body.toString(), 'Part').map(partReference)
    const stored = findBucket(request, buckets).completeUpload(key, uploadIdOf(request), parts, {
      onlyNew: onlyNew(headers),
      onlyOver: headers['if-match'],
    })
    const location = `http://${headers.host}/${bucket}/${key}`
    const children = xml({ Location: location, Bucket: bucket, Key: key, ETag: stored.etag })
    return document('CompleteMultipartUploadResult', children)
  },

  AbortMultipartUpload(request, _body, buckets) {
    findBucket(request, buckets).abortUpload(request.key, uploadIdOf(request))
    return { status: 204 }
  },

  ListMultipartUploads(request, _body, buckets) {
    const prefix = request.query.get('prefix') ?? ''
    const uploads = [...findBucket(request, buckets).uploads.values()]
      .filter(({ key }) => key.startsWith(prefix))
      .sort((a, b) => compareUtf8(a.key, b.key))
      .map(({ uploadId, key, initiated }) =>
        xml({ UploadId: uploadId, Key: key, Initiated: initiated.toISOString() }),
      )
      .map(upload => `<Upload>${upload}</Upload>`)
    const head = xml({ Bucket: request.bucket, Prefix: prefix, IsTruncated: false })
    return document('ListMultipartUploadsResult', head + uploads.join(''))
  },

  ListParts(request, _body, buckets) {
    const { bucket, key } = request
    const { uploadId, parts } = findBucket(request, buckets).upload(key, uploadIdOf(request))
    const listedParts = [...parts]
      .sort(([a], [b]) => a - b)
      .map(([partNumber, { body, etag, lastModified }]) =>
        xml({
          PartNumber: partNumber,
          ETag: etag,
          Size: body.length,
          LastModified: lastModified.toISOString(),
        }),
      )
      .map(part => `<Part>${part}</Part>`)
    const head = xml({ Bucket: bucket, Key: key, UploadId: uploadId, IsTruncated: false })
    return document('ListPartsResult', head + listedParts.join(''))
  },
}

function findBucket({ bucket }: S3Request, buckets: Buckets): Bucket {
  const found = buckets.get(bucket)
  if (found === undefined) throw new S3Error('NoSuchBucket', 'The specified bucket does not exist')
  return found
}

/** @throws S3Error NoSuchBucket, NoSuchKey @throws URIError if the percent-encoding is malformed */
function copySource({ headers }: S3Request, buckets: Buckets): StoredObject {
  const [, bucket = '', key = ''] = /^\/?([^/]+)\/(.+)$/s.exec(String(headers['x-amz-copy-source'])) ?? []
  const found = buckets.get(decodeURIComponent(bucket))
  if (found === undefined) throw new S3Error('NoSuchBucket', 'The specified bucket does not exist')
  return found.get(decodeURIComponent(key))
}

function document(root: string, children: string): S3Reply {
  return { status: 200, headers: { 'content-type': 'application/xml' }, body: xmlDocument(root, children) }
}

function listed(key: string, { body, etag, lastModified }: StoredObject): string {
  const date = lastModified.toISOString()
  return xml({ Key: key, LastModified: date, ETag: etag, Size: body.length, StorageClass: 'STANDARD' })
}

function maxKeysOf(query: URLSearchParams): number {
  const maxKeys = Number(query.get('max-keys') ?? 1_000)
  if (!Number.isInteger(maxKeys) || maxKeys < 0)
    throw new S3Error('InvalidArgument', 'max-keys is not a number')
  return maxKeys
}

function uploadIdOf({ query }: S3Request): string {
  return query.get('uploadId') ?? ''
}

function onlyNew(headers: IncomingHttpHeaders): boolean {
  return headers['if-none-match'] === '*'
}

function partReference(part: string): PartReference {
  const [partNumber, etag] = [Number(text(part, 'PartNumber')), text(part, 'ETag')]
  if (!Number.isInteger(partNumber) || etag === undefined) throw new S3Error('MalformedXML')
  return { partNumber, etag, crc32: text(part, 'ChecksumCRC32') }
}

// aws-chunked is an encoding of the transfer, not of the object.
function storedHeaders(headers: IncomingHttpHeaders): Record<string, string> {
  const kept = Object.entries(headers).filter(([name]) =>
    /^(content-(type|disposition|language)|cache-control|expires|x-amz-meta-.+)$/.test(name),
  )
  const encodings = String(headers['content-encoding'] ?? '').split(/\s*,\s*/)
  const encoding = encodings.filter(each => each !== '' && each !== 'aws-chunked').join(',')
  return {
    'content-type': 'binary/octet-stream',
    ...(Object.fromEntries(kept) as Record<string, string>),
    ...(encoding === '' ? {} : { 'content-encoding': encoding }),
  }
}

function objectHeaders({ etag, lastModified, headers }: StoredObject): Record<string, string> {
  return { ...headers, etag, 'last-modified': lastModified.toUTCString(), 'accept-ranges': 'bytes' }
}

/** Returns the offsets of the first byte of a range, and of the byte after the last. */
function parseRange(range: string, size: number): [start: number, end: number] {
  const [, first = '', last = ''] = /^bytes=(\d*)-(\d*)$/.exec(range) ?? []
  if (first === '' && last === '') throw new S3Error('NotImplemented', `Range: ${range} is not implemented`)
  const start = first === '' ? Math.max(0, size - Number(last)) : Number(first)
  const end = first === '' || last === '' ? size : Math.min(size, Number(last) + 1)
  if (start >= end) throw new S3Error('InvalidRange', 'The requested range is not satisfiable')
  return [start, end]
}
