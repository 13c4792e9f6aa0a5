/** Finds the ids that are more than once in an archive, in bounded memory. */

import { setTimeout as delay } from 'node:timers/promises'
import { IdSet } from '../../dedupe/id-set.ts'
import { ObjectNotFound, StoreUnavailable } from '../../errors.ts'
import { identityOf } from '../../event/message-id.ts'
import type { IdentifiedEvent } from '../../object/object-check.ts'
import { isDamage, linesOf, readPieces } from '../../object/object-reader.ts'
import type { StoreReader } from '../../store/store.ts'
import { IdRecords, mixed, type Share } from './id-records.ts'
import type { ScratchFile } from './scratch-file.ts'
import { Smallest } from './smallest.ts'
import type { TextList } from './text-list.ts'

/** Objects that are named for one duplicate. */
const PLACES_MAX = 10

/** Events of one source with one messageId. */
export interface Duplicate {
  readonly messageId: string
  readonly source?: string
  /** How often it is in the archive. */
  readonly events: number
  /** The first `PLACES_MAX` objects that it is in. */
  readonly objects: readonly { readonly key: string; readonly events: number }[]
}

interface FoundDuplicate {
  readonly mixed: Buffer
  events: number
  readonly places: Map<number, number>
}

export interface ComparedIds {
  /** Different ids. */
  readonly ids: number
  /** Those after the first of each id. */
  readonly duplicateEvents: number
  readonly duplicateIds: number
  readonly found: readonly FoundDuplicate[]
}

export interface ShareListener {
  readonly ledgers: readonly IdRecords[]
  /** A share is compared. @param done 0 to 1, with this one */
  compared(share: Share, done: number): void
}

const NOBODY: ShareListener = { ledgers: [], compared: () => {} }

export class IdComparison {
  readonly ledger: IdRecords
  readonly #listMax: number

  constructor(scratch: ScratchFile, listMax: number) {
    this.ledger = new IdRecords(scratch)
    this.#listMax = listMax
  }

  /** @param place of its object among all keys */
  add(identity: Buffer, place: number): void {
    this.ledger.add(identity, place)
  }

  async compare({ ledgers, compared }: ShareListener = NOBODY): Promise<ComparedIds> {
    const list = new Smallest<FoundDuplicate>(this.#listMax, (a, b) => a.mixed.compare(b.mixed))
    let [ids, duplicateEvents, duplicateIds] = [0, 0, 0]
    const largest = ledgers.reduce((a, b) => (b.size > a.size ? b : a), this.ledger)
    const shares = [...largest.shares()]
    for (const [done, share] of shares.entries()) {
      const { seen, repeated, again } = this.#compareShare(share)
      ids += seen
      duplicateEvents += again
      duplicateIds += repeated.size
      this.#locate(share, repeated, list)
      compared(share, (done + 1) / shares.length)
      // The progress bar has its turn.
      await delay(0)
    }
    return { ids, duplicateEvents, duplicateIds, found: list.items }
  }

  /** @returns how many ids are in a share, which come more than once, and how many events of these are too many. */
  #compareShare(share: Share): { seen: number; repeated: IdSet; again: number } {
    const seen = new IdSet()
    const repeated = new IdSet()
    let again = 0
    this.ledger.read(share, digest => {
      if (seen.add(digest)) return
      again++
      repeated.add(digest)
    })
    return { seen: seen.size, repeated, again }
  }

  /** Finds out where the ids of a share are that come more than once, as far as they are listed. */
  #locate(share: Share, repeated: IdSet, list: Smallest<FoundDuplicate>): void {
    const listed = new Map<string, FoundDuplicate>()
    for (const digest of repeated) {
      const found = { mixed: Buffer.from(digest), events: 0, places: new Map<number, number>() }
      if (list.offer(found)) listed.set(found.mixed.toString('latin1'), found)
    }
    if (listed.size === 0) return
    this.ledger.read(share, (digest, place) => {
      const found = repeated.has(digest) ? listed.get(digest.toString('latin1')) : undefined
      if (found === undefined) return
      found.events++
      const events = found.places.get(place)
      if (events !== undefined || found.places.size < PLACES_MAX) found.places.set(place, (events ?? 0) + 1)
    })
  }
}

/** The ledger has digests only: each event is looked up in an object that it is in. @param keys by place */
export async function describeDuplicates(
  found: readonly FoundDuplicate[],
  store: Pick<StoreReader, 'get'>,
  keys: TextList,
): Promise<Duplicate[]> {
  const described: Duplicate[] = []
  for (const { mixed: digest, events, places } of found) {
    const objects = [...places]
      .sort(([a], [b]) => a - b)
      .map(([place, count]) => ({ key: keys.at(place), events: count }))
    const { messageId, source } = await eventOf(store, digest, (objects[0] as { key: string }).key)
    described.push({ messageId, ...(typeof source === 'string' && { source }), events, objects })
  }
  return described.sort((a, b) => (orderOf(a) < orderOf(b) ? -1 : 1))
}

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
        if (identity !== undefined && mixed(identity).equals(digest)) return event as IdentifiedEvent
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
