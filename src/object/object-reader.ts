import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { StoreUnavailable } from '../errors.ts'
import type { StoreReader } from '../store/store.ts'
import { createDecompressor, decompressSmall } from './format.ts'

const LINE_FEED = 0x0a
/** A longer line is not an event: BODY_BYTES_MAX is at most 64 MiB. */
const LINE_BYTES_MAX = 80 * 1024 * 1024
/** An object of up to these sizes is decompressed in one call. That takes a third of the time of a stream. */
const SMALL_STORED_BYTES_MAX = 512 * 1024
const SMALL_BYTES_MAX = 2 * 1024 * 1024
/** A read fails if the store sends nothing for this time. */
const SILENT_MS_MAX = 30_000

/** Is called with the bytes of the object as they are stored, in their order. */
type OnStored = (stored: Buffer) => void

/**
 * Yields the JSON text of each event of an archived object.
 *
 * @throws ObjectNotFound, StoreUnavailable, or an error that `isDamage` if the object is damaged
 */
export async function* readEvents(
  store: Pick<StoreReader, 'get'>,
  key: string,
  onStored?: OnStored,
): AsyncIterable<string> {
  const isArray = isJsonArray(key)
  for await (const piece of readPieces(store, key, onStored)) {
    for (const line of linesOf(piece)) {
      if (isArray && (line === '[' || line === ']')) continue
      yield isArray && line.endsWith(',') ? line.slice(0, -1) : line
    }
  }
}

/**
 * Yields the decompressed bytes of an archived object, in pieces of whole lines. Only the last piece may lack the line
 * feed at its end: then the object is cut short.
 *
 * @throws ObjectNotFound, StoreUnavailable, or an error that `isDamage` if the object is damaged
 */
export async function* readPieces(
  store: Pick<StoreReader, 'get'>,
  key: string,
  onStored?: OnStored,
): AsyncIterable<Buffer> {
  const source = await store.get(key)
  const giveUp = (): void => {
    source.destroy(new Error(`the store sent nothing for ${SILENT_MS_MAX / 1000} s`))
  }
  const chunks = whileNotSilent(source, giveUp)[Symbol.asyncIterator]()
  let hasFailed = false
  const stored = async (): Promise<Buffer | undefined> => {
    try {
      const { done, value } = await chunks.next()
      if (done) return undefined
      onStored?.(value)
      return value
    } catch (error) {
      hasFailed = true
      throw error
    }
  }
  try {
    yield* cutBetweenLines(unpackedChunks(key, stored))
  } catch (cause) {
    if (!hasFailed) throw cause
    throw new StoreUnavailable(`${key} was not read to its end: ${(cause as Error).message}`, { cause })
  } finally {
    source.destroy()
  }
}

/** @param stored resolves to the next bytes of the object, and to undefined at its end */
async function* unpackedChunks(
  key: string,
  stored: () => Promise<Buffer | undefined>,
): AsyncIterable<Buffer> {
  const first: Buffer[] = []
  let firstBytes = 0
  let next = await stored()
  for (; next !== undefined && firstBytes <= SMALL_STORED_BYTES_MAX; next = await stored()) {
    first.push(next)
    firstBytes += next.length
  }
  if (next === undefined) {
    const bytes = first.length === 1 ? (first[0] as Buffer) : Buffer.concat(first)
    const unpacked = await decompressSmall(key, bytes, SMALL_BYTES_MAX)
    if (unpacked !== undefined) {
      yield unpacked
      return
    }
  }
  async function* all(): AsyncIterable<Buffer> {
    yield* first
    for (; next !== undefined; next = await stored()) yield next
  }
  const unpacked = createDecompressor(key)
  // The same error ends `yield*` below.
  pipeline(Readable.from(all(), { objectMode: false }), unpacked).catch(() => {})
  yield* unpacked
}

/** Yields the chunks. Calls `giveUp` if the next chunk does not come in time. */
async function* whileNotSilent(chunks: AsyncIterable<Buffer>, giveUp: () => void): AsyncIterable<Buffer> {
  let timer = setTimeout(giveUp, SILENT_MS_MAX)
  try {
    for await (const chunk of chunks) {
      clearTimeout(timer)
      yield chunk
      timer = setTimeout(giveUp, SILENT_MS_MAX)
    }
  } finally {
    clearTimeout(timer)
  }
}

/**
 * Yields the same bytes in pieces of whole lines. Only the last piece may lack the line feed at its end.
 *
 * @throws SyntaxError if a line is longer than 80 MiB
 */
export async function* cutBetweenLines(chunks: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
  let rest: Buffer[] = []
  let restBytes = 0
  for await (const chunk of chunks) {
    const end = chunk.lastIndexOf(LINE_FEED) + 1
    if (end > 0) {
      const whole = chunk.subarray(0, end)
      yield rest.length === 0 ? whole : Buffer.concat([...rest, whole])
      rest = []
      restBytes = 0
    }
    if (end === chunk.length) continue
    rest.push(chunk.subarray(end))
    restBytes += chunk.length - end
    if (restBytes > LINE_BYTES_MAX) throw new SyntaxError('a line is longer than any event')
  }
  if (rest.length > 0) yield Buffer.concat(rest)
}

export function linesOf(piece: Buffer): string[] {
  const lines = piece.toString().split('\n')
  if (lines.at(-1) === '') lines.pop()
  return lines
}

/** Whether the object is one JSON array, and not NDJSON. */
export function isJsonArray(key: string): boolean {
  return /\.json(?:\.|$)/.test(key)
}

/** Whether the error shows that the object is damaged (bytes that cannot be decompressed, a line that is not JSON). */
export function isDamage(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException
  return error instanceof SyntaxError || code?.startsWith('Z_') === true || code?.startsWith('ZSTD_') === true
}
