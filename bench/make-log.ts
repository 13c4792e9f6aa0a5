/** Makes the log of an archive with many ids in seconds, as archivers would have written it in a day. */
import { createHash, randomFillSync, randomUUID } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { DIGEST_VERSION, ID_BYTES } from '../src/event/message-id.ts'
import { foldRecords, type NumberedRecord } from '../src/log/fold.ts'
import { type LogKeys, logKeys } from '../src/log/log-keys.ts'
import { type BatchDraft, decodeHead, type EncodedRecord, encodeRecord } from '../src/log/log-record.ts'
import { rootRecord } from '../src/log/log-sync.ts'
import { encodeManifest, encodeObjects, type Manifest, type Run } from '../src/log/manifest.ts'
import { objectKey } from '../src/object/object-key.ts'
import { sampleEvents } from './sample-events.ts'

/** Limits of a fold, as in src/log/folder.ts: ids, and records. */
const FOLD_IDS_MAX = 1_000_000
const FOLD_RECORDS = 500
const IDS_A_RECORD = 20_000
const HOUR_MS = 3_600_000
/** Age of the first record. Less than DEDUPE_WINDOW_MS, so that archivers remember all ids. */
const SPAN_MS = 20 * HOUR_MS
const EVENT_BYTES = 260

/** The records of one writer, in their order. */
class Chain {
  readonly writer = randomUUID()
  readonly root: Buffer
  readonly log = randomUUID()
  readonly #prefix: string
  #number = 0
  #previous: string

  constructor(prefix: string) {
    this.#prefix = prefix
    this.root = rootRecord(this.log, this.writer)
    this.#previous = decodeHead(0, this.root).hash
  }

  /** Makes the next record, of one batch. @param body of the object; default: the object is stored already */
  append(ids: number, storedAt: number, body?: Buffer): EncodedRecord {
    const nonce = randomUUID()
    const batch: BatchDraft = {
      key: objectKey(this.#prefix, new Date(storedAt), nonce, '.ndjson.gz'),
      sha256: createHash('sha256')
        .update(body ?? '')
        .digest('hex'),
      storedBytes: body?.length ?? ids * 80,
      events: ids,
      bytes: ids * EVENT_BYTES,
      firstReceivedAt: storedAt - 1_000,
      lastReceivedAt: storedAt,
      ids: randomIds(ids),
      body,
      ...(body === undefined && { isStored: true }),
    }
    const encoded = encodeRecord({
      log: this.log,
      number: this.#number + 1,
      previous: this.#previous,
      nonce,
      writer: this.writer,
      done: this.#number,
      waiting: false,
      roundTripMs: 1,
      digest: DIGEST_VERSION,
      batches: [batch],
      voids: [],
    })
    this.#number++
    this.#previous = encoded.record.hash
    return encoded
  }
}

/** Returns UUIDs of version 4, in the 16 bytes in which archives compare them. */
function randomIds(count: number): Buffer {
  const ids = randomFillSync(Buffer.allocUnsafeSlow(count * ID_BYTES))
  for (let at = 0; at < ids.length; at += ID_BYTES) {
    ids[at + 6] = 0x40 | ((ids[at + 6] as number) & 0x0f)
    ids[at + 8] = 0x80 | ((ids[at + 8] as number) & 0x3f)
  }
  return ids
}

/**
 * Writes a log in which all records are folded and deleted. There are no objects, since objects of folded records are
 * not read.
 *
 * @param directory of the archive
 * @param ids number of random ids, stored over the last 20 hours
 */
export async function makeFoldedLog(directory: string, ids: number): Promise<void> {
  const keys = logKeys('frequency')
  const write = async (key: string, bytes: Buffer) => writeFileSync(fileOf(directory, key), bytes)
  const chain = new Chain('frequency')
  await write(keys.record(0), chain.root)
  const beganAt = Date.now() - SPAN_MS
  let manifest: Manifest | undefined
  for (let made = 0; made < ids; ) {
    const records: NumberedRecord[] = []
    for (const end = Math.min(ids, made + FOLD_IDS_MAX); made < end; ) {
      const count = Math.min(IDS_A_RECORD, end - made)
      made += count
      const storedAt = Math.floor(beganAt + SPAN_MS * (made / ids))
      records.push({ record: chain.append(count, storedAt).record, storedAt })
    }
    manifest = await writeFold(write, keys, records, manifest)
    await write(keys.head, Buffer.from(String(manifest.through)))
  }
}

async function writeFold(
  write: (key: string, bytes: Buffer) => Promise<unknown>,
  keys: LogKeys,
  records: readonly NumberedRecord[],
  before: Manifest | undefined,
): Promise<Manifest> {
  const folded = foldRecords(records, before, new Map())
  const { from, through } = folded.manifest
  const writeRun = async (extension: string, bytes: Buffer): Promise<Run> => {
    const key = `${keys.runs}${from}-${through}.${extension}`
    await write(key, bytes)
    return { key, bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') }
  }
  const ids = await writeRun('ids', folded.ids)
  const objects = await writeRun('objects', encodeObjects(folded.records))
  const manifest = { ...folded.manifest, ids, objects }
  await write(keys.manifest(manifest.generation), encodeManifest(manifest))
  return { version: 1, ...manifest }
}

/** The method of a store that makeRecords() needs. */
export interface RecordStore {
  create(key: string, bytes: Buffer): Promise<unknown>
}

/**
 * Writes records that contain an object each. Folds them as often as an archiver would, and does not delete folded
 * records.
 *
 * @param isFolded whether to fold; default: true
 */
export async function makeRecords(
  store: RecordStore,
  prefix: string,
  { records, idsPerRecord, isFolded = true }: { records: number; idsPerRecord: number; isFolded?: boolean },
): Promise<void> {
  const keys = logKeys(prefix)
  const chain = new Chain(prefix)
  await store.create(keys.record(0), chain.root)
  const lines = sampleEvents(idsPerRecord, true).map(line =>
    line.replace(/0{8}-0{4}-4000-8000-0{12}/, () => randomUUID()),
  )
  const body = gzipSync(`${lines.join('\n')}\n`)
  const encoded = Array.from({ length: records }, (_, n) =>
    chain.append(idsPerRecord, Date.now() - (records - n) * 1_000, body),
  )
  for (let at = 0; at < encoded.length; at += 16) {
    const some = encoded.slice(at, at + 16)
    await Promise.all(some.map(({ bytes, record }) => store.create(keys.record(record.number), bytes)))
  }
  const write = (key: string, bytes: Buffer) => store.create(key, bytes)
  let manifest: Manifest | undefined
  for (let at = 0; isFolded && at + FOLD_RECORDS <= encoded.length; at += FOLD_RECORDS) {
    const some = encoded.slice(at, at + FOLD_RECORDS).map(({ record }) => ({ record, storedAt: Date.now() }))
    manifest = await writeFold(write, keys, some, manifest)
  }
  await store.create(keys.head, Buffer.from(String(records)))
}

function fileOf(directory: string, key: string): string {
  const path = join(directory, key)
  mkdirSync(dirname(path), { recursive: true })
  return path
}
