/**
 * Finds out what a damaged record has said of objects of earlier records: rewritten by an erasure, or expired.
 *
 * What its head says may be wrong, so it counts only if the objects prove it. If the head cannot be read, objects that
 * are no more what the log says, and have erased events, prove a rewrite. Nothing proves an expiry then: somebody may
 * have deleted the objects.
 */

import { isErasedLine } from '../../erase/rewrite-object.ts'
import { stagedKey, stagedPrefix } from '../../erase/rewrite-objects.ts'
import { ObjectNotFound } from '../../errors.ts'
import { describeObject } from '../../log/describe-object.ts'
import type { Changes, LaterChanges, Rewrite } from '../../log/later-changes.ts'
import type { FoldedBatch, FoldedRecord } from '../../log/manifest.ts'
import { isDamage, readEvents } from '../../object/object-reader.ts'
import { forEachAtOnce } from '../../process/for-each-at-once.ts'
import type { StoreReader } from '../../store/store.ts'

const READS_AT_ONCE = 16

export interface LostChanges {
  /** Each is proven by the bytes at its key, or by those that are staged. */
  readonly rewrites: readonly Rewrite[]
  /** Objects of earlier records whose last event is older are all gone, as the record has said. */
  readonly expiredBefore: number | undefined
  /** Keys of objects that were rewritten by the record. Neither they nor what is staged have these bytes. */
  readonly unproven: readonly string[]
  /** The record may have said that they have expired, but some are still there. */
  readonly unexpired: { readonly before: number; readonly objects: number } | undefined
  /** Objects that the log names and that are gone, if the record may have said that they have expired. */
  readonly gone: { readonly objects: number; readonly list: readonly string[] }
  /** Objects that an erasure has staged, and that no record names. */
  readonly unnamedStaged: number
}

/** What the rest of the log says. */
export interface OtherRecords {
  /** All folded records, in their order; again at each call. */
  readonly folded: () => AsyncIterable<FoldedRecord>
  /** Of all records but the damaged one. */
  readonly changes: LaterChanges
  /** Keys of objects that records after the damaged one have rewritten. */
  readonly rewrittenLater: ReadonlySet<string>
}

export interface LostChangesParts {
  readonly store: Pick<StoreReader, 'get' | 'read' | 'list'>
  readonly prefix: string
  readonly others: OtherRecords
  /** Most keys that are listed. */
  readonly listMax: number
}

/**
 * @param said what the damaged record says, unverified; undefined if its head cannot be read
 * @param isArchivers whether the record has named objects: commands that rewrite or remove objects name none
 * @throws StoreUnavailable
 */
export async function lostChanges(
  parts: LostChangesParts,
  said: Changes | undefined,
  isArchivers: boolean,
): Promise<LostChanges> {
  const { store, prefix, others } = parts
  const { proven, unproven } = await sortedRewrites(parts, said?.rewrites ?? [])
  const named = new Set(Array.from([...others.changes.rewrites, ...proven.values()], ({ staged }) => staged))
  let unnamedStaged = 0
  for await (const key of store.list(stagedPrefix(prefix))) if (!named.has(key)) unnamedStaged++
  const before = said?.expiredBefore
  const still = before === undefined ? 0 : await countThere(parts, before)
  const isDoubtful = said === undefined || unproven.length > 0
  const known = new Set([...proven.keys(), ...unproven, ...others.rewrittenLater])
  const looked = isDoubtful && !isArchivers ? await lookThrough(parts, known) : undefined
  const byKey = (a: Rewrite, b: Rewrite): number => (a.key < b.key ? -1 : 1)
  return {
    rewrites: [...proven.values(), ...(looked?.rewrites ?? [])].toSorted(byKey),
    expiredBefore: still === 0 ? before : undefined,
    unproven: (await namedOf(others, new Set(unproven))).toSorted(),
    unexpired: before === undefined || still === 0 ? undefined : { before, objects: still },
    gone: looked?.gone ?? { objects: 0, list: [] },
    unnamedStaged,
  }
}

async function sortedRewrites(
  { store, others }: LostChangesParts,
  rewrites: readonly Rewrite[],
): Promise<{ proven: ReadonlyMap<string, Rewrite>; unproven: readonly string[] }> {
  const proven = new Map<string, Rewrite>()
  const unproven: string[] = []
  await forEachAtOnce(rewrites, READS_AT_ONCE, async rewrite => {
    if (others.rewrittenLater.has(rewrite.key)) return
    const found = await provenRewrite(store, rewrite)
    if (found !== undefined) proven.set(found.key, found)
    else unproven.push(rewrite.key)
  })
  return { proven, unproven }
}

/** Those of some keys that the log names, and that have not expired. */
async function namedOf(others: OtherRecords, keys: ReadonlySet<string>): Promise<string[]> {
  const named: string[] = []
  if (keys.size > 0) for await (const { key } of unexpired(others)) if (keys.has(key)) named.push(key)
  return named
}

/** The rewrite, with sizes that are counted again; undefined if its bytes are neither at its key nor staged. */
async function provenRewrite(
  store: LostChangesParts['store'],
  { key, sha256, staged }: Rewrite,
): Promise<Rewrite | undefined> {
  for (const from of [staged, key]) {
    const { batch } = await describeObject({ get: () => store.get(from) }, key)
    if (batch?.sha256 === sha256)
      return { key, sha256, staged, storedBytes: batch.storedBytes, bytes: batch.bytes }
  }
  return undefined
}

/** How many objects that would expire by this time are still there. */
async function countThere(parts: LostChangesParts, before: number): Promise<number> {
  let count = 0
  await forEachAtOnce(unexpired(parts.others), READS_AT_ONCE, async ({ key, lastReceivedAt }) => {
    if (lastReceivedAt < before && (await sizeOf(parts, key)) !== undefined) count++
  })
  return count
}

/** Looks at all objects that an erasure may have rewritten: those of folded records. @param known keys to leave out */
async function lookThrough(
  parts: LostChangesParts,
  known: ReadonlySet<string>,
): Promise<Pick<LostChanges, 'rewrites' | 'gone'>> {
  const { others, listMax } = parts
  const rewrites: Rewrite[] = []
  const list: string[] = []
  let objects = 0
  await forEachAtOnce(unexpired(others), READS_AT_ONCE, async batch => {
    const { key } = batch
    if (known.has(key)) return
    const size = await sizeOf(parts, key)
    if (size === undefined) {
      objects++
      if (list.length < listMax) list.push(key)
    } else if (size !== (others.changes.rewriteOf(key) ?? batch).storedBytes) {
      const rewrite = await foundRewrite(parts, batch)
      if (rewrite !== undefined) rewrites.push(rewrite)
    }
  })
  return { rewrites, gone: { objects, list: list.toSorted() } }
}

/** What an object is now, if it is whole, has as many events as before, and some of them are erased. */
async function foundRewrite(
  { store, prefix }: LostChangesParts,
  { key, events }: FoldedBatch,
): Promise<Rewrite | undefined> {
  const { batch } = await describeObject(store, key)
  if (batch === undefined || batch.events !== events || !(await hasErased(store, key))) return undefined
  // Nothing is staged there: the bytes are at the key.
  return {
    key,
    sha256: batch.sha256,
    storedBytes: batch.storedBytes,
    bytes: batch.bytes,
    staged: stagedKey(prefix),
  }
}

async function hasErased(store: Pick<StoreReader, 'get'>, key: string): Promise<boolean> {
  try {
    for await (const line of readEvents(store, key)) if (isErasedLine(line)) return true
  } catch (error) {
    if (!(error instanceof ObjectNotFound) && !isDamage(error)) throw error
  }
  return false
}

async function* unexpired({ folded, changes }: OtherRecords): AsyncIterable<FoldedBatch> {
  for await (const { number, batches } of folded())
    for (const batch of batches) if (!changes.isExpired(number, batch.lastReceivedAt)) yield batch
}

async function sizeOf({ store }: LostChangesParts, key: string): Promise<number | undefined> {
  return (await store.read(key, { start: 0, length: 1 })).object?.size
}
