/**
 * A small and strict S3 server in memory, with path-style URLs, for tests that a real server cannot serve: faults at
 * a chosen moment, conditional writes of multipart uploads, comparison of checksums.
 *
 * It answers NotImplemented (501) to each request that it does not implement completely. It compares the access key,
 * and does not check signatures.
 */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type S3Service, s3Environment } from './s3-environment.ts'
import { answer, errorReply, RequestCounts, type S3FaultFunction, type S3RequestInfo } from './s3-fault.ts'
import { parseRequest, perform, type S3Reply, type S3Request } from './s3-operations.ts'
import { type Bucket, Buckets, type ServerTraits } from './s3-storage.ts'
import { readBody, S3Error } from './s3-wire.ts'

export type { S3Fault, S3FaultFunction, S3RequestInfo } from './s3-fault.ts'

const REQUESTS_MAX = 10_000
const REQUEST_TIMEOUT_MS = 60_000
// Longer than a client keeps an idle connection, so the server never closes one on which a request is about to come.
const KEEP_ALIVE_TIMEOUT_MS = 60_000

/** A multipart upload that is neither completed nor aborted. */
export interface S3OpenUpload {
  uploadId: string
  key: string
  /** The numbers of the uploaded parts, ascending. */
  parts: number[]
}

/** Starts a server without buckets on a free port of 127.0.0.1. It does not keep the event loop alive. */
export async function startS3Server(): Promise<S3Server> {
  const buckets = new Buckets()
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
  #buckets: Buckets
  #fault: S3FaultFunction = () => undefined
  readonly #counts = new RequestCounts()

  constructor(http: Server, buckets: Buckets) {
    this.endpoint = `http://127.0.0.1:${(http.address() as AddressInfo).port}`
    this.#http = http
    this.#buckets = buckets
    http.on('request', (request, response) => void this.#handle(request, response))
  }

  /** Returns the environment of a process that uses this server: AWS_* and S3_FORCE_PATH_STYLE. */
  env(): Record<string, string> {
    return s3Environment(this)
  }

  /** Differences from AWS. A test may change the members. */
  get traits(): ServerTraits {
    return this.#buckets.traits
  }

  /** Removes the bytes of completed objects whose uploads were aborted, if the traits say so. */
  collectGarbage(): void {
    for (const bucket of this.#buckets.values()) bucket.collectGarbage()
  }

  /** Makes a bucket if it does not exist. */
  createBucket(name: string): void {
    if (!this.#buckets.has(name)) this.#buckets.create(name)
  }

  /** Calls `fault` for each request from now on. Without an argument, requests have no faults any more. */
  fault(fault?: S3FaultFunction): void {
    this.#fault = fault ?? (() => undefined)
  }

  /** Returns the bodies of all objects of a bucket by their keys. @throws S3Error NoSuchBucket */
  objects(bucket: string): Map<string, Buffer> {
    return new Map([...this.#bucket(bucket).objects].map(([key, { body }]) => [key, body]))
  }

  /** Returns the open multipart uploads of a bucket. @throws S3Error NoSuchBucket */
  uploads(bucket: string): S3OpenUpload[] {
    const uploads = [...this.#bucket(bucket).uploads.values()]
    return uploads.map(({ uploadId, key, parts }) => ({
      uploadId,
      key,
      parts: [...parts.keys()].sort((a, b) => a - b),
    }))
  }

  /** Closes all connections and the port. Can be repeated. */
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

  // An exception of the fault function is a mistake of the test. It is not caught, so it ends the process.
  async #handle(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const request = parseRequest(incoming.method ?? '', incoming.url ?? '', incoming.headers)
    const fault = this.#fault(this.#record(request)) ?? {}
    const { clockShiftMs } = this.traits
    // For answers that a fault makes.
    response.setHeader('date', dateHeader(clockShiftMs))
    await answer(request, fault, { incoming, response }, async () => {
      const body = await readBody(incoming).catch(asS3Error)
      return () => {
        const reply = this.#perform(request, incoming, body)
        return { ...reply, headers: { ...reply.headers, date: dateHeader(clockShiftMs) } }
      }
    })
  }

  #perform(request: S3Request, incoming: IncomingMessage, body: Buffer | S3Error): S3Reply {
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

  #record(request: S3Request): S3RequestInfo {
    const info = this.#counts.next(request)
    this.requests.push(info)
    if (this.requests.length > REQUESTS_MAX) this.requests.shift()
    return info
  }
}

function dateHeader(shiftMs: number): string {
  return new Date(Date.now() + shiftMs).toUTCString()
}

// Any other error comes from the client's connection. answer() handles it.
function asS3Error(err: unknown): S3Error {
  if (err instanceof S3Error) return err
  throw err
}
