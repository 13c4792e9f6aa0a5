/** Reads a log from its first record to its last, for commands that check or repair an archive. */

import { LogDamaged } from '../errors.ts'
import type { StoreReader } from '../store/store.ts'
import { type LogKeys, recordNumber } from './log-keys.ts'
import { type LogReader, type RecordAnswer, recordsAheadMax } from './log-reader.ts'
import type { LogRecord } from './log-record.ts'
import type { FoldedRecord, Manifest } from './manifest.ts'
import { ReadsAhead } from './reads-ahead.ts'
import { Watermark } from './watermark.ts'

export type LogStep =
  | { readonly kind: 'manifest'; readonly manifest: Manifest }
  | { readonly kind: 'folded'; readonly record: FoldedRecord }
  | {
      readonly kind: 'record'
      readonly record: LogRecord
      /** Milliseconds since 1970, by the store's clock. */
      readonly storedAt: number
    }
  /** A record of this number should exist, but it is gone or cannot be used. */
  | { readonly kind: 'damaged'; readonly number: number; readonly message: string }

export interface LogWalkParts {
  readonly store: Pick<StoreReader, 'list'>
  readonly reader: LogReader
  readonly keys: LogKeys
}

/** The fields of a record or manifest that its successor is checked against; undefined if they are not known. */
interface Predecessor {
  readonly number: number
  readonly log: string | undefined
  readonly hash: string | undefined
}

const BEFORE_FIRST: Predecessor = { number: -1, log: undefined, hash: undefined }

/** Manifests that are read ahead. Each has a run of some hundred records. */
const MANIFESTS_AHEAD_MAX = 16

interface ManifestAnswer {
  readonly manifest: Manifest
  readonly records: readonly FoldedRecord[]
}

/**
 * Yields record 0, then each manifest with its folded records, then each record that is not folded. A record that is
 * folded during the walk is yielded once. A record that is damaged or gone is yielded as `damaged`, and the walk goes on.
 *
 * It ends at the end of the log: at that moment it had yielded all records and manifests.
 *
 * @param first the first record that is wanted, besides record 0. A manifest that has it is yielded whole. @default 0
 * @throws StoreUnavailable, LogRefused
 */
export async function* walkLog(parts: LogWalkParts, first = 0): AsyncIterable<LogStep> {
  const { reader } = parts
  const records = new ReadsAhead(number => reader.record(number), recordsAheadMax)
  const manifests = new ReadsAhead(
    generation => manifestOf(reader, generation),
    () => MANIFESTS_AHEAD_MAX,
  )
  const root = await rootStep(parts, records)
  if (root === undefined) return
  yield root
  let { generation, before } = await startOf(reader, first, after(root, BEFORE_FIRST))
  for (let hasMore = true; ; ) {
    const answer = hasMore ? await manifests.answer(generation) : undefined
    if (answer !== undefined) {
      generation++
      const { through: number, log, hash } = answer.manifest
      yield { kind: 'manifest', manifest: answer.manifest }
      for (const record of answer.records) if (record.number > before.number) yield { kind: 'folded', record }
      if (number > before.number) before = { number, log, hash }
      continue
    }
    const step = await nextStep(parts, before, records)
    // A record that is gone or damaged may have been folded since the last manifest was read.
    hasMore = step?.kind !== 'record' && (await reader.manifest(generation)).manifest !== undefined
    if (hasMore) continue
    if (step === undefined) return
    yield step
    before = after(step, before)
  }
}

async function manifestOf(reader: LogReader, generation: number): Promise<ManifestAnswer | undefined> {
  const { manifest } = await reader.manifest(generation)
  return manifest === undefined ? undefined : { manifest, records: await reader.objects(manifest) }
}

/** The manifest that has the record, or the one that will follow the newest, and what comes before the first step. */
async function startOf(
  reader: LogReader,
  first: number,
  root: Predecessor,
): Promise<{ generation: number; before: Predecessor }> {
  if (first <= 1) return { generation: 1, before: root }
  const watermark = new Watermark(reader)
  await watermark.refresh()
  const { manifest, number } = watermark
  if (first <= number) return { generation: (await watermark.manifestWith(first)).generation, before: root }
  const hash = first - 1 === number ? manifest?.hash : undefined
  return {
    generation: (manifest?.generation ?? 0) + 1,
    before: { number: first - 1, log: root.log, hash },
  }
}

async function rootStep(
  parts: LogWalkParts,
  records: ReadsAhead<RecordAnswer>,
): Promise<LogStep | undefined> {
  const step = await nextStep(parts, BEFORE_FIRST, records)
  if (step !== undefined) return step
  return (await parts.reader.manifest(1)).manifest === undefined ? undefined : damaged(0, 'it is gone')
}

function after(step: LogStep, before: Predecessor): Predecessor {
  if (step.kind === 'record') return step.record
  return { number: before.number + 1, log: before.log, hash: undefined }
}

async function nextStep(
  parts: LogWalkParts,
  before: Predecessor,
  records: ReadsAhead<RecordAnswer>,
): Promise<LogStep | undefined> {
  const number = before.number + 1
  const step = await stepFrom(records.answer(number), number, before)
  if (step !== undefined) return step
  // It may have been created since it was read ahead.
  const later = await stepOf(parts.reader, number, before)
  if (later !== undefined || !(await isBeforeEnd(parts, number))) return later
  // It may have been created since the last read.
  return (await stepOf(parts.reader, number, before)) ?? damaged(number, 'it is gone')
}

function stepOf(reader: LogReader, number: number, before: Predecessor): Promise<LogStep | undefined> {
  return stepFrom(reader.record(number), number, before)
}

async function stepFrom(
  answer: Promise<RecordAnswer>,
  number: number,
  before: Predecessor,
): Promise<LogStep | undefined> {
  try {
    const { record, storedAt } = await answer
    if (record === undefined) return undefined
    const reason = mismatch(record, before)
    return reason === undefined ? { kind: 'record', record, storedAt } : damaged(number, reason)
  } catch (error) {
    if (!(error instanceof LogDamaged)) throw error
    return { kind: 'damaged', number, message: error.message }
  }
}

function damaged(number: number, reason: string): LogStep {
  return { kind: 'damaged', number, message: new LogDamaged(number, reason).message }
}

function mismatch(record: LogRecord, { log, hash }: Predecessor): string | undefined {
  if (log !== undefined && record.log !== log) return 'it is of another log'
  return hash !== undefined && record.previous !== hash ? 'it names another predecessor' : undefined
}

/** Whether the hint names this number or a later one, or a later record is listed. */
async function isBeforeEnd({ store, keys, reader }: LogWalkParts, number: number): Promise<boolean> {
  const hint = await reader.hintedHead()
  if (hint > 0 && hint >= number) return true
  for await (const key of store.list(keys.records)) if ((recordNumber(keys, key) ?? -1) > number) return true
  return false
}
