/**
 * Rewrites the objects that have wanted events.
 *
 *   fold the log ──► remove the bytes in its records ──► stage new objects ──► append a record ──► move them
 *
 * All records that name the objects are folded first: no archiver stores these objects again. The record says what the
 * objects are from then on, and where the new bytes are staged until they are moved. A staged object is moved once: a
 * move that is late finds nothing. Whoever reads an object meanwhile takes the staged bytes.
 *
 * Of two erasures at once the first to append a record goes on, and the other is refused. So what was staged before a
 * record and is not named by then is never named, and can be removed.
 */

import { randomUUID } from 'node:crypto'
import { IdSet } from '../dedupe/id-set.ts'
import { QueryFailed } from '../errors.ts'
import { ID_BYTES } from '../event/message-id.ts'
import type { Rewrite } from '../log/later-changes.ts'
import { logKeys } from '../log/log-keys.ts'
import type { LogMaintainer } from '../log/log-maintainer.ts'
import type { LogBatch } from '../log/log-record.ts'
import { removeBodies } from '../log/record-bodies.ts'
import { hasTimeIn } from '../log/spans.ts'
import { forEachAtOnce } from '../process/for-each-at-once.ts'
import type { ArchivedBatch, ArchivedBatches } from '../query/archive-batches.ts'
import type { ObjectStore } from '../store/store.ts'
import type { Matches } from './find-matches.ts'
import { type BytesOf, countIn, stageErased } from './rewrite-object.ts'

const READS_AT_ONCE = 8
const REWRITES_AT_ONCE = 4
/** Batches that are in memory while objects are looked through. */
const PART_BATCHES = 100_000
/** Objects of one record of the log. */
const RECORD_OBJECTS_MAX = 256
/**
 * An archiver names what it stages within seconds. What is older was left by one that was killed. If it is not, the
 * log makes its batch void, and its events come again.
 */
const ABANDONED_MS_MIN = 60 * 60 * 1000

export interface AffectedObject {
  readonly batch: ArchivedBatch
  /** Wanted events. */
  readonly events: number
}

/** @returns the batches of the archive that `isWanted` chooses, and what records say of earlier ones */
type Archived = (isWanted: (batch: ArchivedBatch) => boolean) => Promise<ArchivedBatches>

export interface FoundObjects {
  readonly objects: readonly AffectedObject[]
  /** There was an erasure before. */
  readonly hasRewrites: boolean
}

/**
 * The objects that have wanted events: those of the times of the events, and all others if some are not found there. The
 * log is read for each of the two, and again after each 100,000 objects, so that an archive may have any number of them.
 *
 * @param options.partBatches batches that are in memory at once, besides those that are found
 * @param looked called for each object that was looked through; an error of it ends the search
 * @throws QueryFailed if an object is not what the log says; StoreUnavailable, LogRefused
 */
export async function findObjects(
  bytes: BytesOf,
  archived: Archived,
  { ids, rows, times, untimed }: Matches,
  looked: () => void,
  { partBatches = PART_BATCHES } = {},
): Promise<FoundObjects> {
  const affected: AffectedObject[] = []
  const found = new IdSet()
  let hasRewrites = false
  const look = async (isWanted: (batch: ArchivedBatch) => boolean): Promise<void> => {
    for await (const { batches, changes } of inParts(archived, isWanted, partBatches)) {
      hasRewrites = hasSome(changes.rewrites)
      await forEachAtOnce(batches, READS_AT_ONCE, async batch => {
        const events = await countIn(bytes, batch, ids, found)
        if (events > 0) affected.push({ batch, events })
        looked()
      })
    }
  }
  const isLikely = ({ firstReceivedAt, lastReceivedAt }: ArchivedBatch): boolean =>
    hasTimeIn(times, firstReceivedAt, lastReceivedAt)
  await look(isLikely)
  const sum = affected.reduce((total, { events }) => total + events, 0)
  if (found.size < ids.size || sum < rows || untimed > 0) await look(batch => !isLikely(batch))
  return { objects: affected.sort((a, b) => a.batch.record - b.batch.record), hasRewrites }
}

/** Yields the batches that `isWanted` chooses, some at a time. */
async function* inParts(
  archived: Archived,
  isWanted: (batch: ArchivedBatch) => boolean,
  partBatches: number,
): AsyncGenerator<ArchivedBatches> {
  // Of the last batch of the part before.
  let [record, place] = [-1, -1]
  for (let count = partBatches; count === partBatches; ) {
    const [afterRecord, afterPlace] = [record, place]
    count = 0
    const part = await archived(batch => {
      const isAfter = batch.record > afterRecord || (batch.record === afterRecord && batch.place > afterPlace)
      if (count === partBatches || !isAfter || !isWanted(batch)) return false
      count++
      record = batch.record
      place = batch.place
      return true
    })
    yield part
  }
}

function hasSome(items: Iterable<unknown>): boolean {
  for (const _ of items) return true
  return false
}

export interface RewriteParts {
  readonly store: ObjectStore
  readonly prefix: string
  readonly bytes: BytesOf
  readonly maintainer: LogMaintainer
  readonly stopping: AbortSignal
  /** An object has its new bytes. */
  readonly rewritten: (object: AffectedObject) => void
}

/** @throws QueryFailed, StoreUnavailable, LogDamaged, LogRefused; the reason of `stopping` */
export async function rewriteObjects(
  parts: RewriteParts,
  objects: readonly AffectedObject[],
  wanted: IdSet,
): Promise<void> {
  const { store, prefix, maintainer } = parts
  const keys = new Set(objects.map(({ batch }) => batch.key))
  await removeBodies(store, prefix, batch => keys.has(batch.key) || hasWanted(batch, wanted))
  for (let at = 0; at < objects.length; at += RECORD_OBJECTS_MAX) {
    const some = objects.slice(at, at + RECORD_OBJECTS_MAX)
    const rewrites = await stageAll(parts, some, wanted)
    if (!(await maintainer.append({ rewrites }))) {
      await store.remove(rewrites.map(({ staged }) => staged))
      throw changedMeanwhile('the archive')
    }
    await moveRewrites(store, rewrites)
    for (const object of some) parts.rewritten(object)
  }
}

async function stageAll(
  { store, prefix, bytes, stopping }: RewriteParts,
  objects: readonly AffectedObject[],
  wanted: IdSet,
): Promise<Rewrite[]> {
  const rewrites: Rewrite[] = []
  const staged: string[] = []
  try {
    await forEachAtOnce(objects, REWRITES_AT_ONCE, async ({ batch }) => {
      stopping.throwIfAborted()
      const key = stagedKey(prefix)
      staged.push(key)
      rewrites.push(await stageErased(store, bytes, batch, wanted, key))
    })
    return rewrites
  } catch (error) {
    await store.remove(staged).catch(() => {})
    throw error
  }
}

function hasWanted({ ids }: LogBatch, wanted: IdSet): boolean {
  for (let at = 0; at < ids.length; at += ID_BYTES) if (wanted.has(ids, at)) return true
  return false
}

/**
 * Moves what earlier erasures have staged and named in the log, and removes what they have not named.
 *
 * @param rewrites of all records
 * @throws QueryFailed if another erasure runs; StoreUnavailable, LogDamaged, LogRefused
 */
export async function completeRewrites(
  store: ObjectStore,
  prefix: string,
  maintainer: LogMaintainer,
  rewrites: Iterable<Rewrite>,
): Promise<void> {
  const unnamed = await moveNamed(store, prefix, rewrites)
  if (unnamed.length === 0) return
  if (!(await maintainer.append({ rewrites: [] }))) throw changedMeanwhile('the archive')
  await store.remove(unnamed)
}

/**
 * Moves what earlier erasures have staged and named in the log.
 *
 * @param rewrites of all records
 * @returns the keys of what is staged and not named
 * @throws StoreUnavailable
 */
export async function moveNamed(
  store: ObjectStore,
  prefix: string,
  rewrites: Iterable<Rewrite>,
): Promise<string[]> {
  const named = new Map(Array.from(rewrites, rewrite => [rewrite.staged, rewrite]))
  const staged: string[] = []
  for await (const key of store.list(stagedPrefix(prefix))) staged.push(key)
  await moveRewrites(
    store,
    staged.flatMap(key => named.get(key) ?? []),
  )
  return staged.filter(key => !named.has(key))
}

/**
 * Removes what archivers have staged and not named in the log, if it is older than an hour.
 *
 * @returns how many objects are younger
 * @throws StoreUnavailable
 */
export async function removeLeftByArchivers(store: ObjectStore, prefix: string): Promise<number> {
  const old: string[] = []
  let younger = 0
  for await (const key of store.list(logKeys(prefix).staged)) {
    const { object, date } = await store.read(key, { start: 0, length: 1 })
    if (object === undefined) continue
    if ((date ?? Date.now()) - object.modifiedAt > ABANDONED_MS_MIN) old.push(key)
    else younger++
  }
  await store.remove(old)
  return younger
}

export function changedMeanwhile(what: string): Error {
  return new QueryFailed(
    `Another command has changed ${what} meanwhile. Run this one again: it goes on with what is left.`,
  )
}

async function moveRewrites(store: ObjectStore, rewrites: readonly Rewrite[]): Promise<void> {
  if (rewrites.length > 0) await store.moveAll(rewrites.map(({ staged: from, key: to }) => ({ from, to })))
}

export function stagedPrefix(prefix: string): string {
  return `${logKeys(prefix).own}erasures/`
}

export function stagedKey(prefix: string): string {
  return `${stagedPrefix(prefix)}${randomUUID()}`
}
