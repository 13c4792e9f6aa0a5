/** Reads a log from its first record to its last, for commands that check or repair an archive. */

import { LogDamaged } from '../errors.ts'
import type { StoreReader } from '../store/store.ts'
import { type LogKeys, recordNumber } from './log-keys.ts'
import type { LogReader } from './log-reader.ts'
import type { LogRecord } from './log-record.ts'
import type { FoldedRecord, Manifest } from './manifest.ts'

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

/**
 * Yields record 0, then each manifest with its folded records, then each record that is not folded. A record that is
 * folded during the walk is yielded once. A record that is damaged or gone is yielded as `damaged`, and the walk goes on.
 *
 * It ends at the end of the log: at that moment it had yielded all records and manifests.
 *
 * @throws StoreUnavailable, LogRefused
 */
export async function* walkLog(parts: LogWalkParts): AsyncIterable<LogStep> {
  const { reader } = parts
  const root = await rootStep(parts)
  if (root === undefined) return
  yield root
  let before = after(root, BEFORE_FIRST)
  for (let generation = 1, hasMore = true; ; ) {
    const manifest = hasMore ? (await reader.manifest(generation)).manifest : undefined
    if (manifest !== undefined) {
      generation++
      yield { kind: 'manifest', manifest }
      for (const record of await reader.objects(manifest))
        if (record.number > before.number) yield { kind: 'folded', record }
      const { through: number, log, hash } = manifest
      if (number > before.number) before = { number, log, hash }
      continue
    }
    const step = await nextStep(parts, before)
    // A record that is gone or damaged may have been folded since the last manifest was read.
    hasMore = step?.kind !== 'record' && (await reader.manifest(generation)).manifest !== undefined
    if (hasMore) continue
    if (step === undefined) return
    yield step
    before = after(step, before)
  }
}

async function rootStep(parts: LogWalkParts): Promise<LogStep | undefined> {
  const step = await nextStep(parts, BEFORE_FIRST)
  if (step !== undefined) return step
  return (await parts.reader.manifest(1)).manifest === undefined ? undefined : damaged(0, 'it is gone')
}

function after(step: LogStep, before: Predecessor): Predecessor {
  if (step.kind === 'record') return step.record
  return { number: before.number + 1, log: before.log, hash: undefined }
}

async function nextStep(parts: LogWalkParts, before: Predecessor): Promise<LogStep | undefined> {
  const number = before.number + 1
  const step = await stepOf(parts.reader, number, before)
  if (step !== undefined || !(await isBeforeEnd(parts, number))) return step
  // It may have been created since the first read.
  return (await stepOf(parts.reader, number, before)) ?? damaged(number, 'it is gone')
}

async function stepOf(reader: LogReader, number: number, before: Predecessor): Promise<LogStep | undefined> {
  try {
    const { record, storedAt } = await reader.record(number)
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
