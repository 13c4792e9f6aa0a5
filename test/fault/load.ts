/**
 * Clients that send events at a bounded rate, one or several per request, as SDKs do.
 *
 * Events with their own messageId are retried until the answer is 200: at another server, and with another key of
 * their source. Some of them are repeated after the answer. Events without an id are retried only if the connection
 * was refused, so that no server has received them. If the archive has such an event twice, the server has made a
 * mistake.
 */
import { setMaxListeners } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from './client.ts'
import { type Body, bodyOf, type Carrier, eventOf, type Sizes } from './event-body.ts'
import type { Random } from './random.ts'
import { type IdKind, type Ledger, SOURCES, type SourceIndex } from './sent-events.ts'

const TICK_MS = 10
const IN_FLIGHT_MAX = 400
const REPEAT_SHARE = 0.02
const ID_PAIR_SHARE = 0.03
const RETRY_MS = [250, 1_500] as const
const OWN_IDS = ['text', 'uuid'] as const
/** The kinds of ids. All events of one request have the same kind. */
const IDS: readonly IdKind[] = ['none', 'none', ...OWN_IDS]
const CARRIERS: readonly Carrier[] = [
  ...Array<Carrier>(12).fill('single'),
  'array',
  'lines',
  'segment',
  'segment',
]
const EVENTS_PER_REQUEST_MAX = 30
/** Larger events are sent one per request: Segment's paths refuse them, and requests have a limit. */
const GROUPED_BYTES_MAX = 10_000
const BURST_EVENTS_PER_REQUEST = 50
const BURST_REQUESTS_AT_ONCE = 16
const STORM_SHARE = 0.1

export interface Pace extends Sizes {
  /** Events per second. */
  readonly perSecond: number
  /** Whether one event in ten is sent twice, to different servers at about the same time. */
  readonly isStorm: boolean
}

export interface ClientTimes {
  /** A client stops retrying after this time. Its event may be in the archive or not. */
  readonly retryMsMax: number
  /** Latest time after the answer at which an event is repeated. */
  readonly repeatMsMax: number
}

interface Sending {
  readonly ordinals: readonly number[]
  readonly source: SourceIndex
  readonly hasOwnIds: boolean
  readonly body: Body
}

export class Load {
  readonly #ports: readonly number[]
  readonly #ledger: Ledger
  readonly #random: Random
  readonly #times: ClientTimes
  readonly #client = new Client(IN_FLIGHT_MAX)
  readonly #sending = new Set<Promise<void>>()
  #stopping = new AbortController()
  #pace: Pace = { perSecond: 0, bytesMin: 0, bytesMax: 0, isStorm: false }
  #due = 0
  #tickedAt = 0
  #timer: NodeJS.Timeout | undefined

  constructor(ports: readonly number[], ledger: Ledger, random: Random, times: ClientTimes) {
    this.#ports = ports
    this.#ledger = ledger
    this.#random = random
    this.#times = times
    // One listener per event that waits to be repeated.
    setMaxListeners(0, this.#stopping.signal)
  }

  start(pace: Pace): void {
    this.#pace = pace
    if (this.#timer === undefined) this.#tickedAt = performance.now()
    this.#timer ??= setInterval(() => this.#tick(), TICK_MS)
  }

  /** Sends no new events. Resolves when all started requests are answered or no longer retried. */
  async stop(): Promise<void> {
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#stopping.abort()
    while (this.#sending.size > 0) await Promise.all(this.#sending)
  }

  /**
   * Sends events as fast as the servers accept them. Resolves when all are answered.
   *
   * @param isStorm whether one event in ten is sent twice, to different servers at once
   */
  async burst(events: number, sizes: Sizes, isStorm: boolean): Promise<void> {
    let left = events
    const work = async () => {
      while (left > 0) {
        const count = Math.min(left, BURST_EVENTS_PER_REQUEST)
        left -= count
        const sending = this.#create('array', count, 'uuid', sizes)
        const again = isStorm ? [this.#send(this.#part(sending, sizes), 1)] : []
        await Promise.all([this.#send(sending, 0), ...again])
      }
    }
    await Promise.all(Array.from({ length: BURST_REQUESTS_AT_ONCE }, work))
  }

  close(): void {
    this.#client.close()
  }

  #tick(): void {
    const now = performance.now()
    const { perSecond } = this.#pace
    this.#due = Math.min(this.#due + (perSecond * (now - this.#tickedAt)) / 1_000, perSecond)
    this.#tickedAt = now
    while (this.#due >= 1 && this.#client.inFlight < IN_FLIGHT_MAX) this.#due -= this.#sendNext()
  }

  /** Sends one request. @returns number of its events */
  #sendNext(): number {
    if (this.#random.chance(ID_PAIR_SHARE)) return this.#sendIdPair()
    const areSmall = this.#pace.bytesMax < GROUPED_BYTES_MAX
    const carrier = areSmall ? this.#random.pick(CARRIERS) : 'single'
    const count = carrier === 'single' ? 1 : this.#random.between(2, EVENTS_PER_REQUEST_MAX)
    const sending = this.#create(carrier, count, this.#random.pick(IDS), this.#pace)
    this.#begin(this.#send(sending, 0))
    const isTwice = this.#pace.isStorm && sending.hasOwnIds && this.#random.chance(STORM_SHARE)
    if (isTwice) this.#begin(this.#send(sending, 1))
    return count
  }

  #sendIdPair(): number {
    const ordinals = this.#ledger.addIdPair(this.#random.pick(OWN_IDS))
    for (const [source, ordinal] of ordinals.entries())
      this.#begin(
        this.#send(this.#wrap('single', [ordinal], source as SourceIndex, true, this.#pace), source),
      )
    return ordinals.length
  }

  #create(carrier: Carrier, count: number, id: IdKind, sizes: Sizes): Sending {
    const source = this.#random.pick([0, 1] as const)
    const ordinals = Array.from({ length: count }, () => this.#ledger.add(id, source))
    return this.#wrap(carrier, ordinals, source, id !== 'none', sizes)
  }

  /** A request with the first tenth of the events. */
  #part({ ordinals, source, hasOwnIds }: Sending, sizes: Sizes): Sending {
    const some = ordinals.slice(0, Math.ceil(ordinals.length * STORM_SHARE))
    return this.#wrap('array', some, source, hasOwnIds, sizes)
  }

  #wrap(
    carrier: Carrier,
    ordinals: readonly number[],
    source: SourceIndex,
    hasOwnIds: boolean,
    sizes: Sizes,
  ): Sending {
    const events = ordinals.map(ordinal => eventOf(this.#ledger, ordinal, sizes, this.#random))
    return { ordinals, source, hasOwnIds, body: bodyOf(carrier, events) }
  }

  #begin(work: Promise<void>): void {
    this.#sending.add(work)
    void work.finally(() => this.#sending.delete(work))
  }

  /** @param server offset of the server to try first */
  async #send(sending: Sending, server: number): Promise<void> {
    const { ordinals, hasOwnIds } = sending
    const first = (ordinals[0] as number) + server
    const deadline = performance.now() + this.#times.retryMsMax
    for (let attempt = 0; performance.now() < deadline; attempt++) {
      if (attempt > 0) await sleep(this.#random.between(...RETRY_MS))
      const { status, durability, isUnsent, isPartial } = await this.#post(first + attempt, sending)
      if (isPartial)
        this.#ledger.complaints.push(`${sending.body.path} refused some of ${ordinals.join(', ')}`)
      if (status === 200) {
        for (const ordinal of ordinals) this.#ledger.acknowledge(ordinal, durability)
        if (hasOwnIds && this.#random.chance(REPEAT_SHARE)) this.#begin(this.#repeat(sending))
        return
      }
      this.#ledger.refused++
      if (!hasOwnIds && !isUnsent) return
      this.#ledger.retried++
    }
  }

  async #repeat(sending: Sending): Promise<void> {
    const ms = this.#random.between(0, this.#times.repeatMsMax)
    await sleep(ms, undefined, { signal: this.#stopping.signal }).catch(() => {})
    this.#ledger.repeated++
    await this.#post(this.#random.between(0, 1), sending)
  }

  #post(server: number, { source, body }: Sending) {
    const port = this.#ports[server % this.#ports.length] as number
    return this.#client.post(port, this.#random.pick<string>(SOURCES[source].keys), body)
  }
}
