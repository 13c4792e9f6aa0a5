/**
 * Clients that send events at a bounded rate, as SDKs do.
 *
 * Half of the events bring their own messageId. Such a one is sent again, to the other server, until it
 * is answered 200; and some that were answered are sent once more. One without an id is sent again only
 * where its connection was refused, so that it was certainly not taken: its ordinal in the archive twice
 * is a mistake of the server's.
 */
import { randomBytes } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import { Agent, request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Ledger } from './ledger.ts'
import type { Random } from './random.ts'

const TICK_MS = 10
const ANSWER_MS_MAX = 8_000
const IN_FLIGHT_MAX = 400
const OWN_ID_SHARE = 0.5
const REPEAT_SHARE = 0.02
const REPEAT_MS_MAX = 20_000
const RETRY_MS = [250, 1_500] as const
/** After so long a client gives up; its event may then be in the archive, or not. */
const PATIENCE_MS = 60_000
const NOISE = randomBytes(1024 * 1024).toString('base64')

/** How many events a second there are, and how large their incompressible part is. */
export interface Pace {
  readonly perSecond: number
  readonly bytesMin: number
  readonly bytesMax: number
}

interface Answer {
  /** Undefined where none came. */
  readonly status: number | undefined
  readonly durability: string
  /** Whether the server cannot have seen the request. */
  readonly isUnsent: boolean
}

export class Load {
  readonly #ports: readonly number[]
  readonly #ledger: Ledger
  readonly #random: Random
  readonly #agent = new Agent({ keepAlive: true, maxSockets: IN_FLIGHT_MAX })
  readonly #sending = new Set<Promise<void>>()
  readonly #stopping = new AbortController()
  #pace: Pace = { perSecond: 0, bytesMin: 0, bytesMax: 0 }
  #due = 0
  #tickedAt = 0
  #timer: NodeJS.Timeout | undefined
  #inFlight = 0

  constructor(ports: readonly number[], ledger: Ledger, random: Random) {
    this.#ports = ports
    this.#ledger = ledger
    this.#random = random
    // One for each event that waits to be repeated.
    setMaxListeners(0, this.#stopping.signal)
  }

  start(pace: Pace): void {
    this.#pace = pace
    if (this.#timer === undefined) this.#tickedAt = performance.now()
    this.#timer ??= setInterval(() => this.#tick(), TICK_MS)
  }

  /** Sends no new events; resolves when all that were begun are answered or given up. */
  async stop(): Promise<void> {
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#stopping.abort()
    while (this.#sending.size > 0) await Promise.all(this.#sending)
    this.#agent.destroy()
  }

  #tick(): void {
    const now = performance.now()
    const { perSecond } = this.#pace
    this.#due = Math.min(this.#due + (perSecond * (now - this.#tickedAt)) / 1_000, perSecond)
    this.#tickedAt = now
    for (; this.#due >= 1 && this.#inFlight < IN_FLIGHT_MAX; this.#due--) this.#begin(this.#send())
  }

  #begin(work: Promise<void>): void {
    this.#sending.add(work)
    void work.finally(() => this.#sending.delete(work))
  }

  async #send(): Promise<void> {
    const ordinal = this.#ledger.add(this.#random.chance(OWN_ID_SHARE))
    const body = this.#bodyOf(ordinal)
    const hasOwnId = this.#ledger.idOf(ordinal) !== undefined
    const deadline = performance.now() + PATIENCE_MS
    for (let attempt = 0; performance.now() < deadline; attempt++) {
      if (attempt > 0) await sleep(this.#random.between(...RETRY_MS))
      const { status, durability, isUnsent } = await this.#post(ordinal + attempt, body)
      if (status === 200) {
        this.#ledger.acknowledge(ordinal, durability)
        if (hasOwnId && this.#random.chance(REPEAT_SHARE)) this.#begin(this.#repeat(body))
        return
      }
      this.#ledger.refused++
      if (!hasOwnId && !isUnsent) return
      this.#ledger.retried++
    }
  }

  async #repeat(body: Buffer): Promise<void> {
    const ms = this.#random.between(0, REPEAT_MS_MAX)
    await sleep(ms, undefined, { signal: this.#stopping.signal }).catch(() => {})
    this.#ledger.repeated++
    await this.#post(this.#random.between(0, 1), body)
  }

  #bodyOf(ordinal: number): Buffer {
    const bytes = this.#random.between(this.#pace.bytesMin, this.#pace.bytesMax)
    const start = this.#random.between(0, NOISE.length - bytes - 1)
    return Buffer.from(
      JSON.stringify({
        event: 'fault_test',
        messageId: this.#ledger.idOf(ordinal),
        properties: { ordinal, bytes, noise: NOISE.slice(start, start + bytes) },
      }),
    )
  }

  #post(server: number, body: Buffer): Promise<Answer> {
    this.#inFlight++
    return new Promise<Answer>(resolve => {
      const port = this.#ports[server % this.#ports.length]
      const headers = { 'content-type': 'application/json', 'content-length': body.length }
      const options = { port, host: '127.0.0.1', method: 'POST', path: '/api/t', agent: this.#agent, headers }
      const posting = request(options, answer => {
        answer.resume()
        const durability = String(answer.headers['frequency-ack'])
        resolve({ status: answer.statusCode, durability, isUnsent: false })
      })
      const timer = setTimeout(() => posting.destroy(), ANSWER_MS_MAX)
      posting.once('close', () => {
        clearTimeout(timer)
        resolve({ status: undefined, durability: '', isUnsent: false })
      })
      posting.once('error', (error: NodeJS.ErrnoException) =>
        resolve({ status: undefined, durability: '', isUnsent: error.code === 'ECONNREFUSED' }),
      )
      posting.end(body)
    }).finally(() => this.#inFlight--)
  }
}
