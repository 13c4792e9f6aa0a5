/** Describes an archived object as a log record does: its digest, sizes, span of `receivedAt` and ids. */

import { createHash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { ObjectNotFound, StoreUnavailable } from '../errors.ts'
import { ID_BYTES, identityOf } from '../event/message-id.ts'
import { ObjectCheck } from '../object/object-check.ts'
import { isDamage, readPieces } from '../object/object-reader.ts'
import type { StoreReader } from '../store/store.ts'
import type { BatchDraft } from './log-record.ts'

/** Follows the key of an object in a message. */
export const IS_GONE = 'is gone: it was listed, but it is not there any more'

const ATTEMPTS_MAX = 4
const RETRY_MS_MIN = 500
const IDS_BYTES_MIN = 1024 * ID_BYTES
const STAMP_IN_KEY = /batch_(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(\d{3})Z_/

export interface ObjectDigest {
  /** Of the bytes as they are stored. */
  readonly sha256: string
  readonly storedBytes: number
}

export interface DescribedObject {
  /** It is whole and has no events. Settlement creates such an object at the key of a void batch (settlement.ts). */
  readonly isEmpty: boolean
  /** Undefined if the object is damaged, gone or empty. */
  readonly batch: BatchDraft | undefined
  /** What is wrong with it, as text that follows its key in a message. */
  readonly problems: readonly string[]
}

/** Computes the digest and the size of one object. */
export class StoredDigest {
  readonly #digest = createHash('sha256')
  #bytes = 0

  /** Adds the next bytes of the object. */
  readonly add = (stored: Buffer): void => {
    this.#digest.update(stored)
    this.#bytes += stored.length
  }

  /** To be called once. */
  end(): ObjectDigest {
    return { sha256: this.#digest.digest('hex'), storedBytes: this.#bytes }
  }
}

/**
 * Describes an object as the batch of a record whose objects were stored before it.
 *
 * An event without `messageId` has no identity and is not counted. An object is damaged if it cannot be decompressed, is
 * cut short, or has a line that is not a JSON object.
 *
 * @throws StoreUnavailable
 */
export async function describeObject(store: Pick<StoreReader, 'get'>, key: string): Promise<DescribedObject> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await describeOnce(store, key)
    } catch (error) {
      if (error instanceof ObjectNotFound) return { batch: undefined, problems: [IS_GONE], isEmpty: false }
      if (!(error instanceof StoreUnavailable) || attempt === ATTEMPTS_MAX) throw error
      await delay(RETRY_MS_MIN * 2 ** (attempt - 1))
    }
  }
}

async function describeOnce(store: Pick<StoreReader, 'get'>, key: string): Promise<DescribedObject> {
  const content = new BatchContent()
  const check = new ObjectCheck(key, event => content.add(identityOf(event) as Buffer, event.receivedAt))
  const digest = new StoredDigest()
  let damage: string | undefined
  try {
    for await (const piece of readPieces(store, key, digest.add)) {
      content.bytes += piece.length
      check.take(piece)
    }
  } catch (error) {
    if (error instanceof ObjectNotFound || !isDamage(error)) throw error
    damage = `is damaged: ${(error as Error).message}`
  }
  check.end(damage)
  const { isEmpty } = check
  if (isEmpty) return { batch: undefined, problems: ['is empty'], isEmpty }
  const { problems } = check
  if (check.isDamaged) return { batch: undefined, problems, isEmpty }
  return {
    batch: { key, ...digest.end(), ...content.end(key), isStored: true, body: undefined },
    problems,
    isEmpty,
  }
}

class BatchContent {
  bytes = 0
  #ids = Buffer.allocUnsafe(IDS_BYTES_MIN)
  #events = 0
  #firstReceivedAt = Number.POSITIVE_INFINITY
  #lastReceivedAt = Number.NEGATIVE_INFINITY

  add(id: Buffer, receivedAt: unknown): void {
    const at = this.#events++ * ID_BYTES
    if (at === this.#ids.length) this.#ids = Buffer.concat([this.#ids], 2 * at)
    id.copy(this.#ids, at)
    const ms = typeof receivedAt === 'string' ? Date.parse(receivedAt) : Number.NaN
    if (ms < this.#firstReceivedAt) this.#firstReceivedAt = ms
    if (ms > this.#lastReceivedAt) this.#lastReceivedAt = ms
  }

  end(key: string) {
    const isDated = this.#firstReceivedAt <= this.#lastReceivedAt
    const at = isDated ? Number.NaN : timeInKey(key)
    return {
      bytes: this.bytes,
      events: this.#events,
      ids: Buffer.from(this.#ids.subarray(0, this.#events * ID_BYTES)),
      firstReceivedAt: isDated ? this.#firstReceivedAt : at,
      lastReceivedAt: isDated ? this.#lastReceivedAt : at,
    }
  }
}

/** The `receivedAt` of the first event, from the object's key; in milliseconds since 1970. */
function timeInKey(key: string): number {
  const [, year, month, day, hour, minute, second, ms] = (STAMP_IN_KEY.exec(key) ?? []).map(Number)
  return Date.UTC(year as number, (month as number) - 1, day, hour, minute, second, ms)
}
