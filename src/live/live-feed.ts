/**
 * Feeds the live page and `frequency tail`.
 *
 * The counters are read once a second, also without a viewer, so that a page shows the last minutes at once. The rest
 * is done only while there are viewers: durable events are handed to them, the broker is asked for its queue lengths,
 * and the state is put together once for all viewers.
 */

import { ViewersTooMany } from '../errors.ts'
import type { EventGroup } from '../event/event-group.ts'
import type { Durability } from '../queue/queue.ts'
import type { Waiting } from '../queue/queue-stats.ts'
import { ArchivedRate } from './archived-rate.ts'
import {
  countEvents,
  currentState,
  describe,
  type EventCounts,
  type LiveSources,
  oldestReceivedAt,
} from './live-state.ts'
import type { Viewer } from './viewer.ts'

const VIEWERS_MAX = 20
const SAMPLE_MS = 1_000
const SAMPLES_MAX = 300
const FLUSH_MS = 100
/** The broker's last answer is shown for this time; then the queue lengths are unknown. */
const WAITING_MS_MAX = 5_000

interface Sample {
  /** `performance.now()` */
  readonly ms: number
  readonly counts: EventCounts
}

export class LiveFeed {
  readonly #sources: LiveSources
  readonly #viewers = new Set<Viewer>()
  readonly #watch = (group: EventGroup, durability: Durability): void => {
    for (const viewer of this.#viewers) this.#offer(viewer, group, durability)
  }
  #sampling: NodeJS.Timeout | undefined
  #flushing: NodeJS.Timeout | undefined
  #flushedMs = 0
  #last: Sample
  #archivedRate: ArchivedRate
  /** Events a second, oldest first. */
  readonly #rates: EventCounts[] = []
  #waiting: Waiting | undefined
  #waitingMs = Number.NEGATIVE_INFINITY
  #isAsking = false
  /** The last known time of receipt of the oldest event, and how many events had been archived at that time. */
  #oldest: { readonly at: number; readonly archived: number } | undefined

  constructor(sources: LiveSources) {
    this.#sources = sources
    this.#last = this.#sample()
    this.#archivedRate = this.#newArchivedRate()
  }

  start(): void {
    this.#last = this.#sample()
    this.#archivedRate = this.#newArchivedRate()
    this.#sampling = setInterval(() => this.#tick(), SAMPLE_MS).unref()
  }

  /** Ends all viewers. `add` throws from now on. */
  stop(): void {
    clearInterval(this.#sampling)
    this.#sampling = undefined
    for (const viewer of this.#viewers) viewer.end()
    this.#viewers.clear()
    this.#unwatch()
  }

  /** @throws ViewersTooMany if there are 20 viewers already, or if the feed is stopped */
  add(viewer: Viewer): void {
    if (this.#viewers.size >= VIEWERS_MAX || this.#sampling === undefined)
      throw new ViewersTooMany(VIEWERS_MAX)
    if (this.#viewers.size === 0) this.#beginToWatch()
    this.#viewers.add(viewer)
    viewer.send('hello', { ...describe(this.#sources), history: this.#rates })
    viewer.send('state', { ...this.#state(), isNext: false })
    this.#ask()
  }

  remove(viewer: Viewer): void {
    this.#viewers.delete(viewer)
    if (this.#viewers.size === 0) this.#unwatch()
  }

  get viewers(): number {
    return this.#viewers.size
  }

  #beginToWatch(): void {
    this.#sources.queue.watchers.add(this.#watch)
    this.#flushedMs = performance.now()
    this.#flushing = setInterval(() => this.#flush(), FLUSH_MS)
  }

  #unwatch(): void {
    this.#sources.queue.watchers.delete(this.#watch)
    clearInterval(this.#flushing)
    this.#flushing = undefined
  }

  /** An error of a viewer must not reach the publishing of events. */
  #offer(viewer: Viewer, group: EventGroup, durability: Durability): void {
    try {
      viewer.offer(group, durability)
    } catch (err) {
      this.#sources.log.error({ err }, 'Events could not be shown: a viewer is dropped.')
      viewer.end()
    }
  }

  #flush(): void {
    const now = performance.now()
    for (const viewer of this.#viewers) viewer.flush(now - this.#flushedMs)
    this.#flushedMs = now
  }

  #sample(): Sample {
    return { ms: performance.now(), counts: countEvents(this.#sources) }
  }

  #newArchivedRate(): ArchivedRate {
    const { ms, counts } = this.#last
    return new ArchivedRate({ ms, archived: counts.archived }, this.#sources.config.batchAgeMsMax)
  }

  #tick(): void {
    const sample = this.#sample()
    this.#rates.push(ratesBetween(this.#last, sample, this.#archivedRate))
    this.#last = sample
    if (this.#rates.length > SAMPLES_MAX) this.#rates.shift()
    if (this.#viewers.size === 0) return
    const state = { ...this.#state(), isNext: true }
    for (const viewer of this.#viewers) viewer.send('state', state)
    this.#ask()
  }

  #state(): object {
    const isKnown = performance.now() - this.#waitingMs < WAITING_MS_MAX
    return {
      ...currentState(this.#sources),
      oldestAt: this.#oldestAt(),
      rates: this.#rates.at(-1),
      waiting: isKnown ? this.#waiting : undefined,
    }
  }

  /**
   * When archiving fails, the archiver forgets its events. The last known time counts until events are archived
   * again.
   */
  #oldestAt(): number | undefined {
    const at = oldestReceivedAt(this.#sources)
    const { archived } = countEvents(this.#sources)
    const before = this.#oldest?.archived === archived ? this.#oldest.at : undefined
    const oldest = at === undefined || before === undefined ? (at ?? before) : Math.min(at, before)
    this.#oldest = oldest === undefined ? undefined : { at: oldest, archived }
    return oldest
  }

  #ask(): void {
    if (this.#isAsking) return
    this.#isAsking = true
    this.#sources.queue
      .waiting()
      .then(
        waiting => {
          this.#waiting = waiting
          this.#waitingMs = performance.now()
        },
        // The last answer expires, and the page shows the lengths as unknown.
        () => {},
      )
      .finally(() => {
        this.#isAsking = false
      })
  }
}

function ratesBetween(from: Sample, to: Sample, archived: ArchivedRate): EventCounts {
  const seconds = (to.ms - from.ms) / 1000
  const rounded = (perSecond: number): number => Math.round(perSecond * 10) / 10
  const rate = (name: keyof EventCounts): number =>
    seconds === 0 ? 0 : rounded((to.counts[name] - from.counts[name]) / seconds)
  return {
    in: rate('in'),
    confirmed: rate('confirmed'),
    spooled: rate('spooled'),
    archived: rounded(archived.next({ ms: to.ms, archived: to.counts.archived })),
  }
}
