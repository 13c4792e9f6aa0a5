/** The wire format of S3: errors, request bodies with checksums, XML. */
import { createHash } from 'node:crypto'
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { crc32 } from 'node:zlib'

const BODY_BYTES_MAX = 128 * 1024 * 1024

// Codes of the same status: the most usual code comes first (usualCode()).
const STATUS_CODES: Record<string, number> = {
  AccessDenied: 403,
  InvalidAccessKeyId: 403,
  NoSuchKey: 404,
  NoSuchBucket: 404,
  NoSuchUpload: 404,
  NoSuchLifecycleConfiguration: 404,
  ConditionalRequestConflict: 409,
  BucketAlreadyOwnedByYou: 409,
  MissingContentLength: 411,
  PreconditionFailed: 412,
  InvalidRange: 416,
  InternalError: 500,
  NotImplemented: 501,
  SlowDown: 503,
}

/** An error that S3 answers with. Codes: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html */
export class S3Error extends Error {
  readonly code: string
  readonly status: number

  /** @param status default: the status that S3 answers with this code; 400 if the code is not in STATUS_CODES */
  constructor(code: string, message = code, status = STATUS_CODES[code] ?? 400) {
    super(message)
    this.code = code
    this.status = status
  }
}

/** Returns the most usual code of a status. */
export function usualCode(status: number): string {
  const found = Object.entries(STATUS_CODES).find(([, each]) => each === status)
  return found?.[0] ?? (status < 500 ? 'InvalidRequest' : 'InternalError')
}

/**
 * Reads the body of a request, decodes it if it is aws-chunked, and compares it with each checksum of the request.
 * @throws S3Error MissingContentLength, IncompleteBody, EntityTooLarge, BadDigest, MalformedTrailerError,
 * NotImplemented or XAmzContentSHA256Mismatch
 */
export async function readBody(request: IncomingMessage): Promise<Buffer> {
  const { headers } = request
  const raw = await readAll(request)
  if (!isChunked(headers)) {
    verify(raw, headers)
    return raw
  }
  const { body, trailers } = decodeChunks(raw)
  requireTrailers(headers, trailers)
  if (body.length !== Number(headers['x-amz-decoded-content-length'])) throw new S3Error('IncompleteBody')
  verify(body, { ...headers, ...trailers })
  return body
}

async function readAll(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request) {
    bytes += chunk.length
    if (bytes <= BODY_BYTES_MAX) chunks.push(chunk)
  }
  if (bytes > BODY_BYTES_MAX) throw new S3Error('EntityTooLarge')
  requireLength(request)
  return Buffer.concat(chunks)
}

// S3 accepts no body of unknown length. An aws-chunked body has its length in another header.
function requireLength({ method, headers }: IncomingMessage): void {
  const name = isChunked(headers) ? 'x-amz-decoded-content-length' : 'content-length'
  if (method === 'PUT' && headers[name] === undefined) throw new S3Error('MissingContentLength')
}

function isChunked(headers: IncomingHttpHeaders): boolean {
  return String(headers['x-amz-content-sha256']).startsWith('STREAMING-')
}

// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
function decodeChunks(raw: Buffer): { body: Buffer; trailers: Record<string, string> } {
  const chunks: Buffer[] = []
  let offset = 0
  for (;;) {
    const lineEnd = raw.indexOf('\r\n', offset)
    const size = /^[0-9a-f]+(?=;|$)/i.exec(raw.toString('latin1', offset, lineEnd))?.[0]
    if (lineEnd < 0 || size === undefined) throw new S3Error('IncompleteBody')
    const start = lineEnd + 2
    const end = start + Number.parseInt(size, 16)
    if (end === start)
      return { body: Buffer.concat(chunks), trailers: parseTrailers(raw.toString('latin1', start)) }
    if (raw.toString('latin1', end, end + 2) !== '\r\n') throw new S3Error('IncompleteBody')
    chunks.push(raw.subarray(start, end))
    offset = end + 2
  }
}

function parseTrailers(text: string): Record<string, string> {
  if (!text.endsWith('\r\n')) throw new S3Error('IncompleteBody')
  const lines = text.split('\r\n').filter(line => line !== '')
  return Object.fromEntries(
    lines.map(line => [line.split(':', 1)[0]?.toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
  )
}

function requireTrailers(headers: IncomingHttpHeaders, trailers: Record<string, string>): void {
  const promised = String(headers['x-amz-trailer'] ?? '')
    .split(',')
    .map(name => name.trim().toLowerCase())
  for (const name of promised) {
    if (name !== '' && trailers[name] === undefined) throw new S3Error('MalformedTrailerError')
  }
}

function verify(body: Buffer, headers: IncomingHttpHeaders): void {
  for (const [header, digest] of Object.entries(DIGESTS)) {
    const expected = headers[header]
    if (expected !== undefined && expected !== digest(body)) {
      throw new S3Error('BadDigest', `The ${header} you specified did not match the content`)
    }
  }
  for (const header of ['x-amz-checksum-crc32c', 'x-amz-checksum-crc64nvme']) {
    if (headers[header] !== undefined) throw new S3Error('NotImplemented', `${header} is not implemented`)
  }
  const sha256 = String(headers['x-amz-content-sha256'])
  if (/^[0-9a-f]{64}$/.test(sha256) && sha256 !== createHash('sha256').update(body).digest('hex')) {
    throw new S3Error('XAmzContentSHA256Mismatch')
  }
}

const DIGESTS: Record<string, (body: Buffer) => string> = {
  'content-md5': body => createHash('md5').update(body).digest('base64'),
  'x-amz-checksum-crc32': crc32Base64,
  'x-amz-checksum-sha1': body => createHash('sha1').update(body).digest('base64'),
  'x-amz-checksum-sha256': body => createHash('sha256').update(body).digest('base64'),
}

/** Returns a CRC32 as S3 writes it: big-endian, in base64. */
export function crc32Base64(body: Buffer): string {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(crc32(body))
  return bytes.toString('base64')
}

/** Returns an XML document. @param children XML */
export function xmlDocument(root: string, children: string): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n<${root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${children}</${root}>`
}

export function errorDocument({ code, message }: S3Error, resource: string): string {
  const children = xml({ Code: code, Message: message, Resource: resource, RequestId: 'TEST' })
  return `<?xml version="1.0" encoding="UTF-8"?>\n<Error>${children}</Error>`
}

/** Returns an element with text for each value that is not undefined. */
export function xml(values: Record<string, string | number | boolean | undefined>): string {
  return Object.entries(values)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `<${name}>${escapeXml(String(value))}</${name}>`)
    .join('')
}

/** Returns the contents of all elements of this name, in order. Elements of the same name must not be nested. */
export function elements(document: string, name: string): string[] {
  return [...document.matchAll(new RegExp(`<${name}>([\\s\\S]*?)</${name}>`, 'g'))].map(
    match => match[1] ?? '',
  )
}

/** Returns the text of the first element of this name, or undefined if there is none. */
export function text(document: string, name: string): string | undefined {
  const content = elements(document, name)[0]
  return content === undefined ? undefined : unescapeXml(content)
}

function escapeXml(value: string): string {
  return value.replace(/[&<>"'\r\n\t]/g, char => `&#${char.charCodeAt(0)};`)
}

function unescapeXml(value: string): string {
  const named: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }
  return value.replace(/&(?:#x([0-9a-f]+)|#(\d+)|(\w+));/gi, (all, hex, decimal, name) => {
    if (name !== undefined) return named[name] ?? all
    return String.fromCodePoint(hex === undefined ? Number(decimal) : Number.parseInt(hex, 16))
  })
}
