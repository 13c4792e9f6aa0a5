/**
 * A small and strict S3 server in memory, in path style, for what a real one cannot show: failures at
 * a chosen moment, conditional writes of multipart uploads, checksums that are compared.
 *
 * It answers NotImplemented (501) to everything that it does not do in full, and does not check
 * signatures: only that the access key is the right one.
 */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { type S3Service, s3Environment } from './s3-environment.ts'
import { parseRequest, perform, type S3Operation, type S3Reply, type S3Request } from './s3-operations.ts'
import { Bucket } from './s3-storage.ts'
import { errorDocument, readBody, S3Error, usualCode } from './s3-wire.ts'

const REQUESTS_MAX = 10_000
const REQUEST_TIMEOUT_MS = 60_000
// Longer than a client keeps a connection: the server must not close one that is about to be used.
const KEEP_ALIVE_TIMEOUT_MS = 60_000

/** A request as the log and the fault function see it. */
export interface S3RequestInfo {
  operation: S3Operation | 'Unknown'
  method: string
  bucket: string
  /** Decoded; '' in a request for a bucket. */
  key: string
  /** Of UploadPart. */
  partNumber?: number
  /** How many requests of this operation there have been, with this one: 1, 2, … */
  count: number
}

/**
 * What goes wrong with a request. Of `status`, `hang` and `reset` one is enough; with none of them the
 * request succeeds, after `delayMs` if that is given.
 */
export interface S3Fault {
  /** Answers with an error of this status. 200 gives an error within a success, as S3 may do when it completes an upload. */
  status?: number
  /** The error's code. @default the usual one of the status: 500 InternalError, 503 SlowDown, 403 AccessDenied … */
  code?: string
  /** Never answers. The connection stays open. */
  hang?: boolean
  /** Resets the connection (RST). */
  reset?: boolean
  /** Waits before anything else; with `after` between the effect and the answer. */
  delayMs?: number
  /** The operation takes effect all the same: only its answer is lost. */
  after?: boolean
}

export type S3FaultFunction = (request: S3RequestInfo) => S3Fault | undefined

/** A multipart upload that is neither completed nor aborted. */
export interface S3OpenUpload {
  uploadId: string
  key: string
  /** The numbers of the parts that have arrived. */
  parts: number[]
}

/** Starts a server on a free port of 127.0.0.1, without buckets. It keeps no event loop alive by itself. */
export async function startS3Server(): Promise<S3Server> {
  const buckets = new Map<string, Bucket>()
  const http = createServer({ requestTimeout: REQUEST_TIMEOUT_MS, keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS })
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  http.unref()
  return new S3Server(http, buckets)
}

export class S3Server implements S3Service {
  readonly endpoint: string
  readonly accessKeyId = 'test-access-key'
  readonly secretAccessKey = 'test-secret-key'
  readonly region = 'us-east-1'
  /** The last ten thousand requests, oldest first. */
  readonly requests: S3RequestInfo[] = []
  #http: Server
  #buckets: Map<string, Bucket>
  #fault: S3FaultFunction = () => undefined
  #counts = new Map<string, number>()

  constructor(http: Server, buckets: Map<string, Bucket>) {
    this.endpoint = `http://127.0.0.1:${(http.address() as AddressInfo).port}`
    this.#http = http
    this.#buckets = buckets
    http.on('request', (request, response) => void this.#handle(request, response))
  }

  /** For a process that uses this server: AWS_* and S3_FORCE_PATH_STYLE. */
  env(): Record<string, string> {
    return s3Environment(this)
  }

  /** Makes a bucket, unless there is one of that name. */
  createBucket(name: string): void {
    if (!this.#buckets.has(name)) this.#buckets.set(name, new Bucket())
  }

  /** Asks `fault` about every request from now on; without it nothing goes wrong any more. */
  fault(fault?: S3FaultFunction): void {
    this.#fault = fault ?? (() => undefined)
  }

  /** A copy of what is in a bucket now, by key. @throws S3Error NoSuchBucket */
  objects(bucket: string): Map<string, Buffer> {
    return new Map([...this.#bucket(bucket).objects].map(([key, { body }]) => [key, body]))
  }

  /** The multipart uploads that are open now. @throws S3Error NoSuchBucket */
  uploads(bucket: string): S3OpenUpload[] {
    const uploads = [...this.#bucket(bucket).uploads.values()]
    return uploads.map(({ uploadId, key, parts }) => ({
      uploadId,
      key,
      parts: [...parts.keys()].sort((a, b) => a - b),
    }))
  }

  /** Cuts all connections and gives the port back. Can be repeated. */
  async close(): Promise<void> {
    if (!this.#http.listening) return
    const closed = once(this.#http, 'close')
    this.#http.close()
    this.#http.closeAllConnections()
    await closed
  }

  #bucket(name: string): Bucket {
    const bucket = this.#buckets.get(name)
    if (bucket === undefined) throw new S3Error('NoSuchBucket')
    return bucket
  }

  // What a fault function throws is not caught: it is the test's mistake, and ends the process.
  async #handle(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const request = parseRequest(incoming.method ?? '', incoming.url ?? '', incoming.headers)
    const fault = this.#fault(this.#record(request)) ?? {}
    try {
      const reply = fault.after ? await this.#reply(request, incoming) : undefined
      if (fault.delayMs !== undefined) await sleep(fault.delayMs, undefined, { ref: false })
      if (fault.reset) incoming.socket.resetAndDestroy()
      else if (fault.hang) incoming.resume()
      else if (fault.status !== undefined)
        send(response, await injected(fault.status, fault.code, request, incoming))
      else send(response, reply ?? (await this.#reply(request, incoming)))
    } catch {
      response.destroy() // the client has gone
    }
  }

  async #reply(request: S3Request, incoming: IncomingMessage): Promise<S3Reply> {
    const body = await readBody(incoming).catch(asS3Error)
    try {
      if (body instanceof S3Error) throw body
      this.#authorize(incoming)
      return perform(request, body, this.#buckets)
    } catch (err) {
      return errorReply(asS3Error(err), request)
    }
  }

  #authorize({ headers: { authorization } }: IncomingMessage): void {
    if (authorization === undefined) throw new S3Error('AccessDenied')
    if (!authorization.includes(`Credential=${this.accessKeyId}/`)) throw new S3Error('InvalidAccessKeyId')
  }

  #record({ operation, method, bucket, key, query }: S3Request): S3RequestInfo {
    const count = (this.#counts.get(operation) ?? 0) + 1
    this.#counts.set(operation, count)
    const part = query.get('partNumber')
    const info = {
      operation,
      method,
      bucket,
      key,
      ...(part === null ? {} : { partNumber: Number(part) }),
      count,
    }
    this.requests.push(info)
    if (this.requests.length > REQUESTS_MAX) this.requests.shift()
    return info
  }
}

// What is no error of S3 is one of the client's connection, which #handle() deals with.
function asS3Error(err: unknown): S3Error {
  if (err instanceof S3Error) return err
  throw err
}

async function injected(
  status: number,
  code: string = usualCode(status),
  request: S3Request,
  incoming: IncomingMessage,
): Promise<S3Reply> {
  // A client that is cut off while it sends might never read the answer.
  if (!incoming.readableEnded) for await (const _ of incoming);
  return errorReply(new S3Error(code, 'Injected by a test', status), request)
}

function errorReply(error: S3Error, { method, bucket, key }: S3Request): S3Reply {
  if (method === 'HEAD') return { status: error.status }
  const headers = { 'content-type': 'application/xml' }
  return { status: error.status, headers, body: errorDocument(error, `/${bucket}/${key}`) }
}

function send(response: ServerResponse, { status, headers = {}, body = '' }: S3Reply): void {
  const length = headers['content-length'] ?? String(Buffer.byteLength(body))
  response.writeHead(status, { ...headers, 'content-length': length, 'x-amz-request-id': 'TEST' })
  response.end(body)
}
