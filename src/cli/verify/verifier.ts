/**
 * Reads an archive and finds what is wrong with it. Nothing is written to the archive.
 *
 * Keys are listed ahead of the objects that are read, and several objects are read at once. The identity of
 * each event (of its source and messageId: message-id.ts) goes to a ledger with the number of its object;
 * when all are read, the ledger brings equal ones together, share by share. Then the log is held against the
 * objects (log-check.ts). Memory is bounded, at some 350 MB, whatever the size of the archive: by the keys listed ahead, the lines in hand, the blocks of the
 * ledgers, the sets of one share's ids, and the findings that are listed. All else is on disk: 22 bytes an
 * event, and its key and 44 bytes for each object and each name in the log. A file of ids takes more of it (asked-ids.ts).
 */

import { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { ObjectNotFound, StoreUnavailable } from '../../errors.ts'
import { identityOf } from '../../event/message-id.ts'
import { DigestingStore, IS_GONE } from '../../log/describe-object.ts'
import { logKeys } from '../../log/log-keys.ts'
import { assertDecompressible } from '../../object/format.ts'
import { type LineProblem, ObjectCheck } from '../../object/object-check.ts'
import { dayPrefixes, isObjectKey } from '../../object/object-key.ts'
import { isDamage, readPieces } from '../../object/object-reader.ts'
import type { StoreReader } from '../../store/store.ts'
import { AskedIds } from './asked-ids.ts'
import { type Duplicate, describeDuplicates, IdComparison } from './id-comparison.ts'
import { LogCheck, type LogFindings } from './log-check.ts'
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

export interface VerifyOptions {
  /** Below which the archive's keys are. */
  readonly prefix: string
  /** The first and the last hour, as `2026-11-24T13`, whose partitions are read. @default all */
  readonly from?: string | undefined
  readonly to?: string | undefined
  /** A file with a messageId a line. Each must be in the archive, with whatever source. */
  readonly idsFile?: string | undefined
  /** How many findings of each kind are listed; all are counted. */
  readonly listMax: number
}

export interface VerifyProgress {
  phase: 'reading' | 'log' | 'comparing'
  /** Objects that the listing has shown; more may come until `isListed`. */
  objectsKnown: number
  isListed: boolean
  objects: number
  events: number
  /** Of the log. */
  readonly records: number
  /** 0 to 1 */
  compared: number
}

export interface VerifyFindings {
  readonly objects: number
  readonly otherObjects: number
  readonly events: number
  /** Different ids. An id counts once for each source that used it. */
  readonly ids: number
  readonly duplicates: {
    /** Those after the first of each source and id. */
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
  /** What the log says, held against the objects; null where the archive has no log. */
  readonly log: LogFindings | null
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

interface FoundObjects {
  objects: number
  /** Those with the smallest keys. */
  readonly first: Smallest<ObjectProblems>
}

export class Verifier {
  readonly progress: VerifyProgress
  readonly #store: StoreReader
  readonly #options: VerifyOptions
  readonly #scratch = new ScratchFile()
  readonly #keys = new TextList(this.#scratch)
  readonly #ids: IdComparison
  readonly #logCheck: LogCheck
  readonly #unreadable: FoundObjects
  /** Whole, and without an event: a log says whether that is as it should be. */
  readonly #empty: FoundObjects
  readonly #unfetched: Smallest<ObjectProblems>
  readonly #lineProblems: Record<LineProblem, number> = {
    notJson: 0,
    withoutMessageId: 0,
    withoutReceivedAt: 0,
  }
  #otherObjects = 0
  #unfetchedObjects = 0
  #failuresInARow = 0
  #failure: unknown

  constructor(store: StoreReader, options: VerifyOptions) {
    this.#store = store
    this.#options = options
    const logCheck = new LogCheck(store, this.#scratch, {
      prefix: options.prefix,
      listMax: options.listMax,
      isInRange: key => this.#isInRange(key),
    })
    this.#logCheck = logCheck
    this.progress = {
      phase: 'reading',
      objectsKnown: 0,
      isListed: false,
      objects: 0,
      events: 0,
      get records() {
        return logCheck.records
      },
      compared: 0,
    }
    this.#ids = new IdComparison(this.#scratch, options.listMax)
    this.#unreadable = { objects: 0, first: new Smallest<ObjectProblems>(options.listMax, byKey) }
    this.#empty = { objects: 0, first: new Smallest<ObjectProblems>(options.listMax, byKey) }
    this.#unfetched = new Smallest<ObjectProblems>(options.listMax, byKey)
  }

  /**
   * @throws StoreUnavailable where the archive cannot be read at all, or no longer.
   * @throws ConfigInvalid where this program cannot read it: the file of ids, or an object's compression.
   */
  async run(): Promise<VerifyFindings> {
    try {
      const { idsFile } = this.#options
      const asked = idsFile === undefined ? undefined : await AskedIds.read(idsFile, this.#scratch)
      await this.#readObjects(asked)
      return await this.#findings(asked)
    } finally {
      this.#scratch.close()
    }
  }

  /** All readers take from one listing, which runs ahead of them. */
  async #readObjects(asked: AskedIds | undefined): Promise<void> {
    const listing = Readable.from(this.#list(), { highWaterMark: KEYS_AHEAD_MAX })
    const objects = listing[Symbol.asyncIterator]() as AsyncIterator<ListedObject>
    const read = async (): Promise<void> => {
      try {
        for (;;) {
          const { done, value } = await objects.next()
          if (done || this.#failure !== undefined) return
          await this.#readObject(value, asked)
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
    const { own } = logKeys(this.#options.prefix)
    for (const prefix of this.#prefixes()) {
      for await (const key of this.#store.list(prefix)) {
        if (!this.#isInRange(key)) continue
        if (!isObjectKey(key)) {
          if (!key.startsWith(own)) this.#otherObjects++
          continue
        }
        assertDecompressible(key)
        this.progress.objectsKnown++
        const place = this.#keys.add(key)
        this.#logCheck.listed(place, key)
        yield { key, place }
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

  async #readObject({ key, place }: ListedObject, asked: AskedIds | undefined): Promise<void> {
    const check = new ObjectCheck(key, event => {
      this.#ids.add(identityOf(event) as Buffer, place)
      asked?.add(event)
    })
    try {
      check.end(await this.#readThrough({ key, place }, check))
      this.#failuresInARow = 0
      if (check.isEmpty) {
        this.#logCheck.readEmpty(place)
        this.#note(this.#empty, { key, problems: ['is empty'] })
      }
    } catch (error) {
      if (!(error instanceof StoreUnavailable)) throw error
      this.#unfetchedObjects++
      this.#unfetched.offer({ key, problems: [error.message] })
      if (++this.#failuresInARow >= FAILURES_IN_A_ROW_MAX) throw error
    }
    for (const problem of Object.keys(check.counts) as LineProblem[])
      this.#lineProblems[problem] += check.counts[problem]
    if (check.problems.length > 0) this.#note(this.#unreadable, { key, problems: check.problems })
    this.progress.objects++
  }

  #note(found: FoundObjects, object: ObjectProblems): void {
    found.objects++
    found.first.offer(object)
  }

  /** Resolves to what is wrong with the object as a whole, in words; the rest is for `check` to say. */
  async #readThrough({ key, place }: ListedObject, check: ObjectCheck): Promise<string | undefined> {
    for (let attempt = 1; ; attempt++) {
      const digesting = new DigestingStore(this.#store)
      try {
        for await (const piece of readPieces(digesting, key)) {
          const eventsBefore = check.events
          check.take(piece)
          this.progress.events += check.events - eventsBefore
        }
        this.#logCheck.read(place, key, digesting.end())
        return undefined
      } catch (error) {
        if (error instanceof ObjectNotFound) return IS_GONE
        if (isDamage(error)) return `is damaged: ${(error as Error).message}`
        if (!(error instanceof StoreUnavailable) || attempt === ATTEMPTS_MAX) throw error
        check.restart()
        await delay(RETRY_MS_MIN * 2 ** (attempt - 1))
      }
    }
  }

  async #findings(asked: AskedIds | undefined): Promise<VerifyFindings> {
    this.progress.phase = 'log'
    const log = await this.#logCheck.run(this.#keys)
    if (log === null || log.refused !== undefined) this.#takeEmptyAsUnreadable()
    const compared = await this.#compare(asked)
    return {
      objects: this.progress.objects,
      otherObjects: this.#otherObjects,
      events: this.progress.events,
      ids: compared.ids,
      duplicates: {
        events: compared.duplicateEvents,
        ids: compared.duplicateIds,
        list: await describeDuplicates(compared.found, this.#store, this.#keys),
      },
      unreadable: {
        objects: this.#unreadable.objects,
        ...this.#lineProblems,
        list: this.#unreadable.first.items,
      },
      unfetched: { objects: this.#unfetchedObjects, list: this.#unfetched.items },
      log,
      ...(asked !== undefined && {
        missing: {
          asked: compared.askedIds,
          ids: compared.missingIds,
          list: compared.missing.map(place => asked.textOf(place)),
        },
      }),
    }
  }

  #takeEmptyAsUnreadable(): void {
    this.#unreadable.objects += this.#empty.objects
    for (const object of this.#empty.first.items) this.#unreadable.first.offer(object)
  }

  async #compare(asked: AskedIds | undefined) {
    this.progress.phase = 'comparing'
    const missing = new Smallest<number>(this.#options.listMax, (a, b) => a - b)
    let [askedIds, missingIds] = [0, 0]
    const compared = await this.#ids.compare({
      ledgers: asked?.ledgers ?? [],
      compared: (share, done) => {
        this.progress.compared = done
        const sought = asked?.seek(share, this.#ids.ledger, missing)
        askedIds += sought?.asked ?? 0
        missingIds += sought?.missing ?? 0
      },
    })
    return { ...compared, askedIds, missingIds, missing: missing.items }
  }
}
