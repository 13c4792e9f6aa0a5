/**
 * Reads an archive and reports what is wrong with it. Writes nothing to the archive.
 *
 *   list keys ──► read objects, 8 at once ──► compare with the log (log-check.ts) ──► compare ids, share by share
 *
 * The identity of each event (a digest of its source and messageId: message-id.ts) is noted as an id record, with the
 * number of its object. Memory is bounded at about 350 MB, whatever the size of the archive: the keys that are listed
 * ahead, the lines that are being read, the blocks of id records, the sets of one share's ids, and the listed findings.
 * The rest is in a temporary file: 22 bytes for each event; the key and 44 bytes for each object, and the key and some
 * 250 bytes for each object that the log names. A file of ids needs more (asked-ids.ts).
 */

import { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { ObjectNotFound, StoreUnavailable } from '../../errors.ts'
import { identityOf } from '../../event/message-id.ts'
import { IS_GONE, StoredDigest } from '../../log/describe-object.ts'
import { logKeys } from '../../log/log-keys.ts'
import { assertDecompressible } from '../../object/format.ts'
import { type LineProblem, ObjectCheck } from '../../object/object-check.ts'
import { dayPrefixes, isObjectKey } from '../../object/object-key.ts'
import { isDamage, readPieces } from '../../object/object-reader.ts'
import type { StoreReader } from '../../store/store.ts'
import { tableKeys } from '../../table/table-keys.ts'
import { AskedIds } from './asked-ids.ts'
import { type Duplicate, describeDuplicates, IdComparison } from './id-comparison.ts'
import { LogCheck, type LogFindings } from './log-check.ts'
import { ScratchFile } from './scratch-file.ts'
import { byKey, Smallest } from './smallest.ts'
import { checkTable, type TableFindings } from './table-check.ts'
import { TextList } from './text-list.ts'

const READERS = 8
const KEYS_AHEAD_MAX = 100_000
/** Attempts to read an object while the store is unavailable. */
const ATTEMPTS_MAX = 4
/** The pause before the second attempt. It doubles each time. */
const RETRY_MS_MIN = 500
/** After this many objects in a row that could not be fetched, the store counts as unavailable. */
const FAILURES_IN_A_ROW_MAX = 2 * READERS

export interface VerifyOptions {
  /** The prefix of the archive's keys, without a slash at the end. */
  readonly prefix: string
  /** The hour of the first partition to read, as `2026-11-24T13`. @default the first one */
  readonly from?: string | undefined
  /** The hour of the last partition to read. @default the last one */
  readonly to?: string | undefined
  /** A file with a messageId in each line. Each must be in the archive, from any source. */
  readonly idsFile?: string | undefined
  /** Most findings of each kind that are listed. All are counted. */
  readonly listMax: number
}

export interface VerifyProgress {
  phase: 'reading' | 'log' | 'comparing'
  /** Objects that were listed so far. */
  objectsKnown: number
  /** Whether all objects are listed. */
  isListed: boolean
  /** Objects that were read. */
  objects: number
  events: number
  /** Records of the log. */
  readonly records: number
  /** The share of the ids that is compared, from 0 to 1. */
  compared: number
}

export interface VerifyFindings {
  readonly objects: number
  /** Objects below the prefix that frequency did not write. They are not read. */
  readonly otherObjects: number
  readonly events: number
  /** How many different ids there are. An id counts once for each source that used it. */
  readonly ids: number
  readonly duplicates: {
    /** Events whose source and id an earlier event has. */
    readonly events: number
    /** Ids that are duplicated. */
    readonly ids: number
    readonly list: readonly Duplicate[]
  }
  /** Lines by their problem. */
  readonly unreadable: Readonly<Record<LineProblem, number>> & {
    /** Objects with a problem of any kind. */
    readonly objects: number
    readonly list: readonly ObjectProblems[]
  }
  /** Objects that are listed, but could not be fetched. Their content is unknown. */
  readonly unfetched: { readonly objects: number; readonly list: readonly ObjectProblems[] }
  /** How the log and the objects differ; null if the archive has no log. */
  readonly log: LogFindings | null
  /** How the table's log and its files differ; null if the archive has no table. */
  readonly table: TableFindings | null
  /** Ids of `idsFile` that no archived event has. */
  readonly missing?: { readonly asked: number; readonly ids: number; readonly list: readonly string[] }
}

export interface ObjectProblems {
  readonly key: string
  /** What is wrong, in words that follow the key. */
  readonly problems: readonly string[]
}

interface ListedObject {
  readonly key: string
  /** The index of its key among all keys. */
  readonly place: number
}

interface FoundObjects {
  objects: number
  /** The objects with the smallest keys. */
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
  /** Whole objects without events. Whether they are right depends on the log: a void batch has such an object. */
  readonly #empty: FoundObjects
  /** Objects that were listed and then gone, by key. Whether they are missing depends on the log: they may have expired. */
  readonly #gone = new Map<string, ObjectProblems>()
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
   * Verifies the archive. To be called once.
   *
   * @throws StoreUnavailable if the keys or the log cannot be read, or too many objects in a row could not be fetched
   * @throws ConfigInvalid if the file of ids cannot be read, or this Node cannot decompress an object
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

  /** Reads all objects. The readers share one listing, which runs ahead of them. */
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
    const { table } = tableKeys(this.#options.prefix)
    for (const prefix of this.#prefixes()) {
      for await (const key of this.#store.list(prefix)) {
        if (!this.#isInRange(key)) continue
        if (!isObjectKey(key)) {
          if (!key.startsWith(own) && !key.startsWith(table)) this.#otherObjects++
          continue
        }
        assertDecompressible(key)
        this.progress.objectsKnown++
        const place = this.#keys.add(key)
        this.#logCheck.addListed(place, key)
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
      const problem = await this.#readThrough({ key, place }, check)
      check.end(problem)
      this.#failuresInARow = 0
      if (problem === IS_GONE) this.#gone.set(key, { key, problems: check.problems })
      if (check.isEmpty) {
        this.#logCheck.addEmpty(place)
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
    if (check.problems.length > 0 && !this.#gone.has(key))
      this.#note(this.#unreadable, { key, problems: check.problems })
    this.progress.objects++
  }

  #note(found: FoundObjects, object: ObjectProblems): void {
    found.objects++
    found.first.offer(object)
  }

  /** Resolves to the problem of the object as a whole, in words, if it has one. `check` reports those of its lines. */
  async #readThrough({ key, place }: ListedObject, check: ObjectCheck): Promise<string | undefined> {
    for (let attempt = 1; ; attempt++) {
      const digest = new StoredDigest()
      try {
        for await (const piece of readPieces(this.#store, key, digest.add)) {
          const eventsBefore = check.events
          check.take(piece)
          this.progress.events += check.events - eventsBefore
        }
        this.#logCheck.addContent(place, key, digest.end())
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
    for (const key of this.#logCheck.expiredOf(this.#gone)) this.#gone.delete(key)
    for (const object of this.#gone.values()) this.#note(this.#unreadable, object)
    if (log === null || log.refused !== undefined) this.#countEmptyAsUnreadable()
    const { prefix, listMax } = this.#options
    const table = await checkTable(this.#store, prefix, listMax)
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
      table,
      ...(asked !== undefined && {
        missing: {
          asked: compared.askedIds,
          ids: compared.missingIds,
          list: compared.missing.map(place => asked.textOf(place)),
        },
      }),
    }
  }

  /** Without a log, no batch can be void: an empty object has lost its events. */
  #countEmptyAsUnreadable(): void {
    this.#unreadable.objects += this.#empty.objects
    for (const object of this.#empty.first.items) this.#unreadable.first.offer(object)
  }

  async #compare(asked: AskedIds | undefined) {
    this.progress.phase = 'comparing'
    const missing = new Smallest<number>(this.#options.listMax, (a, b) => a - b)
    let [askedIds, missingIds] = [0, 0]
    const compared = await this.#ids.compare({
      others: asked?.idRecords ?? [],
      compared: (share, done) => {
        this.progress.compared = done
        const found = asked?.findMissing(share, this.#ids.idRecords, missing)
        askedIds += found?.asked ?? 0
        missingIds += found?.missing ?? 0
      },
    })
    return { ...compared, askedIds, missingIds, missing: missing.items }
  }
}
