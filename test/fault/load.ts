/**
 * Clients that send events at a bounded rate, as SDKs do: alone or several in a request.
 *
 * Such as bring their own messageId are sent again, to the other server and with another key of their
 * source, until they are answered 200; and some that were answered are sent once more. Such without an
 * id are sent again only where the connection was refused, so that they were certainly not taken: their
 * ordinal in the archive twice is a mistake of the server's.
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
const TWIN_SHARE = 0.03
const RETRY_MS = [250, 1_500] as const
const OWN_IDS = ['text', 'uuid'] as const
/** Of an event that is alone, and of all events of a request. */
const IDS: readonly IdKind[] = ['none', 'none', ...OWN_IDS]
const CARRIERS: readonly Carrier[] = [
  ...Array<Carrier>(12).fill('single'),
  'array',
  'lines',
  'segment',
  'segment',
]
const TOGETHER_MAX = 30
/** Such as are larger go alone: Segment's paths take no larger ones, and a request with many has its limit. */
const TOGETHER_BYTES_MAX = 10_000
const BURST_TOGETHER = 50
const BURST_REQUESTS_AT_ONCE = 16
const STORM_SHARE = 0.1

export interface Pace extends Sizes {
  /** Events. */
  readonly perSecond: number
  /** One event in ten is sent twice, to different servers at about the same time. */
  readonly isStorm: boolean
}

export interface Patience {
  /** After so long a client gives up; its event may then be in the archive, or not. */
  readonly giveUpMs: number
  /** When an event that was answered is sent once more, at the latest. */
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
  readonly #patience: Patience
  readonly #client = new Client(IN_FLIGHT_MAX)
  readonly #sending = new Set<Promise<void>>()
  #stopping = new AbortController()
  #pace: Pace = { perSecond: 0, bytesMin: 0, bytesMax: 0, isStorm: false }
  #due = 0
  #tickedAt = 0
  #timer: NodeJS.Timeout | undefined

  constructor(ports: readonly number[], ledger: Ledger, random: Random, patience: Patience) {
    this.#ports = ports
    this.#ledger = ledger
    this.#random = random
    this.#patience = patience
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
  }

  /**
   * Sends events as fast as they are taken, and resolves when they are.
   * @param isStorm one in ten is sent twice, to different servers at once
   */
  async burst(events: number, sizes: Sizes, isStorm: boolean): Promise<void> {
    let left = events
    const sendOn = async () => {
      while (left > 0) {
        const count = Math.min(left, BURST_TOGETHER)
        left -= count
        const sending = this.#create('array', count, 'uuid', sizes)
        const again = isStorm ? [this.#send(this.#part(sending, sizes), 1)] : []
        await Promise.all([this.#send(sending, 0), ...again])
      }
    }
    await Promise.all(Array.from({ length: BURST_REQUESTS_AT_ONCE }, sendOn))
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

  /** @returns how many events that is */
  #sendNext(): number {
    if (this.#random.chance(TWIN_SHARE)) return this.#sendTwins()
    const areSmall = this.#pace.bytesMax < TOGETHER_BYTES_MAX
    const carrier = areSmall ? this.#random.pick(CARRIERS) : 'single'
    const count = carrier === 'single' ? 1 : this.#random.between(2, TOGETHER_MAX)
    const sending = this.#create(carrier, count, this.#random.pick(IDS), this.#pace)
    this.#begin(this.#send(sending, 0))
    const isTwice = this.#pace.isStorm && sending.hasOwnIds && this.#random.chance(STORM_SHARE)
    if (isTwice) this.#begin(this.#send(sending, 1))
    return count
  }

  #sendTwins(): number {
    const ordinals = this.#ledger.addTwins(this.#random.pick(OWN_IDS))
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

  /** The first tenth of what was sent together. */
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

  /** @param server that is tried first, counted from the one whose turn it is */
  async #send(sending: Sending, server: number): Promise<void> {
    const { ordinals, hasOwnIds } = sending
    const first = (ordinals[0] as number) + server
    const deadline = performance.now() + this.#patience.giveUpMs
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
    const ms = this.#random.between(0, this.#patience.repeatMsMax)
    await sleep(ms, undefined, { signal: this.#stopping.signal }).catch(() => {})
    this.#ledger.repeated++
    await this.#post(this.#random.between(0, 1), sending)
  }

  #post(server: number, { source, body }: Sending) {
    const port = this.#ports[server % this.#ports.length] as number
    return this.#client.post(port, this.#random.pick<string>(SOURCES[source].keys), body)
  }
}
