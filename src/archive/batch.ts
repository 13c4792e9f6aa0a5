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

/** The record, and the place of the batch in it, that has an event; undefined if only the index knows its id. */
export type DuplicateOf = { readonly number: number; readonly batch: number } | undefined

const IDS_BYTES_MIN = 64 * ID_BYTES

/**
 * The events that become one object.
 *
 *   open ──seal()──► sealed ──(content)──► ready ──(its record)──► committed ──(settled)──► archived
 *                                           ▲  │
 *                                           └──┘ rebuilt without events that others have archived
 */
export class Batch implements BatchSize, OpenBatch {
  /** Milliseconds since 1970. */
  readonly openedAt = Date.now()
  /** Of its first event, in milliseconds since 1970. It names the object's partition. */
  readonly receivedAt: number
  /** The deliveries that wait until it is archived. */
  readonly waiters: PendingDelivery[] = []
  /** By `performance.now()`; NaN until it is sealed. */
  sealedAt = Number.NaN
  reason: CloseReason = 'events'
  /** Undefined until it is sealed and complete, and if all of its events were dropped. */
  content: ObjectContent | undefined
  readonly #parts: ObjectParts
  readonly #writer: ObjectWriter
  /** 16 bytes an event, in the order of the events. */
  #ids: Buffer = Buffer.allocUnsafe(IDS_BYTES_MIN)
  #events = 0
  #firstReceivedAt: number
  #lastReceivedAt: number
  /** Events that other writers have archived, by their place in the batch. */
  readonly #duplicates = new Map<number, DuplicateOf>()
  #trace: BatchTrace | undefined

  /** @param drained called when the batch is no longer blocked */
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

  /** Whether events should wait, because compression or upload is slower than they come. */
  get isBlocked(): boolean {
    return this.#writer.isBlocked
  }

  /** Resolves when its content is complete. Rejects if that has failed. */
  get completed(): Promise<unknown> {
    return this.#writer.content
  }

  /** Notes the id of the next event. Its bytes follow by `write`. @returns its place in the batch */
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

  /** Adds the traces of events in the batch. */
  addTraces(traces: readonly EventTrace[]): void {
    this.#trace ??= new BatchTrace()
    this.#trace.take(traces)
  }

  /** Makes the delivery wait until this batch is archived. */
  addWaiter(pending: PendingDelivery): void {
    if (this.waiters.at(-1) === pending) return
    pending.waitForOneMore()
    this.waiters.push(pending)
  }

  /** @param event its place in the batch */
  markDuplicate(event: number, duplicateOf: DuplicateOf): void {
    this.#duplicates.set(event, duplicateOf)
  }

  /** Removes the marks of events that are in a void batch. */
  unmarkVoid(isVoid: (duplicateOf: DuplicateOf) => boolean): void {
    for (const [event, duplicateOf] of this.#duplicates)
      if (isVoid(duplicateOf)) this.#duplicates.delete(event)
  }

  get hasDuplicates(): boolean {
    return this.#duplicates.size > 0
  }

  /** Resolves when its content is complete and can go into a record. @throws StoreUnavailable */
  async seal(reason: CloseReason): Promise<void> {
    this.reason = reason
    this.sealedAt = performance.now()
    this.content = await this.#writer.end()
  }

  /** Stages content that is in memory. Can be called again if it throws. @throws StoreUnavailable */
  async stage(): Promise<void> {
    const { content } = this
    if (content?.body === undefined) return
    const { store, keys } = this.#parts
    const staged = keys.stagedObject(content.nonce)
    await store.put(staged, Readable.from([content.body]))
    this.content = { ...content, body: undefined, staged }
  }

  /**
   * Rebuilds the content without the events that others have archived; with none left, `content` is undefined.
   *
   * @returns where the dropped events are archived, and the key of the staged object that is no longer needed
   * @throws as `rebuild` does; the batch is unchanged
   */
  async dropDuplicates(): Promise<{ dropped: DuplicateOf[]; staged: string | undefined }> {
    const dropped = [...this.#duplicates.values()]
    const staged = this.content?.staged
    if (dropped.length === this.#events) {
      this.content = undefined
      this.#events = 0
    } else {
      await this.#rebuild(this.content as ObjectContent)
      this.#ids = idsWithout(this.ids, this.#duplicates)
      this.#events -= dropped.length
    }
    this.#duplicates.clear()
    return { dropped, staged }
  }

  /** Sets the span to that of the remaining events. A look-up reads every object whose span has the event's time. */
  async #rebuild(content: ObjectContent): Promise<void> {
    let [first, last] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
    let areDated = true
    this.content = await rebuild(this.#parts, content, this.#events, this.#duplicates, event => {
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
