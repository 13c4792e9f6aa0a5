import { ObjectNotFound, StoreUnavailable } from '../errors.ts'
import type { Logger } from '../logger.ts'
import { idDigest } from '../message-id.ts'
import type { ObjectStore } from '../store/store.ts'
import type { DedupeIndex } from './dedupe-index.ts'
import { IdSet } from './id-set.ts'
import { dayPrefixes, isObjectKey } from './object-key.ts'
import { isDamage, readEvents } from './object-reader.ts'

/** Clocks of machines that receive events may differ by this from each other, and from the one that archives. */
export const CLOCK_SKEW_MS_MAX = 60 * 60 * 1000

export interface SyncParts {
  readonly store: ObjectStore
  readonly index: DedupeIndex
  readonly log: Logger
}

/** When the events of a delivery were received, in milliseconds since 1970. */
export interface ReceivedSpan {
  readonly first: number
  readonly last: number
  /** They were received here, and have waited since, and not only say so. */
  readonly isOurs: boolean
}

/**
 * Reads into the index all objects of its window that it does not know. Afterwards it holds the ids of
 * every one that was complete when this was called.
 *
 * @param span of the first delivery, in whose partitions the object is that may hold it already. It may
 * have waited longer than the window; or the clock was ahead then, and they are still to come.
 * @throws StoreUnavailable where the archive cannot be read now.
 */
export async function syncIndex(
  { store, index, log }: SyncParts,
  prefix: string,
  span: ReceivedSpan,
): Promise<void> {
  let objects = 0
  let ids = 0
  for (const dayPrefix of prefixesToRead(prefix, index.remembersSince, span)) {
    for await (const key of store.list(dayPrefix)) {
      if (!isObjectKey(key) || index.knowsObject(key)) continue
      const found = await idsOf(store, key, log)
      if (found === undefined) continue
      await index.addObject(key, found.digests)
      objects++
      ids += found.size
    }
  }
  if (objects > 0) log.info({ objects, ids }, 'Read what others have archived.')
}

function prefixesToRead(prefix: string, since: number, { first, last, isOurs }: ReceivedSpan): Set<string> {
  const now = Date.now()
  const window = isOurs ? [Math.min(since, first), Math.max(now, last)] : [since, now]
  const prefixes = [window, [first, first], [last, last]].flatMap(([from = now, to = now]) =>
    dayPrefixes(prefix, new Date(from - 2 * CLOCK_SKEW_MS_MAX), new Date(to + CLOCK_SKEW_MS_MAX)),
  )
  return new Set(prefixes)
}

/** Undefined where the object was removed meanwhile. */
async function idsOf(store: ObjectStore, key: string, log: Logger): Promise<IdSet | undefined> {
  const ids = new IdSet()
  try {
    for await (const line of readEvents(store, key)) ids.add(idDigest(messageIdOf(line)))
  } catch (error) {
    if (error instanceof ObjectNotFound) return undefined
    if (!isDamage(error))
      throw new StoreUnavailable(`${key} cannot be read: ${(error as Error).message}`, { cause: error })
    log.error(
      { err: error, key },
      'An object in the archive is damaged: the ids after the damage are not known.',
    )
  }
  return ids
}

function messageIdOf(line: string): string {
  return String(JSON.parse(line).messageId)
}
