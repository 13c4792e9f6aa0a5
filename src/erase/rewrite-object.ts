/** Replaces events of an archived object by what keeps their ids known, and says nothing else. */

import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { IdSet } from '../dedupe/id-set.ts'
import { ObjectNotFound, QueryFailed } from '../errors.ts'
import { identityOf } from '../event/message-id.ts'
import { StoredDigest } from '../log/describe-object.ts'
import type { Rewrite } from '../log/later-changes.ts'
import { createCompressor, framingOf } from '../object/format.ts'
import { isDamage, isJsonArray, readEvents } from '../object/object-reader.ts'
import { DigestStream } from '../process/digest-stream.ts'
import type { ArchivedBatch } from '../query/archive-batches.ts'
import type { ObjectStore, StoreReader } from '../store/store.ts'

const CHUNK_CHARS = 64 * 1024
const STAMP = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

/** Where the bytes of a batch are read from. */
export type BytesOf = (batch: ArchivedBatch) => Pick<StoreReader, 'get'>

/** What is known of an event that an object has. */
interface ArchivedEvent {
  readonly messageId?: unknown
  readonly source?: unknown
  readonly receivedAt?: unknown
}

/**
 * Counts the wanted events of an object that are not erased yet.
 *
 * @param found gets their ids
 * @returns 0 if the object is gone
 * @throws QueryFailed if the object is not what the log says; StoreUnavailable
 */
export async function countIn(
  bytes: BytesOf,
  batch: ArchivedBatch,
  wanted: IdSet,
  found: IdSet,
): Promise<number> {
  let count = 0
  try {
    for await (const { id } of wantedLines(bytes, batch, wanted)) {
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
  store: Pick<ObjectStore, 'put'>,
  bytes: BytesOf,
  batch: ArchivedBatch,
  wanted: IdSet,
  staged: string,
): Promise<Rewrite> {
  const counted = { bytes: 0 }
  const digesting = new DigestStream()
  const source = Readable.from(erasedText(bytes, batch, wanted, counted))
  const written = pipeline(source, createCompressor(compressionOf(batch.key)), digesting)
  const [put, piped] = await Promise.allSettled([store.put(staged, digesting), written])
  // The cause: `put` fails with it too.
  if (piped.status === 'rejected') throw piped.reason
  if (put.status === 'rejected') throw put.reason
  return {
    key: batch.key,
    sha256: digesting.sha256(),
    storedBytes: digesting.bytes,
    bytes: counted.bytes,
    staged,
  }
}

async function* erasedText(
  bytes: BytesOf,
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
  for await (const { line, id } of wantedLines(bytes, batch, wanted)) {
    text += (isFirst ? '' : between.toString()) + (id === undefined ? line : erasedLine(JSON.parse(line)))
    isFirst = false
    if (text.length >= CHUNK_CHARS) yield taken()
  }
  text += after.toString()
  yield taken()
}

/** An event that has the same identity, and the same time. */
function erasedLine({ messageId, source, receivedAt }: ArchivedEvent): string {
  return JSON.stringify({
    messageId,
    ...(typeof source === 'string' && { source }),
    erased: true,
    ...(typeof receivedAt === 'string' && STAMP.test(receivedAt) && { receivedAt }),
  })
}

/** The lines of an object, with the id of those that are wanted. It ends only if the object is what the log says. */
async function* wantedLines(
  bytes: BytesOf,
  batch: ArchivedBatch,
  wanted: IdSet,
): AsyncIterable<{ readonly line: string; readonly id: Buffer | undefined }> {
  const { key, sha256 } = batch
  const digest = new StoredDigest()
  try {
    for await (const line of readEvents(bytes(batch), key, digest.add)) {
      const event = JSON.parse(line) as ArchivedEvent
      const id = identityOf(event)
      const isWanted = id !== undefined && wanted.has(id) && line !== erasedLine(event)
      yield { line, id: isWanted ? id : undefined }
    }
  } catch (error) {
    if (!isDamage(error)) throw error
    throw new QueryFailed(
      `The object ${key} is damaged: ${(error as Error).message}. Restore it from a backup, or see "frequency verify".`,
    )
  }
  if (digest.end().sha256 === sha256) return
  throw new QueryFailed(
    `The object ${key} is not what the log says. If another erasure runs, run this one again when that has ended. If not, "frequency verify" tells what else is wrong with the archive.`,
  )
}

/** Whether a line is what is left of an erased event. */
export function isErasedLine(line: string): boolean {
  return line === erasedLine(JSON.parse(line) as ArchivedEvent)
}

function compressionOf(key: string): 'gzip' | 'zstd' | 'none' {
  if (key.endsWith('.gz')) return 'gzip'
  return key.endsWith('.zst') ? 'zstd' : 'none'
}
