import { hash } from 'node:crypto'
import { LogRefused } from '../errors.ts'
import type { StoreDate, StoreReader } from '../store/store.ts'
import type { LogKeys } from './log-keys.ts'
import { decodeHead, headLength, type LogRecord } from './log-record.ts'
import { decodeManifest, decodeObjects, type FoldedRecord, type Manifest, type Run } from './manifest.ts'

/**
 * What is read of a record at first: somewhat more than the longest head of late, so that most are read at once, and
 * most of the inline objects do not come along.
 */
const HEAD_READ_BYTES_MIN = 8 * 1024
const HEAD_READ_BYTES_MAX = 1024 * 1024
const HEAD_READ_SHARE = 1.1
/** How much a head of one that was read counts less with each that is read after it. */
const HEAD_READ_DECAY = 0.98

export interface RecordAnswer {
  readonly record: LogRecord | undefined
  /** When it was stored, in milliseconds since 1970, by the store's clock. */
  readonly storedAt: number
  readonly date: StoreDate
}

/** Reads what a log has in the store. Whether an answer counts is for the watermark to say. */
export class LogReader {
  readonly #store: Pick<StoreReader, 'read'>
  readonly #keys: LogKeys
  #headBytes = 64 * 1024

  constructor(store: Pick<StoreReader, 'read'>, keys: LogKeys) {
    this.#store = store
    this.#keys = keys
  }

  /** @throws LogDamaged, StoreUnavailable */
  async record(number: number): Promise<RecordAnswer> {
    const key = this.#keys.record(number)
    const { object, date } = await this.#store.read(key, { start: 0, length: this.#firstReadBytes })
    if (object === undefined) return { record: undefined, storedAt: Number.NaN, date }
    let { body } = object
    const length = headLength(number, body) ?? body.length
    this.#headBytes = Math.max(Math.min(length, HEAD_READ_BYTES_MAX), this.#headBytes * HEAD_READ_DECAY)
    if (length > body.length && object.size >= length) {
      const start = body.length
      const rest = await this.#store.read(key, { start, length: length - start })
      // Between the two it was folded: the watermark will say so.
      if (rest.object === undefined) return { record: undefined, storedAt: Number.NaN, date: rest.date }
      body = Buffer.concat([body, rest.object.body])
    }
    // Its ids are kept, and what was read with them is not.
    if (body.length > 2 * length) body = Buffer.from(body.subarray(0, length))
    return { record: decodeHead(number, body), storedAt: object.modifiedAt, date }
  }

  /** Whether there is a record of this number, whatever is in it. @throws StoreUnavailable */
  async exists(number: number): Promise<boolean> {
    return (await this.#store.read(this.#keys.record(number), { start: 0, length: 1 })).object !== undefined
  }

  /** All of a record, with the objects in it; undefined where there is none. @throws StoreUnavailable */
  async wholeRecord(number: number): Promise<Buffer | undefined> {
    const { object } = await this.#store.read(this.#keys.record(number))
    return object?.body
  }

  /** @throws LogRefused, StoreUnavailable */
  async manifest(
    generation: number,
  ): Promise<{ manifest: Manifest | undefined; storedAt: number; date: StoreDate }> {
    const { object, date } = await this.#store.read(this.#keys.manifest(generation))
    const manifest = object === undefined ? undefined : decodeManifest(generation, object.body)
    return { manifest, storedAt: object?.modifiedAt ?? Number.NaN, date }
  }

  /** The ids of a manifest's range; undefined where they were deleted. @throws LogRefused, StoreUnavailable */
  async ids({ ids }: Manifest): Promise<Buffer | undefined> {
    return ids.bytes === 0 ? Buffer.alloc(0) : await this.#run(ids)
  }

  /** @throws LogRefused, StoreUnavailable */
  async objects({ objects }: Manifest): Promise<FoldedRecord[]> {
    const bytes = await this.#run(objects)
    if (bytes === undefined)
      throw new LogRefused(`${objects.key} is gone: restore it from a backup of the bucket.`)
    return decodeObjects(bytes)
  }

  /** The number in the hint, or 0. @throws StoreUnavailable */
  async hintedHead(): Promise<number> {
    const { object } = await this.#store.read(this.#keys.head)
    const number = Number(object?.body.toString() ?? 0)
    return Number.isInteger(number) && number > 0 ? number : 0
  }

  /** The writer that has said of late that it waits. @throws StoreUnavailable */
  async waiting(freshMs: number): Promise<{ writer: string; roundTripMs: number } | undefined> {
    const { object, date } = await this.#store.read(this.#keys.waiting)
    if (object === undefined || (date ?? Date.now()) - object.modifiedAt > freshMs) return undefined
    const { writer, roundTripMs } = JSON.parse(object.body.toString())
    return { writer: String(writer), roundTripMs: Number(roundTripMs) }
  }

  get #firstReadBytes(): number {
    const bytes = Math.ceil(this.#headBytes * HEAD_READ_SHARE)
    return Math.max(HEAD_READ_BYTES_MIN, Math.min(HEAD_READ_BYTES_MAX, bytes))
  }

  async #run({ key, bytes, sha256 }: Run): Promise<Buffer | undefined> {
    const { object } = await this.#store.read(key)
    if (object === undefined) return undefined
    if (object.size !== bytes || hash('sha256', object.body, 'hex') !== sha256)
      throw new LogRefused(`${key} is damaged: restore it from a backup of the bucket.`)
    return object.body
  }
}
