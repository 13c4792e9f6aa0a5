import { rm } from 'node:fs/promises'
import { ReplayStopped } from '../errors.ts'
import { memberValue } from '../event/json-members.ts'
import { sleep } from '../process/sleep.ts'
import { type Checkpoint, digestOf, type ReplayState } from './checkpoint.ts'
import type { LinesFile } from './file-target.ts'
import { type EventRequest, requestsOf } from './requests.ts'
import type { SliceFile, SliceReader } from './slice-reader.ts'
import { type Slice, UNTIMED } from './slices.ts'
import type { RefusedEvent, ReplayTarget } from './target.ts'

export interface ReplayParts {
  readonly reader: Pick<SliceReader, 'file' | 'stop'>
  readonly target: ReplayTarget
  readonly state: ReplayState
  /** The slices that are left. The first one is that of the state. */
  readonly slices: readonly Slice[]
  /** Events of all slices of the replay; undefined if a range excludes some that are in them. */
  readonly events: number | undefined
  /** Undefined if nothing can be resumed. */
  readonly checkpoint: Checkpoint | undefined
  /** Takes refused events. Undefined: a refused event stops the replay. */
  readonly skipped: LinesFile | undefined
  /** Events a second at most. */
  readonly rate: number | undefined
  readonly signal: AbortSignal
}

interface SentRequest {
  readonly request: EventRequest
  readonly done: Promise<readonly RefusedEvent[]>
}

/** Sends the events of slices to a target, in order, and keeps how far it is. */
export class Replay {
  readonly #parts: ReplayParts
  #state: ReplayState
  /** When the next request may start. */
  #nextAtMs = 0
  /** Events of the slice that is being sent, of the file and of the log. */
  #sliceLines = 0
  #sliceEvents = 0
  #eventsDone = 0

  constructor(parts: ReplayParts) {
    this.#parts = parts
    this.#state = parts.state
  }

  get state(): ReplayState {
    return this.#state
  }

  /** Events of the slices that were sent, by the log: a measure of how far it is. */
  get progress(): number {
    const share = this.#sliceLines === 0 ? 0 : this.#state.position.lines / this.#sliceLines
    return this.#eventsDone + share * this.#sliceEvents
  }

  /**
   * Resolves when all is sent, or the signal was aborted and the requests on their way are answered.
   *
   * @throws ReplayStopped, QueryFailed, StoreUnavailable
   */
  async run(): Promise<void> {
    const { reader, slices, signal } = this.#parts
    const left = [...slices]
    let preparing = left[0] && reader.file(left[0])
    try {
      for (let slice = left.shift(); slice !== undefined && preparing !== undefined; slice = left.shift()) {
        const file: SliceFile = await preparing
        const counted = this.#state.counted + file.events
        if (left.length === 0 && this.#lacksEvents(slice, counted)) left.push(UNTIMED)
        preparing = left[0] && reader.file(left[0])
        // It is awaited in the next round, or below.
        preparing?.catch(() => {})
        await this.#sendSlice(slice, file)
        if (signal.aborted) return
        this.#endSlice(slice, counted, left[0])
        await rm(file.path, { force: true })
      }
      if (slices.length === 0) this.#save({ isDone: true })
    } finally {
      reader.stop()
      await preparing?.catch(() => {})
    }
  }

  /** Whether the log names events that were in no slice: those without a `receivedAt`. */
  #lacksEvents({ isUntimed }: Slice, counted: number): boolean {
    const { events } = this.#parts
    return !isUntimed && events !== undefined && counted < events
  }

  #endSlice(slice: Slice, counted: number, next: Slice | undefined): void {
    this.#eventsDone += slice.events
    this.#sliceLines = 0
    if (next === undefined) {
      this.#save({ counted, isDone: true })
      return
    }
    const { since, until, isUntimed } = next
    this.#save({ counted, position: { since, until, isUntimed, lines: 0 } })
  }

  async #sendSlice({ events }: Slice, { path, lines }: SliceFile): Promise<void> {
    const { target, rate, signal } = this.#parts
    const { position } = this.#state
    this.#sliceEvents = events
    this.#sliceLines = lines
    if (position.lines > lines) throw this.#changed()
    const eventsMax =
      rate === undefined
        ? target.limits.eventsMax
        : Math.min(target.limits.eventsMax, Math.max(1, Math.floor(rate)))
    const limits = { ...target.limits, eventsMax }
    const requests = requestsOf(path, limits, position.lines, line => {
      if (digestOf(line) !== position.lastLine) throw this.#changed()
    })
    const sent: SentRequest[] = []
    try {
      for await (const request of requests) {
        if (sent.length >= target.concurrency) await this.#settle(sent.shift() as SentRequest)
        await this.#pace(request.events.length)
        if (signal.aborted) break
        const done = target.send(request, signal)
        // It is awaited by #settle, or below if an earlier one fails.
        done.catch(() => {})
        sent.push({ request, done })
      }
      for (let next = sent.shift(); next !== undefined; next = sent.shift()) await this.#settle(next)
    } finally {
      await Promise.allSettled(sent.map(({ done }) => done))
    }
  }

  #changed(): Error {
    return new ReplayStopped(
      'The events are no longer those that this replay began with: the archive was changed, or --where has a value that changes, such as now() or random(). --restart begins again.',
    )
  }

  async #pace(events: number): Promise<void> {
    const { rate, signal } = this.#parts
    if (rate === undefined) return
    const now = performance.now()
    const atMs = Math.max(now, this.#nextAtMs)
    this.#nextAtMs = atMs + (1_000 * events) / rate
    if (atMs > now) await sleep(atMs - now, signal)
  }

  async #settle({ request, done }: SentRequest): Promise<void> {
    const refused = await done
    const indexes = new Map(refused.map(({ index, reason }) => [index, reason]))
    if (indexes.size > 0) await this.#skip(request, indexes)
    this.#advance(request.events, indexes.size)
  }

  async #skip({ events }: EventRequest, reasons: ReadonlyMap<number, string>): Promise<void> {
    const { skipped, target } = this.#parts
    const first = Math.min(...reasons.keys())
    const event = events[first]
    if (event === undefined)
      throw new ReplayStopped(`${target.description} lists a refused event that was not sent.`)
    if (skipped !== undefined) {
      await skipped.append(events.filter((_, index) => reasons.has(index)))
      return
    }
    if (first > 0) this.#advance(events.slice(0, first), 0)
    const { sent, skipped: before } = this.#state
    const id = memberValue(event, 'messageId') ?? 'none'
    throw new ReplayStopped(
      `${target.description} refuses event ${sent + before + 1} (messageId ${id}): ${reasons.get(first)}. --skip-refused FILE puts such events into a file, and goes on.`,
    )
  }

  #advance(events: readonly Buffer[], skipped: number): void {
    const { target, skipped: file } = this.#parts
    const { position, sent, skipped: before } = this.#state
    this.#save({
      position: {
        ...position,
        lines: position.lines + events.length,
        lastLine: digestOf(events.at(-1) as Buffer),
      },
      sent: sent + events.length - skipped,
      skipped: before + skipped,
      outputBytes: target.bytes ?? 0,
      skippedBytes: file?.bytes ?? 0,
    })
  }

  #save(changes: Partial<ReplayState>): void {
    this.#state = { ...this.#state, ...changes }
    this.#parts.checkpoint?.save(this.#state)
  }
}
