import { Readable } from 'node:stream'
import { ObjectNotFound, QueryFailed } from '../errors.ts'
import { CLOSE_BRACKET, COMMA, LINE_FEED, OPEN_BRACKET } from '../event/json-bytes.ts'
import { StoredDigest } from '../log/describe-object.ts'
import { logKeys } from '../log/log-keys.ts'
import { LogReader } from '../log/log-reader.ts'
import { decodeHead, inlineBody } from '../log/log-record.ts'
import { assertDecompressible } from '../object/format.ts'
import { isDamage, isJsonArray, readPieces } from '../object/object-reader.ts'
import type { StoreReader } from '../store/store.ts'
import type { ArchivedBatch } from './archive-batches.ts'
import type { EventRows } from './event-rows.ts'
import { withoutCarriageReturns } from './line-bytes.ts'

/** The bytes of a batch: of its object, or of what that is made of while it is not under its key. */
export class BatchBytes implements Pick<StoreReader, 'get'> {
  readonly #store: StoreReader
  readonly #reader: LogReader
  readonly #batch: ArchivedBatch
  readonly #isStoredOnly: boolean

  /** @param isStoredOnly a batch whose object may be stored later is not read from elsewhere */
  constructor(store: StoreReader, reader: LogReader, batch: ArchivedBatch, isStoredOnly = false) {
    this.#store = store
    this.#reader = reader
    this.#batch = batch
    this.#isStoredOnly = isStoredOnly
  }

  /** @throws ObjectNotFound, StoreUnavailable */
  async get(): Promise<Readable> {
    const { key, staged, isRewritten, isStored } = this.#batch
    const rewritten = isRewritten && staged !== undefined ? await this.#found(staged) : undefined
    const stored = rewritten ?? (await this.#found(key))
    if (stored !== undefined) return stored
    if (this.#isStoredOnly && !isStored) throw new ObjectNotFound(key)
    // It may have been stored between the two reads.
    return (await this.#madeOf()) ?? this.#store.get(key)
  }

  async #found(key: string): Promise<Readable | undefined> {
    try {
      return await this.#store.get(key)
    } catch (error) {
      if (error instanceof ObjectNotFound) return undefined
      throw error
    }
  }

  /** Undefined if the bytes are not in the log, nor staged. */
  async #madeOf(): Promise<Readable | undefined> {
    const { record, key, staged, isInline } = this.#batch
    if (staged !== undefined) return this.#found(staged)
    const bytes = isInline ? await this.#reader.wholeRecord(record) : undefined
    if (bytes === undefined) return undefined
    const head = decodeHead(record, bytes)
    const batch = head.batches.find(each => each.key === key)
    return batch && Readable.from([inlineBody(head, batch, bytes)], { objectMode: false })
  }
}

/** Reads the events of batches, from their objects or from where those are made of. */
export class BatchReader {
  readonly #store: StoreReader
  readonly #reader: LogReader
  readonly #isStoredOnly: boolean

  /** @param options.isStoredOnly a batch whose object is not under its key is not read from elsewhere */
  constructor(store: StoreReader, prefix: string, { isStoredOnly = false } = {}) {
    this.#store = store
    this.#isStoredOnly = isStoredOnly
    this.#reader = new LogReader(store, logKeys(prefix))
  }

  /**
   * Adds the events of a batch to `rows`. Its bytes are compared with the digest in the log, so an object that was cut
   * short or changed is found. Rows that were added before are of no use then.
   *
   * @param afterPiece called between pieces, of up to 2 MiB each
   * @throws QueryFailed if the object is gone, changed or damaged
   * @throws ObjectNotFound if it may be stored later, and the reader is for what is stored only
   * @throws StoreUnavailable
   */
  async addTo(rows: EventRows, batch: ArchivedBatch, afterPiece: () => Promise<void>): Promise<void> {
    const { key, sha256, events } = batch
    const bytes = new BatchBytes(this.#store, this.#reader, batch, this.#isStoredOnly)
    const digest = new StoredDigest()
    const isArray = isJsonArray(key)
    let added = 0
    try {
      assertDecompressible(key)
      for await (const read of readPieces(bytes, key, digest.add)) {
        const piece = withoutCarriageReturns(read)
        added += addLines(rows, piece, isArray)
        await afterPiece()
      }
    } catch (error) {
      if (error instanceof ObjectNotFound && (!this.#isStoredOnly || batch.isStored)) throw goneOrExpired(key)
      if (error instanceof ObjectNotFound || !isDamage(error)) throw error
      throw unusable(key, `is damaged: ${(error as Error).message}`)
    }
    if (digest.end().sha256 !== sha256)
      throw unusable(key, 'is not what the log says. If an erasure runs now, try again')
    if (added < events) throw unusable(key, `has ${added} events, and the log says ${events}`)
  }
}

function goneOrExpired(key: string): Error {
  return new QueryFailed(
    `The object ${key} is gone. If it has expired just now, ask again. Else "frequency verify" tells what else is wrong with the archive.`,
  )
}

function unusable(key: string, problem: string): Error {
  return new QueryFailed(
    `The object ${key} ${problem}. "frequency verify" tells what else is wrong with the archive.`,
  )
}

/**
 * Adds whole lines, of an event each. A JSON array has a line for each of its brackets, and a comma behind each event
 * but the last.
 */
function addLines(rows: EventRows, piece: Buffer, isArray: boolean): number {
  let start = 0
  let added = 0
  for (let end = piece.indexOf(LINE_FEED); end !== -1; end = piece.indexOf(LINE_FEED, start)) {
    if (!(isArray && isBracket(piece, start, end))) {
      rows.add(piece, start, isArray && piece[end - 1] === COMMA ? end - 1 : end)
      added++
    }
    start = end + 1
  }
  if (!isArray && start < piece.length) throw new SyntaxError('its last line is cut short')
  return added
}

function isBracket(piece: Buffer, start: number, end: number): boolean {
  return end - start === 1 && (piece[start] === OPEN_BRACKET || piece[start] === CLOSE_BRACKET)
}
