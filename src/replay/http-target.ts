import { ReplayStopped } from '../errors.ts'
import { failureReason } from '../process/failure-reason.ts'
import { BackOff, sleep } from '../process/sleep.ts'
import type { BodyForm } from './event-bodies.ts'
import { type HttpAnswer, HttpPoster } from './http-post.ts'
import type { EventRequest, RequestLimits } from './requests.ts'
import type { RefusedEvent, ReplayTarget } from './target.ts'

const BACK_OFF = { msMin: 200, msMax: 30_000 }
const RETRY_AFTER_MS_MAX = 10 * 60_000
const SAID_CHARS_MAX = 300
/** The server refuses what is in the request, or its size. Other codes from 400 on are about the URL or the key. */
const EVENTS_REFUSED: ReadonlySet<number> = new Set([400, 413, 422])
/** The server may take the same request later. */
const LATER: ReadonlySet<number> = new Set([408, 425, 429])

export interface HttpTargetOptions {
  readonly form: BodyForm
  readonly headers: Readonly<Record<string, string>>
  readonly concurrency: number
  /** Of one try. */
  readonly requestMsMax: number
  /** How long a request is tried again. */
  readonly retryMsMax: number
  /** Called before each pause between tries. */
  onRetry(reason: string): void
}

/** Sends events to a URL, and tries again while it cannot be reached or is not ready. */
const NO_ROUTE = new Set([404, 405])
const PATHS =
  'Is the path of --to right? On a server of frequency it is /api/t/batch or /v1/batch, else that of a webhook'

export class HttpTarget implements ReplayTarget {
  readonly description: string
  readonly limits: RequestLimits
  readonly concurrency: number
  readonly #options: HttpTargetOptions
  readonly #poster: HttpPoster

  constructor(url: URL, options: HttpTargetOptions) {
    const { form, headers, concurrency, requestMsMax } = options
    // No user name, no password and no query: they may have secrets.
    this.description = url.origin + url.pathname
    this.limits = form.limits
    this.concurrency = concurrency
    this.#options = options
    this.#poster = new HttpPoster(url, {
      headers: { 'content-type': form.contentType, 'user-agent': 'frequency-replay', ...headers },
      msMax: requestMsMax,
      connections: concurrency,
    })
  }

  async send({ events }: EventRequest, signal: AbortSignal): Promise<readonly RefusedEvent[]> {
    const answer = await this.#answer(this.#options.form.body(events), signal)
    const { status } = answer
    if (status >= 200 && status < 300) return this.#options.form.hasRefusedList ? listed(answer) : []
    if (status >= 300 && status < 400)
      throw this.#stopped(`answers ${status} to ${said(answer.location ?? '')}: name that URL`)
    if (NO_ROUTE.has(status)) throw this.#stopped(`answers ${inWords(answer)}. ${PATHS}`)
    if (!EVENTS_REFUSED.has(status)) throw this.#stopped(`answers ${inWords(answer)}`)
    const refused = this.#options.form.hasRefusedList ? listed(answer) : []
    if (refused.length > 0) return refused
    // One of several events may be the reason. A request that was refused has taken none.
    if (events.length > 1) return await this.#halves(events, signal)
    return [{ index: 0, reason: inWords(answer) }]
  }

  close(): Promise<void> {
    this.#poster.close()
    return Promise.resolve()
  }

  async #halves(events: readonly Buffer[], signal: AbortSignal): Promise<readonly RefusedEvent[]> {
    const middle = events.length >> 1
    const first = await this.send({ first: 0, events: events.slice(0, middle) }, signal)
    const second = await this.send({ first: 0, events: events.slice(middle) }, signal)
    return [...first, ...second.map(({ index, reason }) => ({ index: index + middle, reason }))]
  }

  /** The first answer that is not about the moment. */
  async #answer(body: Buffer, signal: AbortSignal): Promise<HttpAnswer> {
    const backOff = new BackOff(BACK_OFF)
    const start = performance.now()
    for (;;) {
      let reason: string
      let pauseMs: number | undefined
      try {
        const answer = await this.#poster.post(body)
        if (answer.status < 500 && !LATER.has(answer.status)) return answer
        reason = `answers ${inWords(answer)}`
        pauseMs = retryAfterMs(answer.retryAfter, Date.now())
      } catch (error) {
        reason = `cannot be reached: ${failureReason(error)}`
      }
      const isLate = performance.now() - start + (pauseMs ?? 0) > this.#options.retryMsMax
      if (isLate || signal.aborted) throw this.#stopped(reason)
      this.#options.onRetry(`${this.description} ${reason}`)
      await (pauseMs === undefined ? backOff.pause(signal) : sleep(pauseMs, signal))
      if (signal.aborted) throw this.#stopped(reason)
    }
  }

  #stopped(reason: string): Error {
    return new ReplayStopped(`${this.description} ${reason}.`)
  }
}

/** Milliseconds until the time in a `retry-after` (RFC 9110, section 10.2.3): seconds, or a date. */
export function retryAfterMs(text: string | undefined, nowMs: number): number | undefined {
  if (text === undefined) return undefined
  const ms = /^\d+$/.test(text) ? Number(text) * 1_000 : Date.parse(text) - nowMs
  return Number.isNaN(ms) ? undefined : Math.min(RETRY_AFTER_MS_MAX, Math.max(0, ms))
}

function inWords({ status, text }: HttpAnswer): string {
  const words = messageIn(text) ?? text
  return words === '' ? String(status) : `${status}: ${said(words).replace(/\.$/, '')}`
}

/** The `message` of our own answers, and of many others. */
function messageIn(text: string): string | undefined {
  const { message } = (parsed(text) ?? {}) as { message?: unknown }
  return typeof message === 'string' ? message : undefined
}

function listed({ text }: HttpAnswer): RefusedEvent[] {
  const { refused } = (parsed(text) ?? {}) as { refused?: unknown }
  if (!Array.isArray(refused)) return []
  return refused.map(each => {
    const { index, message } = each as { index: number; message?: unknown }
    return { index, reason: said(String(message ?? 'no reason is given')).replace(/\.$/, '') }
  })
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** On one line, and cut. Control characters, which a terminal would obey, are escaped when it is printed. */
function said(text: string): string {
  const line = text.replace(/\s+/g, ' ').trim()
  return line.length > SAID_CHARS_MAX ? `${line.slice(0, SAID_CHARS_MAX)}…` : line
}
