import { hash } from 'node:crypto'
import { LogRefused } from '../errors.ts'
import type { StoreDate, StoreReader } from '../store/store.ts'
import type { LogKeys } from './log-keys.ts'
import { decodeHead, headLength, type LogRecord } from './log-record.ts'
import { decodeManifest, decodeObjects, type FoldedRecord, type Manifest, type Run } from './manifest.ts'

/**
 * Bounds on the bytes of a record that the first request reads: 10 % more than the longest recent head. So one request
 * is enough for most heads, and most of the inline objects are not transferred.
 */
const HEAD_READ_BYTES_MIN = 8 * 1024
const HEAD_READ_BYTES_MAX = 1024 * 1024
const HEAD_READ_SHARE = 1.1
/** With each record that is read, the length of the longest recent head shrinks by this factor. */
const HEAD_READ_DECAY = 0.98

/** Bound on the bytes of heads that are read ahead, if all heads are as long as the last one. */
const HEAD_BYTES_AHEAD_MAX = 16 * 1024 * 1024

export interface RecordAnswer {
  readonly record: LogRecord | undefined
  /** When it was stored, in milliseconds since 1970, by the store's clock. */
  readonly storedAt: number
  readonly date: StoreDate
}

/** How many records may be read ahead. */
export function recordsAheadMax({ record }: RecordAnswer): number {
  return HEAD_BYTES_AHEAD_MAX / (record?.headBytes ?? 1)
}

/** Reads records, manifests, runs and hints of a log. `Watermark.counts` tells whether an answer about a record is valid. */
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
      // It was folded between the two reads. The watermark shows it.
      if (rest.object === undefined) return { record: undefined, storedAt: Number.NaN, date: rest.date }
      body = Buffer.concat([body, rest.object.body])
    }
    // The ids are kept for long. A copy frees the rest of the buffer.
    if (body.length > 2 * length) body = Buffer.from(body.subarray(0, length))
    return { record: decodeHead(number, body), storedAt: object.modifiedAt, date }
  }

  /** Whether there is an object at the record's key, valid or not. @throws StoreUnavailable */
  async exists(number: number): Promise<boolean> {
    return (await this.#store.read(this.#keys.record(number), { start: 0, length: 1 })).object !== undefined
  }

  /** All bytes of a record, with its inline objects; undefined if it does not exist. @throws StoreUnavailable */
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

  /** A manifest that has to be there. @throws LogRefused if it is gone or damaged; StoreUnavailable */
  async requiredManifest(generation: number): Promise<Manifest> {
    const { manifest } = await this.manifest(generation)
    if (manifest === undefined)
      throw new LogRefused(
        `Manifest ${generation} of the log is gone. Restore it from a backup of the bucket.`,
      )
    return manifest
  }

  /** The ids of a manifest's range, 16 bytes each; undefined if they were deleted. @throws LogRefused, StoreUnavailable */
  async ids({ ids }: Manifest): Promise<Buffer | undefined> {
    return ids.bytes === 0 ? Buffer.alloc(0) : await this.#run(ids)
  }

  /** @throws LogRefused, StoreUnavailable */
  async objects({ objects }: Manifest): Promise<FoldedRecord[]> {
    const bytes = await this.#run(objects)
    if (bytes === undefined)
      throw new LogRefused(`${objects.key} is gone. Restore it from a backup of the bucket.`)
    return decodeObjects(bytes)
  }

  /** The number in the head hint; 0 if there is none. @throws StoreUnavailable */
  async hintedHead(): Promise<number> {
    const { object } = await this.#store.read(this.#keys.head)
    const number = Number(object?.body.toString() ?? 0)
    return Number.isInteger(number) && number > 0 ? number : 0
  }

  /** The waiting hint, if it is at most `freshMs` old. @throws StoreUnavailable */
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
      throw new LogRefused(`${key} is damaged. Restore it from a backup of the bucket.`)
    return object.body
  }
}
