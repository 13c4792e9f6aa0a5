import { pipeline } from 'node:stream/promises'
import { StoreUnavailable } from '../errors.ts'
import type { StoreReader } from '../store/store.ts'
import { createDecompressor } from './format.ts'

const LINE_FEED = 0x0a
/** A longer line is not an event: BODY_BYTES_MAX is at most 64 MiB. */
const LINE_BYTES_MAX = 80 * 1024 * 1024
/** A read fails if the store sends nothing for this time. */
const SILENT_MS_MAX = 30_000

/**
 * Yields the JSON text of each event of an archived object.
 *
 * @throws ObjectNotFound, StoreUnavailable, or an error that `isDamage` if the object is damaged
 */
export async function* readEvents(store: Pick<StoreReader, 'get'>, key: string): AsyncIterable<string> {
  const isArray = isJsonArray(key)
  for await (const piece of readPieces(store, key)) {
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
export async function* readPieces(store: Pick<StoreReader, 'get'>, key: string): AsyncIterable<Buffer> {
  const source = await store.get(key)
  const unpacked = createDecompressor(key)
  // `pipeline` passes an error on to all of its streams. The first stream to emit it is the one that failed.
  let failed: 'source' | 'unpacked' | undefined
  source.once('error', () => {
    failed ??= 'source'
  })
  unpacked.once('error', () => {
    failed ??= 'unpacked'
  })
  // The same error ends `yield*` below.
  pipeline(source, unpacked).catch(() => {})
  const giveUp = (): void => {
    source.destroy(new Error(`the store sent nothing for ${SILENT_MS_MAX / 1000} s`))
  }
  try {
    yield* cutBetweenLines(whileNotSilent(unpacked, giveUp))
  } catch (cause) {
    if (failed !== 'source') throw cause
    throw new StoreUnavailable(`${key} was not read to its end: ${(cause as Error).message}`, { cause })
  }
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
