/**
 * Finds out what a damaged record has said of objects of earlier records: rewritten by an erasure, or expired.
 *
 * Any field of its head may be wrong or unreadable, so what it says counts only if the objects prove it. All objects of
 * folded records are looked at, whatever the head says. An object that is no more what the log says, and has erased
 * events, proves a rewrite. An expiry is proven if exactly the objects are gone that are older than the time in the head.
 * Without that time nothing proves it: somebody may have deleted the objects.
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
  /** Objects of earlier records whose last event is older are all gone, as the record has said, and no others are. */
  readonly expiredBefore: number | undefined
  /** Keys of objects that were rewritten by the record. Neither they nor what is staged have these bytes. */
  readonly unproven: readonly string[]
  /** The record may have said that they have expired, but some are still there. */
  readonly unexpired: { readonly before: number; readonly objects: number } | undefined
  /** Objects that the log names and that are gone, unless `expiredBefore` says that they have expired. */
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
 * @throws StoreUnavailable
 */
export async function lostChanges(parts: LostChangesParts, said: Changes | undefined): Promise<LostChanges> {
  const { store, prefix, others } = parts
  const { proven, unproven } = await sortedRewrites(parts, said?.rewrites ?? [])
  const before = said?.expiredBefore
  const looked = await lookThrough(parts, { proven, unproven, before })
  const rewrites = [...proven.values(), ...looked.rewrites]
  const named = new Set(Array.from([...others.changes.rewrites, ...rewrites], ({ staged }) => staged))
  let unnamedStaged = 0
  for await (const key of store.list(stagedPrefix(prefix))) if (!named.has(key)) unnamedStaged++
  const { older, newer } = looked
  const isExpiryProven = older.there === 0 && older.gone > 0 && newer.gone === 0
  const byKey = (a: Rewrite, b: Rewrite): number => (a.key < b.key ? -1 : 1)
  return {
    rewrites: rewrites.toSorted(byKey),
    expiredBefore: isExpiryProven ? before : undefined,
    unproven: looked.unproven.toSorted(),
    unexpired: before === undefined || older.there === 0 ? undefined : { before, objects: older.there },
    gone: isExpiryProven
      ? { objects: 0, list: [] }
      : { objects: older.gone + newer.gone, list: looked.gone.toSorted() },
    unnamedStaged,
  }
}

/** The rewrites of a damaged record, by their keys. */
interface SortedRewrites {
  readonly proven: ReadonlyMap<string, Rewrite>
  readonly unproven: ReadonlyMap<string, Rewrite>
}

async function sortedRewrites(
  { store, others }: LostChangesParts,
  rewrites: readonly Rewrite[],
): Promise<SortedRewrites> {
  const proven = new Map<string, Rewrite>()
  const unproven = new Map<string, Rewrite>()
  await forEachAtOnce(rewrites, READS_AT_ONCE, async rewrite => {
    if (others.rewrittenLater.has(rewrite.key)) return
    const found = await provenRewrite(store, rewrite)
    if (found !== undefined) proven.set(found.key, found)
    else unproven.set(rewrite.key, rewrite)
  })
  return { proven, unproven }
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

interface Looked {
  readonly rewrites: Rewrite[]
  /** Keys of objects that the damaged record has rewritten, as it says, and that have not expired. */
  readonly unproven: string[]
  /** Objects whose last event is older than `before`. */
  readonly older: { there: number; gone: number }
  /** All others. */
  readonly newer: { there: number; gone: number }
  /** Keys of the first objects that are gone. */
  readonly gone: string[]
}

/**
 * Looks at all objects that an erasure may have rewritten, or that may have expired: those of folded records.
 *
 * @param before the time in the damaged record, in milliseconds since 1970
 */
async function lookThrough(
  parts: LostChangesParts,
  { proven, unproven, before }: SortedRewrites & { readonly before: number | undefined },
): Promise<Looked> {
  const { others, listMax } = parts
  const looked: Looked = {
    rewrites: [],
    unproven: [],
    older: { there: 0, gone: 0 },
    newer: { there: 0, gone: 0 },
    gone: [],
  }
  await forEachAtOnce(unexpired(others), READS_AT_ONCE, async batch => {
    const { key, lastReceivedAt } = batch
    const count = before !== undefined && lastReceivedAt < before ? looked.older : looked.newer
    const size = await sizeOf(parts, key)
    if (size !== undefined) count.there++
    if (proven.has(key) || others.rewrittenLater.has(key)) return
    const said = unproven.get(key)
    if (said !== undefined || (size !== undefined && size !== logged(others, batch).storedBytes)) {
      const rewrite = await foundRewrite(parts, batch, said)
      if (rewrite !== undefined) looked.rewrites.push(rewrite)
      else if (said !== undefined) looked.unproven.push(key)
    } else if (size === undefined) {
      count.gone++
      if (looked.gone.length < listMax) looked.gone.push(key)
    }
  })
  return looked
}

/** What an object should be by all other records. */
function logged({ changes }: OtherRecords, batch: FoldedBatch): Pick<Rewrite, 'sha256' | 'storedBytes'> {
  return changes.rewriteOf(batch.key) ?? batch
}

/**
 * Finds the new bytes of an object, staged or at its key: they are whole and not those of the log, and have as many
 * events as before, some of them erased.
 *
 * @param said what the damaged record says of the object
 */
async function foundRewrite(
  { store, prefix, others }: LostChangesParts,
  old: FoldedBatch,
  said: Rewrite | undefined,
): Promise<Rewrite | undefined> {
  const { key, events } = old
  for (const from of said === undefined ? [key] : [said.staged, key]) {
    const { batch } = await describeObject({ get: () => store.get(from) }, key)
    if (batch === undefined || batch.events !== events || batch.sha256 === logged(others, old).sha256)
      continue
    if (!(await hasErased({ get: () => store.get(from) }, key))) continue
    const { sha256, storedBytes, bytes } = batch
    // If the bytes are at the key, nothing is staged.
    return { key, sha256, storedBytes, bytes, staged: from === key ? stagedKey(prefix) : from }
  }
  return undefined
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
