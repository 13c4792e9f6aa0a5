/** Finds the ids that an archive has more than once, in bounded memory. */

import { setTimeout as delay } from 'node:timers/promises'
import { IdSet } from '../../dedupe/id-set.ts'
import { ObjectNotFound, StoreUnavailable } from '../../errors.ts'
import { identityOf } from '../../event/message-id.ts'
import type { IdentifiedEvent } from '../../object/object-check.ts'
import { isDamage, linesOf, readPieces } from '../../object/object-reader.ts'
import type { StoreReader } from '../../store/store.ts'
import { IdRecords, mixedDigest, type Share } from './id-records.ts'
import type { ScratchFile } from './scratch-file.ts'
import { Smallest } from './smallest.ts'
import type { TextList } from './text-list.ts'

/** Most objects that are listed for one duplicate. */
const PLACES_MAX = 10

/** Events of one source with one messageId. */
export interface Duplicate {
  readonly messageId: string
  readonly source?: string
  /** How many events of the archive have it. */
  readonly events: number
  /** The first `PLACES_MAX` objects that have such events, and how many each has. */
  readonly objects: readonly { readonly key: string; readonly events: number }[]
}

interface FoundDuplicate {
  /** Mixed, as id records have it. */
  readonly digest: Buffer
  events: number
  /** How many of the events are in each object, by the place of the object. */
  readonly places: Map<number, number>
}

export interface ComparedIds {
  /** How many different ids there are. */
  readonly ids: number
  /** How many events have an id that an earlier event has. */
  readonly duplicateEvents: number
  /** How many ids are duplicated. */
  readonly duplicateIds: number
  readonly found: readonly FoundDuplicate[]
}

export interface ShareListener {
  /** Other lists that the listener reads by the same shares. The shares are small enough for the largest list. */
  readonly others: readonly IdRecords[]
  /** Called when a share is compared. @param done how much of the work is done, from 0 to 1 */
  compared(share: Share, done: number): void
}

const NO_LISTENER: ShareListener = { others: [], compared: () => {} }

export class IdComparison {
  readonly idRecords: IdRecords
  readonly #listMax: number

  constructor(scratch: ScratchFile, listMax: number) {
    this.idRecords = new IdRecords(scratch)
    this.#listMax = listMax
  }

  /** Adds an event. @param place the index of its object's key among all keys */
  add(identity: Buffer, place: number): void {
    this.idRecords.add(identity, place)
  }

  /** To be called when all events are added. Blocks the event loop for each share. */
  async compare({ others, compared }: ShareListener = NO_LISTENER): Promise<ComparedIds> {
    const list = new Smallest<FoundDuplicate>(this.#listMax, (a, b) => a.digest.compare(b.digest))
    let [ids, duplicateEvents, duplicateIds] = [0, 0, 0]
    const largest = others.reduce((a, b) => (b.size > a.size ? b : a), this.idRecords)
    const shares = [...largest.shares()]
    for (const [done, share] of shares.entries()) {
      const { seen, repeated, repeatedEvents } = this.#compareShare(share)
      ids += seen
      duplicateEvents += repeatedEvents
      duplicateIds += repeated.size
      this.#locate(share, repeated, list)
      compared(share, (done + 1) / shares.length)
      // Lets the progress bar draw.
      await delay(0)
    }
    return { ids, duplicateEvents, duplicateIds, found: list.items }
  }

  /** @returns how many ids a share has, which of them are repeated, and how many events repeat an id */
  #compareShare(share: Share): { seen: number; repeated: IdSet; repeatedEvents: number } {
    const seen = new IdSet()
    const repeated = new IdSet()
    let repeatedEvents = 0
    this.idRecords.read(share, digest => {
      if (seen.add(digest)) return
      repeatedEvents++
      repeated.add(digest)
    })
    return { seen: seen.size, repeated, repeatedEvents }
  }

  /** Finds the objects of the repeated ids of a share. Only the ids that are listed are looked for. */
  #locate(share: Share, repeated: IdSet, list: Smallest<FoundDuplicate>): void {
    const listed = new Map<string, FoundDuplicate>()
    for (const digest of repeated) {
      const found = { digest: Buffer.from(digest), events: 0, places: new Map<number, number>() }
      if (list.offer(found)) listed.set(found.digest.toString('latin1'), found)
    }
    if (listed.size === 0) return
    this.idRecords.read(share, (digest, place) => {
      const found = repeated.has(digest) ? listed.get(digest.toString('latin1')) : undefined
      if (found === undefined) return
      found.events++
      const events = found.places.get(place)
      if (events !== undefined || found.places.size < PLACES_MAX) found.places.set(place, (events ?? 0) + 1)
    })
  }
}

/**
 * Reads the messageId and source of each duplicate from one of its objects: the comparison knows only digests.
 *
 * @param keys all keys, by place
 * @returns the duplicates, in the order of messageId and source
 */
export async function describeDuplicates(
  found: readonly FoundDuplicate[],
  store: Pick<StoreReader, 'get'>,
  keys: TextList,
): Promise<Duplicate[]> {
  const described: Duplicate[] = []
  for (const { digest, events, places } of found) {
    const objects = [...places]
      .sort(([a], [b]) => a - b)
      .map(([place, count]) => ({ key: keys.at(place), events: count }))
    const { messageId, source } = await eventOf(store, digest, (objects[0] as { key: string }).key)
    described.push({ messageId, ...(typeof source === 'string' && { source }), events, objects })
  }
  return described.sort((a, b) => (orderOf(a) < orderOf(b) ? -1 : 1))
}

/** The event with this digest; a placeholder if the object cannot be read any more. */
async function eventOf(
  store: Pick<StoreReader, 'get'>,
  digest: Buffer,
  key: string,
): Promise<IdentifiedEvent> {
  try {
    for await (const piece of readPieces(store, key)) {
      for (const line of linesOf(piece)) {
        const event = eventIn(line)
        const identity = event && identityOf(event)
        if (identity !== undefined && mixedDigest(identity).equals(digest)) return event as IdentifiedEvent
      }
    }
  } catch (error) {
    if (!isDamage(error) && !(error instanceof StoreUnavailable) && !(error instanceof ObjectNotFound))
      throw error
  }
  return { messageId: `(an id in ${key})`, source: undefined }
}

function orderOf({ messageId, source = '' }: Duplicate): string {
  return `${messageId}\n${source}`
}

function eventIn(line: string): { source?: unknown; messageId?: unknown } | undefined {
  try {
    return JSON.parse(line.endsWith(',') ? line.slice(0, -1) : line) ?? undefined
  } catch {
    return undefined
  }
}
