/** Faults of requests to S3: which there are, and how they are injected into an answer. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import type { S3Operation, S3Reply, S3Request } from './s3-operations.ts'
import { errorDocument, S3Error, usualCode } from './s3-wire.ts'

/** A request as the list of requests and the fault function get it. */
export interface S3RequestInfo {
  operation: S3Operation | 'Unknown'
  method: string
  bucket: string
  /** Decoded; '' if the request is for a bucket. */
  key: string
  /** Only in UploadPart and UploadPartCopy. */
  partNumber?: number
  /** Number of this request among those of the same operation: 1, 2, … */
  count: number
}

/** A fault of one request. Without `status`, `hang` and `reset` the request succeeds, after `delayMs` if that is set. */
export interface S3Fault {
  /** Answers with an error of this status. With 200, the body is an error, as S3 may answer CompleteMultipartUpload. */
  status?: number
  /** The code of the error. @default the usual code of the status: 500 InternalError, 503 SlowDown, 403 AccessDenied … */
  code?: string
  /** Sends no answer, and keeps the connection open. */
  hang?: boolean
  /** Resets the connection (RST). */
  reset?: boolean
  /** Waits before the operation takes effect; with `after`, between the effect and the answer. */
  delayMs?: number
  /** The operation takes effect before the fault: only its answer is lost. */
  after?: boolean
  /** The operation takes effect this many milliseconds after its answer was lost. */
  lateMs?: number
  /** Number of bytes of the answer's body that are sent before the connection hangs or is reset. */
  bodyBytes?: number
}

export type S3FaultFunction = (request: S3RequestInfo) => S3Fault | undefined

/** Numbers the requests of each operation. */
export class RequestCounts {
  readonly #counts = new Map<string, number>()

  next({ operation, method, bucket, key, query }: S3Request): S3RequestInfo {
    const count = (this.#counts.get(operation) ?? 0) + 1
    this.#counts.set(operation, count)
    const part = query.get('partNumber')
    return {
      operation,
      method,
      bucket,
      key,
      ...(part === null ? {} : { partNumber: Number(part) }),
      count,
    }
  }
}

/** Called when the body is complete. Lets the operation take effect, and returns the answer. */
export type Effect = () => Promise<S3Reply> | S3Reply

export interface Exchange {
  readonly incoming: IncomingMessage
  readonly response: ServerResponse
}

/**
 * Answers a request, with the fault.
 *
 * @param receive reads the request to its end
 */
export async function answer(
  request: S3Request,
  fault: S3Fault,
  exchange: Exchange,
  receive: () => Promise<Effect>,
): Promise<void> {
  const { after, bodyBytes, delayMs, lateMs, reset, hang, status, code } = fault
  try {
    if (lateMs !== undefined) return await takeEffectLate(fault, exchange, await receive())
    const reply = after || bodyBytes !== undefined ? await (await receive())() : undefined
    if (delayMs !== undefined) await sleep(delayMs, undefined, { ref: false })
    if (reset || hang) loseAnswer(fault, exchange, reply)
    else if (status !== undefined)
      send(exchange.response, await injected(status, code, request, exchange.incoming))
    else send(exchange.response, reply ?? (await (await receive())()))
  } catch {
    exchange.response.destroy() // the client has closed the connection
  }
}

async function takeEffectLate(fault: S3Fault, exchange: Exchange, effect: Effect): Promise<void> {
  loseAnswer(fault, exchange, undefined)
  await sleep(fault.lateMs, undefined, { ref: false })
  await effect()
}

function loseAnswer(
  { reset, hang, bodyBytes }: S3Fault,
  { incoming, response }: Exchange,
  reply: S3Reply | undefined,
): void {
  const lose = () => {
    if (reset) incoming.socket.resetAndDestroy()
    else if (hang) incoming.resume()
  }
  if (bodyBytes === undefined || reply === undefined) lose()
  else {
    const { status, headers, body } = completed(reply)
    response.writeHead(status, headers)
    response.write(Buffer.from(body).subarray(0, bodyBytes), lose)
  }
}

async function injected(
  status: number,
  code: string = usualCode(status),
  request: S3Request,
  incoming: IncomingMessage,
): Promise<S3Reply> {
  // If the connection closes while the client sends, the client may not read the answer.
  if (!incoming.readableEnded) for await (const _ of incoming);
  return errorReply(new S3Error(code, 'Injected by a test', status), request)
}

export function errorReply(error: S3Error, { method, bucket, key }: S3Request): S3Reply {
  if (method === 'HEAD') return { status: error.status }
  const headers = { 'content-type': 'application/xml' }
  return { status: error.status, headers, body: errorDocument(error, `/${bucket}/${key}`) }
}

function send(response: ServerResponse, reply: S3Reply): void {
  const { status, headers, body } = completed(reply)
  response.writeHead(status, headers)
  response.end(body)
}

function completed({ status, headers = {}, body = '' }: S3Reply): Required<S3Reply> {
  const length = headers['content-length'] ?? String(Buffer.byteLength(body))
  return { status, headers: { 'x-amz-request-id': 'TEST', ...headers, 'content-length': length }, body }
}
