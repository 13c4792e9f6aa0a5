/** Replaces events of an archived object by what keeps their ids known, and says nothing else. */

import { createHash } from 'node:crypto'
import { Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { IdSet } from '../dedupe/id-set.ts'
import { ObjectNotFound, QueryFailed } from '../errors.ts'
import { identityOf } from '../event/message-id.ts'
import { DigestingStore } from '../log/describe-object.ts'
import type { Rewrite } from '../log/later-changes.ts'
import { createCompressor, framingOf } from '../object/format.ts'
import { isDamage, isJsonArray, readEvents } from '../object/object-reader.ts'
import type { ArchivedBatch } from '../query/archive-batches.ts'
import type { ObjectStore, StoreReader } from '../store/store.ts'

const CHUNK_CHARS = 64 * 1024
const STAMP = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/
/** The members of an event that is erased. */
const LEFT: ReadonlySet<string> = new Set(['messageId', 'source', 'erased', 'receivedAt'])

/** What is known of an event that an object has. */
interface ArchivedEvent {
  readonly messageId?: unknown
  readonly source?: unknown
  readonly receivedAt?: unknown
  readonly erased?: unknown
}

/**
 * Counts the wanted events of an object that are not erased yet.
 *
 * @param found gets their ids
 * @returns 0 if the object is gone
 * @throws QueryFailed if the object is not what the log says; StoreUnavailable
 */
export async function countIn(
  store: Pick<StoreReader, 'get'>,
  batch: ArchivedBatch,
  wanted: IdSet,
  found: IdSet,
): Promise<number> {
  let count = 0
  try {
    for await (const { id } of wantedLines(store, batch, wanted)) {
      if (id === undefined) continue
      found.add(id)
      count++
    }
  } catch (error) {
    if (error instanceof ObjectNotFound) return 0
    throw error
  }
  return count
}

/**
 * Stages an object with the wanted events erased.
 *
 * @returns how it differs from the batch, for the log
 * @throws QueryFailed if the object is not what the log says; ObjectNotFound, StoreUnavailable
 */
export async function stageErased(
  store: ObjectStore,
  batch: ArchivedBatch,
  wanted: IdSet,
  staged: string,
): Promise<Rewrite> {
  const digest = createHash('sha256')
  let storedBytes = 0
  const counted = { bytes: 0 }
  const digesting = new Transform({
    transform: (chunk: Buffer, _, done) => {
      digest.update(chunk)
      storedBytes += chunk.length
      done(null, chunk)
    },
  })
  const source = Readable.from(erasedText(store, batch, wanted, counted))
  const written = pipeline(source, createCompressor(compressionOf(batch.key)), digesting)
  const [put, piped] = await Promise.allSettled([store.put(staged, digesting), written])
  // The cause: `put` fails with it too.
  if (piped.status === 'rejected') throw piped.reason
  if (put.status === 'rejected') throw put.reason
  return { key: batch.key, sha256: digest.digest('hex'), storedBytes, bytes: counted.bytes, staged }
}

async function* erasedText(
  store: Pick<StoreReader, 'get'>,
  batch: ArchivedBatch,
  wanted: IdSet,
  counted: { bytes: number },
): AsyncIterable<Buffer> {
  const { before, between, after } = framingOf(isJsonArray(batch.key) ? 'json' : 'ndjson')
  let text = before.toString()
  let isFirst = true
  const taken = (): Buffer => {
    const bytes = Buffer.from(text)
    counted.bytes += bytes.length
    text = ''
    return bytes
  }
  for await (const { line, id } of wantedLines(store, batch, wanted)) {
    text += (isFirst ? '' : between.toString()) + (id === undefined ? line : erasedLine(line))
    isFirst = false
    if (text.length >= CHUNK_CHARS) yield taken()
  }
  text += after.toString()
  yield taken()
}

/** An event that has the same identity, and the same time. */
function erasedLine(line: string): string {
  const { messageId, source, receivedAt } = JSON.parse(line) as ArchivedEvent
  return JSON.stringify({
    messageId,
    ...(typeof source === 'string' && { source }),
    erased: true,
    ...(typeof receivedAt === 'string' && STAMP.test(receivedAt) && { receivedAt }),
  })
}

/** The lines of an object, with the id of those that are wanted. It ends only if the object is what the log says. */
async function* wantedLines(
  store: Pick<StoreReader, 'get'>,
  { key, sha256, staged, isRewritten }: ArchivedBatch,
  wanted: IdSet,
): AsyncIterable<{ readonly line: string; readonly id: Buffer | undefined }> {
  const digesting = new DigestingStore(store)
  try {
    for await (const line of readEvents(digesting, key)) {
      const event = JSON.parse(line) as ArchivedEvent
      const id = isErased(event) ? undefined : identityOf(event)
      yield { line, id: id !== undefined && wanted.has(id) ? id : undefined }
    }
  } catch (error) {
    if (!isDamage(error)) throw error
    throw new QueryFailed(`The object ${key} is damaged: ${(error as Error).message}`)
  }
  if (digesting.end().sha256 === sha256) return
  throw new QueryFailed(
    isRewritten === true && staged !== undefined
      ? `The object ${key} is being rewritten by another erasure. Run this one again when that has ended.`
      : `The object ${key} is not what the log says. "frequency verify" tells what else is wrong with the archive.`,
  )
}

function isErased(event: ArchivedEvent): boolean {
  return event.erased === true && Object.keys(event).every(name => LEFT.has(name))
}

function compressionOf(key: string): 'gzip' | 'zstd' | 'none' {
  if (key.endsWith('.gz')) return 'gzip'
  return key.endsWith('.zst') ? 'zstd' : 'none'
}
