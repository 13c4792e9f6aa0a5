/**
 * An S3 service behind the real client of the AWS SDK, in place of its HTTP handler. A request is sent, takes effect and
 * is answered at different times. Its faults are drawn from the seed.
 */

import { parseRequest, perform, type S3Reply, type S3Request } from '../services/s3-operations.ts'
import { type Bucket, Buckets, type StoredObject } from '../services/s3-storage.ts'
import { errorDocument, S3Error } from '../services/s3-wire.ts'
import type { Chaos } from './chaos.ts'
import { Exchange, type HandlerResponse } from './exchange.ts'
import { type Fate, type FaultKind, fateOf, type Operation, type S3Traits, WRITES } from './request-fate.ts'
import { Actor, type Simulation } from './simulation.ts'
import { currentActor } from './virtual-time.ts'

/** The fields of the SDK's requests that are used here. */
export interface HandlerRequest {
  readonly method: string
  readonly path: string
  readonly query?: Record<string, string | readonly string[] | null>
  readonly headers: Record<string, string>
  readonly body?: unknown
}

/** radosgw destroys an object at most this long after an Abort during its Complete. */
const GARBAGE_MS_MAX = 60_000
const BUCKET = 'bucket'

interface Sent {
  readonly request: S3Request
  readonly operation: Operation
  readonly body: Buffer
  /** `A1#12`: the twelfth request of writer A after its first start. */
  readonly name: string
}

export class SimulatedS3 {
  readonly actor: Actor
  /** Called for each changed object. @param by the request or event that changed it */
  onChange: (key: string, by: string) => void = () => {}
  /** Called for each request: the fault that it must have. */
  forceFault: (sender: Actor, operation: Operation, key: string) => FaultKind | undefined = () => undefined
  /** All requests that were sent. */
  readonly requests: { actor: string; operation: string; key: string }[] = []
  readonly #sim: Simulation
  readonly #chaos: Chaos
  readonly #traits: S3Traits
  readonly #buckets = new Buckets()
  readonly #sent = new Map<string, number>()
  /** How often the bucket was restored. */
  #restores = 0
  /** Uploads with a Complete that is not answered, and whether an Abort has come since. */
  readonly #completing = new Map<string, { isAborted: boolean }>()

  constructor(sim: Simulation, chaos: Chaos, traits: S3Traits) {
    this.#sim = sim
    this.#chaos = chaos
    this.#traits = traits
    this.actor = new Actor('store', sim.seed, traits.clockMs)
    this.#buckets.traits.partBytesMin = 1
    this.#buckets.traits.condition = traits.ignoresConditionOnComplete ? 'PutObject' : 'both'
    this.#buckets.create(BUCKET)
  }

  get bucket(): Bucket {
    return this.#buckets.get(BUCKET) as Bucket
  }

  /** A copy of the bucket. */
  snapshot(): ReadonlyMap<string, StoredObject> {
    return new Map(this.bucket.objects)
  }

  /** Restores the bucket. Requests that are under way fail first, as an operator would wait for them. */
  restore(objects: ReadonlyMap<string, StoredObject>): void {
    this.#restores++
    this.bucket.objects.clear()
    for (const [key, object] of objects) this.bucket.objects.set(key, object)
  }

  /** The body that a GET of the key returns now. */
  readable(key: string): Buffer | undefined {
    const object = this.bucket.objects.get(key)
    return object === undefined || object.isLost ? undefined : object.body
  }

  handle(request: HandlerRequest, signal?: AbortSignal): Promise<HandlerResponse> {
    const sender = currentActor()
    const parsed = parseRequest(request.method, targetOf(request), request.headers)
    const { operation } = parsed
    const body = bytesOf(request.body)
    const name = this.#nameOf(sender)
    const fate = fateOf(name, operation, {
      seed: this.#sim.seed,
      traits: this.#traits,
      headers: request.headers,
      forced: this.forceFault(sender, operation, parsed.key),
      happens: fault => this.#chaos.happens(`request ${name}`, fault),
    })
    this.requests.push({ actor: sender.name, operation, key: parsed.key })
    const what = `${name} ${operation} ${parsed.key}${request.headers.range === undefined ? '' : ` ${request.headers.range}`}`
    this.#sim.note(`${what}${fate.fault === undefined ? '' : `  (${fate.fault})`}`)
    return new Promise((resolve, reject) => {
      const answer = (ms: number, text: string, act: () => void) =>
        this.#sim.after(ms, sender, `answer ${name}`, () => {
          this.#sim.note(`  ${name} ${text}`)
          act()
        })
      const exchange = new Exchange(resolve, reject, answer)
      signal?.addEventListener(
        'abort',
        () => reject(Object.assign(new Error('Request aborted'), { name: 'AbortError' })),
        { once: true },
      )
      this.#play({ request: parsed, operation, body, name }, fate, exchange)
    })
  }

  #nameOf(sender: Actor): string {
    const count = (this.#sent.get(sender.name) ?? 0) + 1
    this.#sent.set(sender.name, count)
    return `${sender.name}#${count}`
  }

  #play(sent: Sent, fate: Fate, exchange: Exchange): void {
    const { request } = sent
    const { fault, sendMs, workMs, dateMs, answerMs, lateMs } = fate
    const effect = (ms: number, then?: (reply: S3Reply) => void) => {
      this.#effect(sent, ms, workMs, then)
    }
    const totalMs = sendMs + workMs + dateMs + answerMs
    const failed = (status: number) =>
      exchange.reply(totalMs, errorReply(status, request), this.#date(totalMs - answerMs))
    switch (fault) {
      case undefined:
      case 'slow':
      case 'twice':
      case 'answer cut': {
        const respond = (reply: S3Reply) =>
          exchange.reply(dateMs + answerMs, reply, this.#date(dateMs), fault === 'answer cut')
        effect(sendMs, fault === 'twice' ? () => effect(dateMs, respond) : respond)
        return
      }
      case 'request lost':
        exchange.reset(sendMs)
        return
      case 'answer lost':
        effect(sendMs)
        exchange.reset(totalMs)
        return
      case 'no answer':
        exchange.timeOut(this.#traits.idleMs)
        return
      case 'no answer, effect':
        effect(sendMs)
        exchange.timeOut(this.#traits.idleMs)
        return
      case 'late effect':
        effect(lateMs)
        if (lateMs % 2 === 0) exchange.reset(totalMs)
        else exchange.timeOut(this.#traits.idleMs)
        return
      case 'status 500, effect':
        effect(sendMs)
        failed(500)
        return
      case 'status 500':
        failed(500)
        return
      case 'status 503':
        failed(503)
        return
      case 'status 409':
        failed(409)
        return
      case 'error in 200, effect':
        effect(sendMs)
        exchange.reply(totalMs, { ...errorReply(500, request), status: 200 }, this.#date(totalMs - answerMs))
        return
      case 'error in 200':
        exchange.reply(totalMs, { ...errorReply(500, request), status: 200 }, this.#date(totalMs - answerMs))
        return
    }
  }

  /** The store's date in `ms` milliseconds. */
  #date(ms: number): string {
    return new Date(this.#sim.wallClock(this.actor) + ms).toUTCString()
  }

  #effect(
    { request, operation, body, name }: Sent,
    sendMs: number,
    workMs: number,
    then?: (reply: S3Reply) => void,
  ): void {
    const completing = operation === 'CompleteMultipartUpload' ? { isAborted: false } : undefined
    const uploadId = request.query.get('uploadId') ?? ''
    if (completing !== undefined)
      this.#sim.after(sendMs, this.actor, `start ${name}`, () => {
        this.#completing.set(uploadId, completing)
      })
    const past = this.#restores
    this.#sim.after(sendMs + workMs, this.actor, `effect ${name}`, () => {
      if (past !== this.#restores) return
      const reply = this.#reply(request, operation, body)
      this.#sim.note(`    store: ${name} ${operation} ${request.key} → ${reply.status}`)
      if (completing !== undefined) this.#completed(request.key, uploadId, completing, workMs)
      if (WRITES.has(operation)) this.#changed(request, operation, body, name)
      then?.(reply)
    })
  }

  #completed(key: string, uploadId: string, completing: { isAborted: boolean }, ms: number): void {
    const object = this.bucket.objects.get(key)
    this.#sim.after(ms, this.actor, 'completed', () => {
      if (this.#completing.get(uploadId) === completing) this.#completing.delete(uploadId)
      if (!completing.isAborted || object === undefined) return
      this.#sim.after(this.actor.random.between(1, GARBAGE_MS_MAX), this.actor, `destroy ${key}`, () => {
        this.#sim.note(`    store: ${key} is destroyed, by its Abort`)
        object.isLost = true
        this.onChange(key, 'its Abort')
      })
    })
  }

  #changed({ key }: S3Request, operation: Operation, body: Buffer, name: string): void {
    const keys =
      operation === 'DeleteObjects'
        ? [...body.toString().matchAll(/<Key>(.*?)<\/Key>/g)].map(([, each]) => each as string)
        : [key]
    for (const each of keys) this.onChange(each, name)
  }

  #reply(request: S3Request, operation: Operation, body: Buffer): S3Reply {
    try {
      const completing = this.#completing.get(request.query.get('uploadId') ?? '')
      if (operation === 'AbortMultipartUpload' && completing !== undefined && this.#traits.abortDestroys) {
        completing.isAborted = true
        return { status: 204 }
      }
      return perform(request, body, this.#buckets)
    } catch (error) {
      if (!(error instanceof S3Error)) throw error
      return replyOf(error, request)
    }
  }
}

function targetOf({ path, query = {} }: HandlerRequest): string {
  const search = Object.entries(query).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value]).map(
      each => `${encodeURIComponent(name)}=${encodeURIComponent(each ?? '')}`,
    ),
  )
  return search.length === 0 ? path : `${path}?${search.join('&')}`
}

function bytesOf(body: unknown): Buffer {
  if (body === undefined || body === null) return Buffer.alloc(0)
  if (typeof body === 'string') return Buffer.from(body)
  // A copy, because the client may change its buffer.
  if (body instanceof Uint8Array) return Buffer.from(body)
  throw new Error('The body of a request is a stream, which is not simulated.')
}

function errorReply(status: number, request: S3Request): S3Reply {
  const codes: Record<number, string> = {
    409: 'ConditionalRequestConflict',
    500: 'InternalError',
    503: 'SlowDown',
  }
  return replyOf(new S3Error(codes[status] as string, 'Simulated', status), request)
}

function replyOf(error: S3Error, { method, bucket, key }: S3Request): S3Reply {
  if (method === 'HEAD') return { status: error.status }
  return {
    status: error.status,
    headers: { 'content-type': 'application/xml' },
    body: errorDocument(error, `/${bucket}/${key}`),
  }
}
