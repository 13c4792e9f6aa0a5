/**
 * Reads an archive and finds what is wrong with it. Nothing is written to the archive.
 *
 * Keys are listed ahead of the objects that are read, and several objects are read at once. Each id goes
 * to a ledger with the number of its object; when all are read, the ledger brings equal ids together,
 * share by share. Memory is bounded, at some 300 MB, whatever the size of the archive: by the keys
 * listed ahead, the lines in hand, the blocks of the ledgers, the set of one share's ids, and the
 * findings that are listed. All else is on disk: 22 bytes an event, and its key for each object.
 */

import { createReadStream } from 'node:fs'
import { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import * as zlib from 'node:zlib'
import { IdSet } from '../archive/id-set.ts'
import { dayPrefixes, isObjectKey } from '../archive/object-key.ts'
import { cutBetweenLines, isDamage, linesOf, readPieces } from '../archive/object-reader.ts'
import { ConfigInvalid, ObjectNotFound, StoreUnavailable } from '../errors.ts'
import { idDigest } from '../message-id.ts'
import type { StoreReader } from '../store/store.ts'
import { IdLedger, mixed, type Share } from './id-ledger.ts'
import { type LineProblem, ObjectCheck } from './object-check.ts'
import { ScratchFile } from './scratch-file.ts'
import { byKey, Smallest } from './smallest.ts'
import { TextList } from './text-list.ts'

const READERS = 8
const KEYS_AHEAD_MAX = 100_000
/** How often an object is read anew when the way to it fails, and the pause before the second time. */
const ATTEMPTS_MAX = 4
const RETRY_MS_MIN = 500
/** So many objects in a row that cannot be fetched: it is the store that is away. */
const FAILURES_IN_A_ROW_MAX = 2 * READERS
/** Objects that are named for one duplicate. */
const PLACES_MAX = 10

export interface VerifyOptions {
  /** Below which the archive's keys are. */
  readonly prefix: string
  /** The first and the last hour, as `2026-11-24T13`, whose partitions are read. @default all */
  readonly from?: string | undefined
  readonly to?: string | undefined
  /** A file with a messageId a line, all of which must be in the archive. */
  readonly idsFile?: string | undefined
  /** How many findings of each kind are listed; all are counted. */
  readonly listMax: number
}

export interface VerifyProgress {
  phase: 'reading' | 'comparing'
  /** Objects that the listing has shown; more may come until `isListed`. */
  objectsKnown: number
  isListed: boolean
  objects: number
  events: number
  /** 0 to 1 */
  compared: number
}

export interface Duplicate {
  readonly messageId: string
  /** How often it is in the archive. */
  readonly events: number
  /** The first `PLACES_MAX` objects that it is in. */
  readonly objects: readonly { readonly key: string; readonly events: number }[]
}

export interface VerifyFindings {
  readonly objects: number
  readonly otherObjects: number
  readonly events: number
  /** Different ids. */
  readonly ids: number
  readonly duplicates: {
    /** Those after the first of each id. */
    readonly events: number
    readonly ids: number
    readonly list: readonly Duplicate[]
  }
  readonly unreadable: Readonly<Record<LineProblem, number>> & {
    /** With a problem of any kind. */
    readonly objects: number
    readonly list: readonly ObjectProblems[]
  }
  /** Objects that are listed, but could not be fetched: what is in them is not known. */
  readonly unfetched: { readonly objects: number; readonly list: readonly ObjectProblems[] }
  readonly missing?: { readonly asked: number; readonly ids: number; readonly list: readonly string[] }
}

export interface ObjectProblems {
  readonly key: string
  readonly problems: readonly string[]
}

interface ListedObject {
  readonly key: string
  /** Its place in the order of keys. */
  readonly place: number
}

interface FoundDuplicate {
  readonly mixed: Buffer
  events: number
  readonly places: Map<number, number>
}

export class Verifier {
  readonly progress: VerifyProgress = {
    phase: 'reading',
    objectsKnown: 0,
    isListed: false,
    objects: 0,
    events: 0,
    compared: 0,
  }
  readonly #store: StoreReader
  readonly #options: VerifyOptions
  readonly #scratch = new ScratchFile()
  readonly #keys = new TextList(this.#scratch)
  readonly #ledger = new IdLedger(this.#scratch)
  readonly #unreadable: Smallest<ObjectProblems>
  readonly #unfetched: Smallest<ObjectProblems>
  readonly #lineProblems: Record<LineProblem, number> = {
    notJson: 0,
    withoutMessageId: 0,
    withoutReceivedAt: 0,
  }
  #otherObjects = 0
  #unreadableObjects = 0
  #unfetchedObjects = 0
  #failuresInARow = 0
  #failure: unknown

  constructor(store: StoreReader, options: VerifyOptions) {
    this.#store = store
    this.#options = options
    this.#unreadable = new Smallest<ObjectProblems>(options.listMax, byKey)
    this.#unfetched = new Smallest<ObjectProblems>(options.listMax, byKey)
  }

  /**
   * @throws StoreUnavailable where the archive cannot be read at all, or no longer.
   * @throws ConfigInvalid where this program cannot read it: the file of ids, or an object's compression.
   */
  async run(): Promise<VerifyFindings> {
    try {
      const asked = await this.#readAskedIds()
      await this.#readObjects()
      return await this.#findings(asked)
    } finally {
      this.#scratch.close()
    }
  }

  async #readAskedIds(): Promise<AskedIds | undefined> {
    const { idsFile } = this.#options
    if (idsFile === undefined) return undefined
    const asked = { texts: new TextList(this.#scratch), ledger: new IdLedger(this.#scratch) }
    try {
      for await (const piece of cutBetweenLines(createReadStream(idsFile))) {
        for (const line of linesOf(piece)) {
          const id = line.replace(/^\ufeff|\r$/g, '')
          if (id !== '') asked.ledger.add(idDigest(id), asked.texts.add(id))
        }
      }
    } catch (cause) {
      throw new ConfigInvalid(`--ids: ${idsFile} cannot be read: ${(cause as Error).message}`, { cause })
    }
    return asked
  }

  /** All readers take from one listing, which runs ahead of them. */
  async #readObjects(): Promise<void> {
    const listing = Readable.from(this.#list(), { highWaterMark: KEYS_AHEAD_MAX })
    const objects = listing[Symbol.asyncIterator]() as AsyncIterator<ListedObject>
    const read = async (): Promise<void> => {
      try {
        for (;;) {
          const { done, value } = await objects.next()
          if (done || this.#failure !== undefined) return
          await this.#readObject(value)
        }
      } catch (error) {
        this.#failure ??= error
      }
    }
    await Promise.all(Array.from({ length: READERS }, read))
    listing.destroy()
    if (this.#failure !== undefined) throw this.#failure
  }

  async *#list(): AsyncIterable<ListedObject> {
    for (const prefix of this.#prefixes()) {
      for await (const key of this.#store.list(prefix)) {
        if (!this.#isInRange(key)) continue
        if (!isObjectKey(key)) {
          this.#otherObjects++
          continue
        }
        if (key.endsWith('.zst')) assertZstd(key)
        this.progress.objectsKnown++
        yield { key, place: this.#keys.add(key) }
      }
    }
    this.progress.isListed = true
  }

  #prefixes(): string[] {
    const { prefix, from, to } = this.#options
    if (from === undefined || to === undefined) return [`${prefix}/`]
    return dayPrefixes(prefix, new Date(`${from}:00Z`), new Date(`${to}:00Z`))
  }

  #isInRange(key: string): boolean {
    const { from, to } = this.#options
    if (from === undefined && to === undefined) return true
    const [, day, hour] = /\/dt=([\d-]{10})\/hour=(\d{2})\//.exec(key) ?? []
    if (day === undefined) return false
    const at = `${day}T${hour}`
    return (from === undefined || at >= from) && (to === undefined || at <= to)
  }

  async #readObject({ key, place }: ListedObject): Promise<void> {
    const check = new ObjectCheck(key, messageId => this.#ledger.add(idDigest(messageId), place))
    try {
      check.end(await this.#readThrough(key, check))
      this.#failuresInARow = 0
    } catch (error) {
      if (!(error instanceof StoreUnavailable)) throw error
      this.#unfetchedObjects++
      this.#unfetched.offer({ key, problems: [error.message] })
      if (++this.#failuresInARow >= FAILURES_IN_A_ROW_MAX) throw error
    }
    for (const problem of Object.keys(check.counts) as LineProblem[])
      this.#lineProblems[problem] += check.counts[problem]
    const { problems } = check
    if (problems.length > 0) {
      this.#unreadableObjects++
      this.#unreadable.offer({ key, problems })
    }
    this.progress.objects++
  }

  /** Resolves to what is wrong with the object as a whole, in words; the rest is for `check` to say. */
  async #readThrough(key: string, check: ObjectCheck): Promise<string | undefined> {
    for (let attempt = 1; ; attempt++) {
      try {
        for await (const piece of readPieces(this.#store, key)) {
          const eventsBefore = check.events
          check.take(piece)
          this.progress.events += check.events - eventsBefore
        }
        return undefined
      } catch (error) {
        if (error instanceof ObjectNotFound) return 'is gone: it was listed, and is not there any more'
        if (isDamage(error)) return `is damaged: ${(error as Error).message}`
        if (!(error instanceof StoreUnavailable) || attempt === ATTEMPTS_MAX) throw error
        check.restart()
        await delay(RETRY_MS_MIN * 2 ** (attempt - 1))
      }
    }
  }

  async #findings(asked: AskedIds | undefined): Promise<VerifyFindings> {
    const compared = await this.#compare(asked)
    return {
      objects: this.progress.objects,
      otherObjects: this.#otherObjects,
      events: this.progress.events,
      ids: compared.ids,
      duplicates: {
        events: compared.duplicateEvents,
        ids: compared.duplicateIds,
        list: await this.#describeAll(compared.duplicates),
      },
      unreadable: {
        objects: this.#unreadableObjects,
        ...this.#lineProblems,
        list: this.#unreadable.items,
      },
      unfetched: { objects: this.#unfetchedObjects, list: this.#unfetched.items },
      ...(asked !== undefined && {
        missing: {
          asked: compared.askedIds,
          ids: compared.missingIds,
          list: compared.missing.map(place => asked.texts.at(place)),
        },
      }),
    }
  }

  async #compare(asked: AskedIds | undefined) {
    this.progress.phase = 'comparing'
    const duplicates = new Smallest<FoundDuplicate>(this.#options.listMax, (a, b) => a.mixed.compare(b.mixed))
    const missing = new Smallest<number>(this.#options.listMax, (a, b) => a - b)
    let [ids, duplicateEvents, duplicateIds, askedIds, missingIds] = [0, 0, 0, 0, 0]
    const larger = asked !== undefined && asked.ledger.size > this.#ledger.size ? asked.ledger : this.#ledger
    const shares = [...larger.shares()]
    for (const [done, share] of shares.entries()) {
      const seen = new IdSet()
      const repeated = new IdSet()
      this.#ledger.read(share, digest => {
        if (seen.add(digest)) return
        duplicateEvents++
        repeated.add(digest)
      })
      ids += seen.size
      duplicateIds += repeated.size
      this.#locate(share, repeated, duplicates)

      const sought = new IdSet()
      asked?.ledger.read(share, (digest, place) => {
        if (!sought.add(digest) || seen.has(digest)) return
        missingIds++
        missing.offer(place)
      })
      askedIds += sought.size
      this.progress.compared = (done + 1) / shares.length
      // The progress bar has its turn.
      await delay(0)
    }
    return {
      ids,
      duplicateEvents,
      duplicateIds,
      duplicates: duplicates.items,
      askedIds,
      missingIds,
      missing: missing.items,
    }
  }

  /** Finds out where the ids of a share are that come more than once, as far as they are listed. */
  #locate(share: Share, repeated: IdSet, list: Smallest<FoundDuplicate>): void {
    const listed = new Map<string, FoundDuplicate>()
    for (const digest of repeated) {
      const found = { mixed: Buffer.from(digest), events: 0, places: new Map<number, number>() }
      if (list.offer(found)) listed.set(found.mixed.toString('latin1'), found)
    }
    if (listed.size === 0) return
    this.#ledger.read(share, (digest, place) => {
      const found = repeated.has(digest) ? listed.get(digest.toString('latin1')) : undefined
      if (found === undefined) return
      found.events++
      const events = found.places.get(place)
      if (events !== undefined || found.places.size < PLACES_MAX) found.places.set(place, (events ?? 0) + 1)
    })
  }

  async #describeAll(found: readonly FoundDuplicate[]): Promise<Duplicate[]> {
    const described: Duplicate[] = []
    for (const { mixed: digest, events, places } of found) {
      const objects = [...places]
        .sort(([a], [b]) => a - b)
        .map(([place, count]) => ({ key: this.#keys.at(place), events: count }))
      const messageId = await this.#idOf(digest, (objects[0] as { key: string }).key)
      described.push({ messageId, events, objects })
    }
    return described.sort((a, b) => (a.messageId < b.messageId ? -1 : 1))
  }

  /** The ledger has digests only: the id itself is looked up in an object that it is in. */
  async #idOf(digest: Buffer, key: string): Promise<string> {
    try {
      for await (const piece of readPieces(this.#store, key)) {
        for (const line of linesOf(piece)) {
          const id = messageIdOf(line)
          if (id !== undefined && mixed(idDigest(id)).equals(digest)) return id
        }
      }
    } catch (error) {
      if (!isDamage(error) && !(error instanceof StoreUnavailable) && !(error instanceof ObjectNotFound))
        throw error
    }
    return `(an id in ${key})`
  }
}

interface AskedIds {
  readonly texts: TextList
  readonly ledger: IdLedger
}

function messageIdOf(line: string): string | undefined {
  try {
    const id = JSON.parse(line.endsWith(',') ? line.slice(0, -1) : line)?.messageId
    return typeof id === 'string' ? id : undefined
  } catch {
    return undefined
  }
}

function assertZstd(key: string): void {
  if ('createZstdDecompress' in zlib) return
  throw new ConfigInvalid(
    `${key} is compressed with zstd: to read it takes Node 22.15 or later, and this is ${process.version}.`,
  )
}
