/**
 * Keeps an archive session going: asks the store whether it can be used, then consumes, and after a
 * failure begins again, with back-off and jitter. While the store cannot be used nothing is consumed,
 * so the events of an outage stay in the queue and are not delivered over and over.
 */

import { setTimeout as delay } from 'node:timers/promises'
import { createDeferred } from '../deferred.ts'
import { ObjectExists } from '../errors.ts'
import type { Logger } from '../logger.ts'
import type { Queue } from '../queue/queue.ts'
import type { ObjectStore } from '../store/store.ts'
import { ArchiveSession, type SessionConfig } from './archive-session.ts'
import { ArchiveStats } from './archive-stats.ts'
import type { DedupeIndex } from './dedupe-index.ts'

export type ArchiverConfig = SessionConfig

/** How long a start waits for a store that says nothing. */
const FIRST_ANSWER_MS_MAX = 2_000
const RETRY_MS_MIN = 500
const RETRY_MS_MAX = 30_000
/** After this without a failure archiving has recovered, also where there was nothing to archive. */
const RECOVERED_MS = 60_000

export interface ArchiverParts {
  readonly queue: Pick<Queue, 'consume'>
  readonly store: ObjectStore
  readonly index: DedupeIndex
  readonly config: ArchiverConfig
  readonly log: Logger
}

export class Archiver {
  readonly stats = new ArchiveStats()
  readonly #parts: ArchiverParts
  readonly #stopping = new AbortController()
  readonly #begun = createDeferred()
  #session: ArchiveSession | undefined
  #running: Promise<void> = Promise.resolve()
  #trouble: string | undefined
  #failures = 0
  /** The store says that it can be used, and could not: so only an object that is stored shows that it can. */
  #isDoubtful = false

  constructor(parts: ArchiverParts) {
    this.#parts = parts
    this.#trouble = `${parts.store.description} has not answered yet`
  }

  /** What keeps it from archiving now, in words for a person. */
  get trouble(): string | undefined {
    return this.#trouble
  }

  /** When the oldest event was received that it holds, in milliseconds since 1970; undefined where it holds none. */
  get oldestReceivedAt(): number | undefined {
    return this.#session?.oldestReceivedAt
  }

  /** Resolves when it archives, or has found that it cannot yet, or the store has said nothing for a while. */
  async start(): Promise<void> {
    this.#running = this.#run()
    const begun = new AbortController()
    const patience = delay(FIRST_ANSWER_MS_MAX, undefined, { signal: begun.signal }).catch(() => {})
    await Promise.race([this.#begun.promise, patience])
    begun.abort()
  }

  /** Takes no more deliveries, seals the open batch, and resolves when all batches are stored and acknowledged. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    await this.#running
  }

  async #run(): Promise<void> {
    const { store, log } = this.#parts
    while (!this.#stopping.signal.aborted) {
      let hasAnswered = false
      try {
        await store.check()
        hasAnswered = true
        await this.#archive()
      } catch (error) {
        // Another archiver that was faster is none of the store's faults.
        this.#isDoubtful = hasAnswered && !(error instanceof ObjectExists)
        this.stats.failures++
        this.#trouble = (error as Error).message
        this.#begun.resolve()
        log.error({ err: error }, 'Archiving has stopped. What is not archived stays in the queue.')
        await this.#backOff()
      }
    }
    this.#begun.resolve()
    this.#trouble = 'stopped'
  }

  async #archive(): Promise<void> {
    if (!this.#isDoubtful) this.#trouble = undefined
    const recovered = setTimeout(() => this.#recovered(), RECOVERED_MS)
    this.#begun.resolve()
    const session = new ArchiveSession(this.#parts, this.stats, () => {
      this.#failures = 0
      this.#recovered()
    })
    this.#session = session
    try {
      await session.run(this.#stopping.signal)
    } finally {
      this.#session = undefined
      clearTimeout(recovered)
    }
  }

  #recovered(): void {
    this.#isDoubtful = false
    this.#trouble = undefined
  }

  async #backOff(): Promise<void> {
    const ms = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** this.#failures++)
    const jittered = ms / 2 + Math.random() * (ms / 2)
    await delay(jittered, undefined, { signal: this.#stopping.signal }).catch(() => {})
  }
}
