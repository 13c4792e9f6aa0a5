/** Helpers for tests of the log: several writers on one store. */
import { createHash, randomUUID } from 'node:crypto'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { IdIndex } from '../../src/dedupe/id-index.ts'
import { openIdIndex } from '../../src/dedupe/open-id-index.ts'
import { idDigest } from '../../src/event/message-id.ts'
import { appendVoid } from '../../src/log/append-void.ts'
import { CommitLog, type Draft } from '../../src/log/commit-log.ts'
import { Folder } from '../../src/log/folder.ts'
import { type LogKeys, logKeys } from '../../src/log/log-keys.ts'
import { LogReader } from '../../src/log/log-reader.ts'
import type { BatchDraft, LogRecord } from '../../src/log/log-record.ts'
import { Settlement } from '../../src/log/settlement.ts'
import { Watermark } from '../../src/log/watermark.ts'
import { openStore } from '../../src/store/open-store.ts'
import type { ObjectStore } from '../../src/store/store.ts'
import { type S3Server, startS3Server } from '../services/s3-server.ts'
import { configOf, silent, temporaryDirectory } from './helper.ts'
import { setEnvironment } from './store-helper.ts'

export const PREFIX = 'p'
export const BUCKET = 'bucket'
export const DAY_MS = 24 * 60 * 60 * 1000

/** The parts of a process that read and write a log, without a queue. */
export interface Writer {
  readonly name: string
  readonly store: ObjectStore
  readonly index: IdIndex
  readonly reader: LogReader
  readonly watermark: Watermark
  readonly commitLog: CommitLog
  readonly settlement: Settlement
  readonly folder: Folder
  readonly keys: LogKeys
  /** Applied records, and whether this writer wrote them. */
  readonly applied: { record: LogRecord; isOwn: boolean }[]
  readonly calls: { synchronised: number; voided: number; troubles: Error[]; waiting: string[] }
  stop(): void
}

export interface Place {
  /** Opens another store of the same archive. */
  openStore(): Promise<ObjectStore>
  /** Undefined for a directory. */
  readonly server: S3Server | undefined
}

export const PLACES: { name: string; open(t: Test): Promise<Place> }[] = [
  { name: 'a directory', open: openDirectory },
  { name: 'S3', open: openServer },
]

async function openDirectory(t: Test): Promise<Place> {
  const path = temporaryDirectory(t)
  return { server: undefined, openStore: () => openStore(configOf({ ARCHIVE_URL: path })) }
}

export async function openServer(t: Test): Promise<Place & { server: S3Server }> {
  const server = await startS3Server()
  t.teardown(() => server.close())
  server.createBucket(BUCKET)
  setEnvironment(t, server.env())
  const config = configOf({
    ARCHIVE_URL: `s3://${BUCKET}/${PREFIX}`,
    S3_FORCE_PATH_STYLE: 'true',
    S3_IDLE_MS_MAX: '1000',
  })
  const open = async () => {
    setEnvironment(t, server.env())
    const store = await openStore(config)
    t.teardown(() => store.close())
    return store
  }
  return { server, openStore: open }
}

export interface WriterOptions {
  readonly dataDir?: string
  readonly dedupeWindowMs?: number
}

export async function openWriter(t: Test, place: Place, options: WriterOptions = {}): Promise<Writer> {
  const { dataDir = temporaryDirectory(t), dedupeWindowMs = DAY_MS } = options
  const store = await place.openStore()
  const index = await openIdIndex(join(dataDir, 'ids'), { dedupeWindowMs, dedupeIdsMax: 1_000_000 }, silent)
  t.teardown(() => index.close())
  return assembleWriter(t, store, index, dedupeWindowMs)
}

export function assembleWriter(t: Test, store: ObjectStore, index: IdIndex, dedupeWindowMs = DAY_MS): Writer {
  const keys = logKeys(PREFIX)
  const reader = new LogReader(store, keys)
  const watermark = new Watermark(reader)
  const stopping = new AbortController()
  t.teardown(() => stopping.abort())
  const name = randomUUID()
  const applied: Writer['applied'] = []
  const calls = { synchronised: 0, voided: 0, troubles: [] as Error[], waiting: [] as string[] }
  const parts = { store, index, reader, watermark, keys, prefix: PREFIX, dedupeWindowMs, log: silent }
  const commitLog = new CommitLog(
    { ...parts, writer: name, stopping: stopping.signal },
    {
      applied: (record, isOwn) => {
        applied.push({ record, isOwn })
        settlement.applied(record)
      },
      resumed: record => settlement.applied(record),
      resumedVoids: voids => settlement.appliedVoids(voids),
      conflicted: () => {},
      otherWaits: writer => calls.waiting.push(writer),
      unsettled: () => settlement.unsettledNumbers,
      retrying: error => calls.troubles.push(error),
      synchronised: () => calls.synchronised++,
    },
  )
  const settlement: Settlement = new Settlement({
    store,
    reader,
    watermark,
    log: silent,
    writer: name,
    stopping: stopping.signal,
    voidBatch: (number, batch, isVoid) =>
      appendVoid(commitLog, { number, batch }, isVoid, () => settlement.ownDone),
    retrying: error => {
      if (error !== undefined) calls.troubles.push(error)
    },
    voided: () => calls.voided++,
  })
  const folder = new Folder({ ...parts, commitLog, settlement, stopping: stopping.signal })
  const stop = () => stopping.abort()
  return { name, store, index, reader, watermark, commitLog, settlement, folder, keys, applied, calls, stop }
}

export const EMPTY: Draft = { batches: [], voids: [], done: 0, waiting: false }

export interface BatchOptions {
  readonly key?: string
  readonly staged?: string
  readonly receivedAt?: number
}

/** Returns a batch of events with these ids. */
export function batchOf(ids: readonly string[], options: BatchOptions = {}): BatchDraft {
  const { receivedAt = Date.now(), staged } = options
  const body = Buffer.from(ids.map(messageId => `${JSON.stringify({ messageId })}\n`).join(''))
  const key =
    options.key ??
    `${PREFIX}/dt=2026-11-27/hour=07/batch_20261127T074619663Z_${randomUUID().slice(0, 8)}.ndjson`
  const draft = {
    key,
    sha256: createHash('sha256').update(body).digest('hex'),
    storedBytes: body.length,
    events: ids.length,
    bytes: body.length,
    firstReceivedAt: receivedAt,
    lastReceivedAt: receivedAt,
    ids: Buffer.concat(ids.map(idDigest)),
  }
  return staged === undefined ? { ...draft, body } : { ...draft, body: undefined, staged }
}

/** Appends a batch of the ids that are not in the index, as an archiver does, and settles it. Resolves to its record, if any. */
export async function archive(writer: Writer, ids: readonly string[]): Promise<LogRecord | undefined> {
  let batch: BatchDraft | undefined
  const record = await writer.commitLog.append(async () => {
    const unknown = ids.filter(id => !writer.index.has(idDigest(id)))
    batch = unknown.length === 0 ? undefined : batchOf(unknown)
    return batch && { ...EMPTY, batches: [batch], done: writer.settlement.ownDone }
  })
  if (record !== undefined) await writer.settlement.settleOwn(record, [batch?.body])
  return record
}

/** Resolves to the ids in all objects, in any order. */
export async function archivedIds(store: ObjectStore): Promise<string[]> {
  const ids: string[] = []
  for await (const key of store.list(`${PREFIX}/dt=`)) {
    const { object } = await store.read(key)
    const lines = object?.body.toString().split('\n').slice(0, -1) ?? []
    ids.push(...lines.map(line => JSON.parse(line).messageId as string))
  }
  return ids
}
