/**
 * Rewrites the objects that have wanted events.
 *
 *   fold the log ──► remove the bytes in its records ──► stage new objects ──► append a record ──► move them
 *
 * All records that name the objects are folded first: no archiver stores these objects again. The record says what the
 * objects are from then on, and where the new bytes are staged until they are moved. A staged object is moved once: a
 * move that is late finds nothing. Whoever reads an object meanwhile takes the staged bytes.
 */

import { randomUUID } from 'node:crypto'
import { IdSet } from '../dedupe/id-set.ts'
import { QueryFailed } from '../errors.ts'
import type { Rewrite } from '../log/later-changes.ts'
import { logKeys } from '../log/log-keys.ts'
import type { LogMaintainer } from '../log/log-maintainer.ts'
import { removeBodies } from '../log/record-bodies.ts'
import { forEachAtOnce } from '../process/for-each-at-once.ts'
import type { ArchivedBatch } from '../query/archive-batches.ts'
import type { ObjectStore, StoreReader } from '../store/store.ts'
import type { Matches } from './find-matches.ts'
import { countIn, stageErased } from './rewrite-object.ts'

const READS_AT_ONCE = 8
const REWRITES_AT_ONCE = 4
/** Objects of one record of the log. */
const RECORD_OBJECTS_MAX = 256
const ABANDONED_MS_MIN = 24 * 60 * 60 * 1000

export interface AffectedObject {
  readonly batch: ArchivedBatch
  /** Wanted events. */
  readonly events: number
}

/**
 * The objects that have wanted events: those of the times of the events, and all others if some are not found there.
 *
 * @throws QueryFailed if an object is not what the log says; StoreUnavailable
 */
export async function findObjects(
  store: Pick<StoreReader, 'get'>,
  batches: readonly ArchivedBatch[],
  { ids, times, untimed }: Matches,
  looked: () => void,
): Promise<AffectedObject[]> {
  const affected: AffectedObject[] = []
  const found = new IdSet()
  const look = (some: readonly ArchivedBatch[]): Promise<void> =>
    forEachAtOnce(some, READS_AT_ONCE, async batch => {
      const events = await countIn(store, batch, ids, found)
      if (events > 0) affected.push({ batch, events })
      looked()
    })
  const isLikely = (batch: ArchivedBatch): boolean => hasTimeIn(times, batch)
  await look(batches.filter(isLikely))
  if (found.size < ids.size || untimed > 0) await look(batches.filter(batch => !isLikely(batch)))
  return affected.sort((a, b) => a.batch.record - b.batch.record)
}

/** Whether one of the times is in the span of the batch. @param times ascending */
function hasTimeIn(times: readonly number[], { firstReceivedAt, lastReceivedAt }: ArchivedBatch): boolean {
  let low = 0
  let high = times.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((times[middle] as number) < firstReceivedAt) low = middle + 1
    else high = middle
  }
  return low < times.length && (times[low] as number) <= lastReceivedAt
}

export interface RewriteParts {
  readonly store: ObjectStore
  readonly prefix: string
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
  const { store, prefix, maintainer, stopping } = parts
  const keys = new Set(objects.map(({ batch }) => batch.key))
  await removeBodies(store, prefix, ({ key }) => keys.has(key))
  for (let at = 0; at < objects.length; at += RECORD_OBJECTS_MAX) {
    const some = objects.slice(at, at + RECORD_OBJECTS_MAX)
    const rewrites: Rewrite[] = []
    await forEachAtOnce(some, REWRITES_AT_ONCE, async ({ batch }) => {
      stopping.throwIfAborted()
      rewrites.push(await stageErased(store, batch, wanted, stagedKey(prefix)))
    })
    if (!(await maintainer.append({ rewrites })))
      throw new QueryFailed(
        'Another erasure has rewritten the same objects meanwhile. Run this one again: it goes on with what is left.',
      )
    await moveRewrites(store, rewrites)
    for (const object of some) parts.rewritten(object)
  }
}

/**
 * Moves what earlier erasures have staged and named in the log. Removes what they have staged a day ago and not named.
 *
 * @param rewrites of all records
 */
export async function completeRewrites(
  store: ObjectStore,
  prefix: string,
  rewrites: Iterable<Rewrite>,
): Promise<void> {
  const named = new Map(Array.from(rewrites, rewrite => [rewrite.staged, rewrite]))
  const staged: string[] = []
  for await (const key of store.list(stagedPrefix(prefix))) staged.push(key)
  await moveRewrites(
    store,
    staged.flatMap(key => named.get(key) ?? []),
  )
  await removeOld(
    store,
    staged.filter(key => !named.has(key)),
  )
}

/** What is not named may be of an erasure that runs. */
async function removeOld(store: ObjectStore, keys: readonly string[]): Promise<void> {
  const old: string[] = []
  for (const key of keys) {
    const { object, date } = await store.read(key, { start: 0, length: 1 })
    if (object !== undefined && (date ?? Date.now()) - object.modifiedAt > ABANDONED_MS_MIN) old.push(key)
  }
  if (old.length > 0) await store.remove(old)
}

async function moveRewrites(store: ObjectStore, rewrites: readonly Rewrite[]): Promise<void> {
  if (rewrites.length > 0) await store.moveAll(rewrites.map(({ staged: from, key: to }) => ({ from, to })))
}

function stagedPrefix(prefix: string): string {
  return `${logKeys(prefix).own}erasures/`
}

function stagedKey(prefix: string): string {
  return `${stagedPrefix(prefix)}${randomUUID()}`
}
