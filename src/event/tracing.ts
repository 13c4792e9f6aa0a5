/**
 * Spans of events, from the request to the object: see docs/tracing.md.
 *
 * Only OpenTelemetry's API is used. Without an SDK its spans record nothing and pass on the client's context. So the
 * archiver can have an SDK even if the ingest process has none.
 */

import type { IncomingHttpHeaders } from 'node:http'
import { createRequire } from 'node:module'
import type { Attributes, Context, Span, SpanContext, Tracer } from '@opentelemetry/api'
import type { Event } from './event.ts'
import type { EventTrace } from './event-trace.ts'

/** Requests that get a span in one batch, at most: the default limit for links of a span. */
const BATCH_TRACES_MAX = 128

/** W3C Trace Context, section 3.2. Version 00 ends after the flags; later versions may have more. */
const TRACEPARENT = /^(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/

// OpenTelemetry's semantic conventions for messaging spans.
const PUBLISHING = {
  'messaging.system': 'frequency',
  'messaging.operation.name': 'publish',
  'messaging.operation.type': 'send',
}
const ARCHIVING = {
  'messaging.system': 'frequency',
  'messaging.operation.name': 'archive',
  'messaging.operation.type': 'process',
}

const require = createRequire(import.meta.url)

interface Tracing {
  readonly api: typeof import('@opentelemetry/api')
  /** Looks for the SDK when it starts its first span, so the SDK may be loaded after the tracer was made. */
  readonly tracer: Tracer
}

let loaded: Tracing | undefined

/** Loads the API when the first event with a trace arrives: most processes never get one. */
function tracing(): Tracing {
  if (loaded === undefined) {
    const api: typeof import('@opentelemetry/api') = require('@opentelemetry/api')
    loaded = { api, tracer: api.trace.getTracer('frequency') }
  }
  return loaded
}

/** The span of a request that publishes events. */
export class RequestTrace {
  readonly #span: Span

  constructor(span: Span) {
    this.#span = span
  }

  /** The trace to send with the request's events; undefined if the trace is not sampled. */
  get context(): EventTrace | undefined {
    const own = this.#span.spanContext()
    return (own.traceFlags & tracing().api.TraceFlags.SAMPLED) === 0 ? undefined : own
  }

  /** Ends the span when the promise settles. A rejection is recorded as the span's error, and thrown on. */
  async through<T>(published: Promise<T>): Promise<T> {
    try {
      return await published
    } catch (error) {
      this.#span.recordException(error as Error)
      const code = tracing().api.SpanStatusCode.ERROR
      this.#span.setStatus({ code, message: (error as Error).message })
      throw error
    } finally {
      this.#span.end()
    }
  }
}

/** Starts the span of a request with a `traceparent`. Undefined without one, or if it is invalid and no span is active. */
export function startTrace({ traceparent, tracestate }: IncomingHttpHeaders): RequestTrace | undefined {
  if (typeof traceparent !== 'string') return undefined
  const parent = parentOf(traceparent, tracestate)
  if (parent === undefined) return undefined
  const { api, tracer } = tracing()
  const options = { kind: api.SpanKind.PRODUCER, attributes: PUBLISHING }
  return new RequestTrace(tracer.startSpan('publish event', options, parent))
}

/** Publishes an event. If the request's headers name a trace, the event becomes a part of it. */
export function publishTraced<T>(
  queue: { publish(event: Event, trace?: EventTrace): Promise<T> },
  event: Event,
  headers: IncomingHttpHeaders,
): Promise<T> {
  const trace = startTrace(headers)
  const published = queue.publish(event, trace?.context)
  return trace?.through(published) ?? published
}

/** `publishTraced` for all events of a request. */
export function publishAllTraced<T>(
  queue: { publishAll(events: readonly Event[], trace?: EventTrace): Promise<T> },
  events: readonly Event[],
  headers: IncomingHttpHeaders,
): Promise<T> {
  const trace = startTrace(headers)
  const published = queue.publishAll(events, trace?.context)
  return trace?.through(published) ?? published
}

/** The parent of the new span: the active span if an SDK's instrumentation has one, else the client's span. */
function parentOf(traceparent: string, tracestate: string | string[] | undefined): Context | undefined {
  const { context, createTraceState, isSpanContextValid, ROOT_CONTEXT, trace } = tracing().api
  const active = context.active()
  if (trace.getSpanContext(active) !== undefined) return active
  const [, version, traceId = '', spanId = '', flags = '', more] = TRACEPARENT.exec(traceparent) ?? []
  if (version === '00' && more !== undefined) return undefined
  const client = {
    traceId,
    spanId,
    traceFlags: Number.parseInt(flags, 16),
    isRemote: true,
    ...(typeof tracestate === 'string' && { traceState: createTraceState(tracestate) }),
  }
  return isSpanContextValid(client) ? trace.setSpanContext(ROOT_CONTEXT, client) : undefined
}

/** A traced request whose events are in a batch. */
interface BatchPart {
  readonly published: EventTrace
  readonly takenAt: number
  events: number
}

/**
 * Collects the traces of a batch's events. Makes the spans when the batch is archived: one of the batch, one a
 * request.
 */
export class BatchTrace {
  readonly #startedAt = Date.now()
  /** By span id. */
  readonly #parts = new Map<string, BatchPart>()

  take(events: readonly EventTrace[]): void {
    const takenAt = Date.now()
    for (const published of events) {
      const part = this.#parts.get(published.spanId)
      if (part !== undefined) part.events++
      else if (this.#parts.size < BATCH_TRACES_MAX)
        this.#parts.set(published.spanId, { published, takenAt, events: 1 })
    }
  }

  /** @param events how many the batch has, with and without traces */
  archived(key: string, events: number): void {
    const { api, tracer } = tracing()
    const parts = [...this.#parts.values()]
    const options = {
      kind: api.SpanKind.CONSUMER,
      startTime: this.#startedAt,
      attributes: archiving(key, events),
    }
    const links = parts.map(({ published }) => ({ context: remote(published) }))
    const batch = tracer.startSpan('archive batch', { ...options, links }, api.ROOT_CONTEXT)
    for (const part of parts) archivedPart(part, key, batch)
    batch.end()
  }
}

function archivedPart({ published, takenAt, events }: BatchPart, key: string, batch: Span): void {
  const { api, tracer } = tracing()
  const options = {
    kind: api.SpanKind.CONSUMER,
    startTime: takenAt,
    attributes: archiving(key, events),
    links: [{ context: batch.spanContext() }],
  }
  const parent = api.trace.setSpanContext(api.ROOT_CONTEXT, remote(published))
  tracer.startSpan('archive event', options, parent).end()
}

function archiving(key: string, events: number): Attributes {
  return { ...ARCHIVING, 'frequency.object.key': key, 'messaging.batch.message_count': events }
}

function remote(context: EventTrace): SpanContext {
  return { ...context, isRemote: true }
}
