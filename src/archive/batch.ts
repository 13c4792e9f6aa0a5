import { Readable } from 'node:stream'
import type { EventTrace } from '../event/event-trace.ts'
import { ID_BYTES } from '../event/message-id.ts'
import { receivedAtOf } from '../event/received-at.ts'
import { BatchTrace } from '../event/tracing.ts'
import { type ObjectContent, type ObjectParts, ObjectWriter } from '../object/object-writer.ts'
import type { OpenBatch } from './archive-stats.ts'
import type { BatchSize, CloseReason } from './batch-limits.ts'
import type { PendingDelivery } from './pending-delivery.ts'
import { rebuild } from './rebuild.ts'

/** A batch of a record, by its place there; undefined where the index knows it, and not from which record. */
export type KnownIn = { readonly number: number; readonly batch: number } | undefined

const IDS_BYTES_MIN = 64 * ID_BYTES

/**
 * Events on their way into one object.
 *
 *   open ──seal()──► sealed ──(content)──► ready ──(its record)──► committed ──(settled)──► archived
 *                                           ▲  │
 *                                           └──┘ rebuilt without what others have archived meanwhile
 */
export class Batch implements BatchSize, OpenBatch {
  /** Milliseconds since 1970. */
  readonly openedAt = Date.now()
  /** Of its first event, in milliseconds since 1970: it names the object's partition. */
  readonly receivedAt: number
  /** What waits for it. */
  readonly waiters: PendingDelivery[] = []
  sealedAt = Number.NaN
  reason: CloseReason = 'events'
  /** Once it is sealed and complete. */
  content: ObjectContent | undefined
  readonly #parts: ObjectParts
  readonly #writer: ObjectWriter
  /** 16 bytes an event, in their order. */
  #ids: Buffer = Buffer.allocUnsafe(IDS_BYTES_MIN)
  #events = 0
  #firstReceivedAt: number
  #lastReceivedAt: number
  /** Events that are in batches of others' records, by their place. */
  readonly #known = new Map<number, KnownIn>()
  #trace: BatchTrace | undefined

  /** @param drained called when the batch, having been blocked, takes events again. */
  constructor(receivedAt: number, parts: ObjectParts, drained: () => void) {
    this.receivedAt = receivedAt
    this.#firstReceivedAt = receivedAt
    this.#lastReceivedAt = receivedAt
    this.#parts = parts
    this.#writer = new ObjectWriter(parts, drained)
  }

  get events(): number {
    return this.#events
  }

  get bytes(): number {
    return this.#writer.bytes
  }

  get firstReceivedAt(): number {
    return this.#firstReceivedAt
  }

  get lastReceivedAt(): number {
    return this.#lastReceivedAt
  }

  get ids(): Buffer {
    return this.#ids.subarray(0, this.#events * ID_BYTES)
  }

  /** True while events should wait, because what follows is slower than they come. */
  get isBlocked(): boolean {
    return this.#writer.isBlocked
  }

  /** Rejects once its object cannot be completed. */
  get completed(): Promise<unknown> {
    return this.#writer.content
  }

  /** Notes the next event, whose bytes follow with `write`. @returns its place in the batch */
  note(ids: Buffer, at: number, receivedAt: number): number {
    const idAt = this.#events * ID_BYTES
    if (idAt === this.#ids.length) this.#ids = Buffer.concat([this.#ids], 2 * idAt)
    ids.copy(this.#ids, idAt, at, at + ID_BYTES)
    if (receivedAt < this.#firstReceivedAt) this.#firstReceivedAt = receivedAt
    else if (receivedAt > this.#lastReceivedAt) this.#lastReceivedAt = receivedAt
    return this.#events++
  }

  /** @param lines the JSON of `count` events, as the framing joins them */
  write(lines: Buffer, count: number): void {
    this.#writer.add(lines, count)
  }

  /** Events that were added have these traces. */
  follow(traces: readonly EventTrace[]): void {
    this.#trace ??= new BatchTrace()
    this.#trace.take(traces)
  }

  /** The delivery is acknowledged once this batch is archived, and what else it waits for. */
  addWaiter(pending: PendingDelivery): void {
    if (this.waiters.at(-1) === pending) return
    pending.waitForOneMore()
    this.waiters.push(pending)
  }

  /** One of its events is in a batch of a record. */
  markKnown(event: number, known: KnownIn): void {
    this.#known.set(event, known)
  }

  /** Forgets marks of batches that have become void. */
  unmark(isVoid: (known: KnownIn) => boolean): void {
    for (const [event, known] of this.#known) if (isVoid(known)) this.#known.delete(event)
  }

  get hasKnown(): boolean {
    return this.#known.size > 0
  }

  /** Resolves when its object is complete, and can go into a record. @throws StoreUnavailable */
  async seal(reason: CloseReason): Promise<void> {
    this.reason = reason
    this.sealedAt = performance.now()
    this.content = await this.#writer.end()
  }

  /** Puts what is in memory where a large object would be. To be called again where it throws. @throws StoreUnavailable */
  async stage(): Promise<void> {
    const { content } = this
    if (content?.body === undefined) return
    const { store, keys } = this.#parts
    const staged = keys.stagedObject(content.nonce)
    await store.put(staged, Readable.from([content.body]))
    this.content = { ...content, body: undefined, staged }
  }

  /**
   * Leaves out the events that others have archived, and makes its content anew, without any where nothing is left.
   *
   * @returns where those are, and what was staged before and is not needed any more
   * @throws as `rebuild` does; then it is as it was
   */
  async dropKnown(): Promise<{ dropped: KnownIn[]; staged: string | undefined }> {
    const dropped = [...this.#known.values()]
    const staged = this.content?.staged
    if (dropped.length === this.#events) {
      this.content = undefined
      this.#events = 0
    } else {
      await this.#rebuild(this.content as ObjectContent)
      this.#ids = idsWithout(this.ids, this.#known)
      this.#events -= dropped.length
    }
    this.#known.clear()
    return { dropped, staged }
  }

  /** Its span becomes that of the events that are left: those of this time are looked up in it for as long as it is there. */
  async #rebuild(content: ObjectContent): Promise<void> {
    let [first, last] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
    let areDated = true
    this.content = await rebuild(this.#parts, content, this.#events, this.#known, event => {
      const receivedAt = receivedAtOf(event)
      areDated &&= !Number.isNaN(receivedAt)
      first = Math.min(first, receivedAt)
      last = Math.max(last, receivedAt)
    })
    if (!areDated) return
    this.#firstReceivedAt = first
    this.#lastReceivedAt = last
  }

  archived(key: string): void {
    this.#trace?.archived(key, this.#events)
  }

  discard(): void {
    this.#writer.discard()
  }
}

function idsWithout(ids: Buffer, events: ReadonlyMap<number, unknown>): Buffer {
  const kept = Buffer.allocUnsafe(ids.length - events.size * ID_BYTES)
  let to = 0
  for (let at = 0; at < ids.length; at += ID_BYTES)
    if (!events.has(at / ID_BYTES)) to += ids.copy(kept, to, at, at + ID_BYTES)
  return kept
}
