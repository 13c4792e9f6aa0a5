import type { Transform } from 'node:stream'
import type { EventTrace } from '../event-trace.ts'
import type { Delivery } from '../queue/queue.ts'
import type { ObjectStore } from '../store/store.ts'
import { BatchTrace } from '../tracing.ts'
import type { Amount, OpenBatch } from './archive-stats.ts'
import type { BatchSize } from './batch-policy.ts'
import type { Framing } from './format.ts'
import { IdSet } from './id-set.ts'
import type { Incoming } from './incoming.ts'

/** Events are copied together up to this size before they are compressed: a call to zlib costs far more than the copy. */
const CHUNK_BYTES = 256 * 1024
/** What is larger is written as it is: for this the copy, and the memory it takes, costs more than the call. */
const COPIED_BYTES_MAX = 16 * 1024

/**
 * One object on its way into the store. Events are copied into chunks, compressed and uploaded as they
 * come, and none is kept: a batch holds the same memory whatever its size.
 */
export class Batch implements BatchSize, OpenBatch {
  readonly key: string
  /** Settles when the object is in the store, with its size there, or is not going to be. Never rejected unheard. */
  readonly stored: Promise<number>
  /** The digests of its events' ids. */
  readonly ids = new IdSet()
  /** Milliseconds since 1970. */
  readonly firstReceivedAt: number
  /** Whoever gets its first event again gets the same key for it. */
  readonly isKeyRepeatable: boolean
  /** Milliseconds since 1970. */
  readonly openedAt = Date.now()
  /** What is acknowledged with it: messages of ours, and those of other programs. */
  readonly settles: { readonly own: Amount; readonly foreign: Amount } = {
    own: { deliveries: 0, events: 0 },
    foreign: { deliveries: 0, events: 0 },
  }
  readonly #framing: Framing
  readonly #compressor: Transform
  #chunk = Buffer.allocUnsafe(CHUNK_BYTES)
  #chunkLength = 0
  #events = 0
  #bytes = 0
  #last: Delivery | undefined
  #isContested = false
  #isBlocked = false
  #trace: BatchTrace | undefined

  /** @param drained called when the batch, having been blocked, takes events again. */
  constructor(
    { nextReceivedAt, isRepeatable }: Incoming,
    key: string,
    store: ObjectStore,
    framing: Framing,
    compressor: Transform,
    drained: () => void,
  ) {
    this.firstReceivedAt = nextReceivedAt
    this.isKeyRepeatable = isRepeatable
    this.key = key
    this.#framing = framing
    this.#compressor = compressor
    compressor.on('drain', () => {
      this.#isBlocked = false
      drained()
    })
    // The store reports the error; without a listener the stream would throw it.
    compressor.on('error', () => {})
    this.stored = store.put(key, compressor, () => this.#isContested)
    this.stored.catch(() => {})
  }

  get events(): number {
    return this.#events
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Acknowledging through it acknowledges all that is in the store with this batch. */
  get last(): Delivery | undefined {
    return this.#last
  }

  /** True while events should wait, because what follows is slower than they come. */
  get isBlocked(): boolean {
    return this.#isBlocked
  }

  /** @param event its JSON, or that of several, as the framing joins them */
  add(event: Buffer, count = 1): void {
    this.#append(this.#events === 0 ? this.#framing.before : this.#framing.between)
    this.#append(event)
    this.#events += count
  }

  /** Events that were added have these traces. */
  follow(traces: readonly EventTrace[]): void {
    this.#trace ??= new BatchTrace()
    this.#trace.take(traces)
  }

  /** Of its events, some are of this delivery. */
  holdPartOf({ redelivered }: Delivery): void {
    // Whoever had it before may still be writing it.
    if (redelivered) this.#isContested = true
  }

  /** Has the delivery acknowledged with the batch: no event of it is in a later one. */
  settleWith({ delivery, events }: Incoming): void {
    this.#last = delivery
    this.holdPartOf(delivery)
    const sum = delivery.group === undefined ? this.settles.foreign : this.settles.own
    sum.deliveries++
    sum.events += events
  }

  /** Resolves when the object is in the store, to its size there. */
  seal(): Promise<number> {
    this.#append(this.#framing.after)
    this.#flush()
    this.#compressor.end()
    const trace = this.#trace
    if (trace !== undefined) this.stored.then(() => trace.archived(this.key, this.#events), ignore)
    return this.stored
  }

  discard(): void {
    this.#compressor.destroy(new Error('the batch was given up'))
  }

  #append(bytes: Buffer): void {
    this.#bytes += bytes.length
    const isCopied = bytes.length <= COPIED_BYTES_MAX
    if (!isCopied || this.#chunkLength + bytes.length > this.#chunk.length) this.#flush()
    if (isCopied) this.#chunkLength += bytes.copy(this.#chunk, this.#chunkLength)
    else this.#write(bytes)
  }

  #flush(): void {
    if (this.#chunkLength === 0) return
    this.#write(this.#chunk.subarray(0, this.#chunkLength))
    const rest = this.#chunk.subarray(this.#chunkLength)
    this.#chunk = rest.length < COPIED_BYTES_MAX ? Buffer.allocUnsafe(CHUNK_BYTES) : rest
    this.#chunkLength = 0
  }

  #write(bytes: Buffer): void {
    if (!this.#compressor.write(bytes)) this.#isBlocked = true
  }
}

function ignore(): void {}
