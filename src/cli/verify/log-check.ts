/**
 * Compares an archive's log with its objects.
 *
 * The log is read after the objects are listed. A record is written before its objects appear, so each listed object is
 * named by the log as it is read here, even if archivers go on meanwhile.
 */

import { hash } from 'node:crypto'
import { LogRefused, ObjectNotFound } from '../../errors.ts'
import { type ObjectDigest, StoredDigest } from '../../log/describe-object.ts'
import { LaterChanges, type Rewrite } from '../../log/later-changes.ts'
import { logKeys } from '../../log/log-keys.ts'
import { LogReader } from '../../log/log-reader.ts'
import { inlineBody, isInline, type LogRecord } from '../../log/log-record.ts'
import { walkLog } from '../../log/log-walk.ts'
import type { FoldedBatch, FoldedRecord } from '../../log/manifest.ts'
import type { StoreReader } from '../../store/store.ts'
import { KeyMatch, type KeyMatches, Places } from './key-match.ts'
import type { ScratchFile } from './scratch-file.ts'
import { TextList } from './text-list.ts'

/**
 * A batch that is not settled after this time was left by its archiver. Another archiver settles it, or voids it. A
 * rewrite that is not at its key after this time was left by an erasure that was interrupted, or runs for long.
 */
const SETTLED_MS_MAX = 5 * 60_000
const LOOKS_AT_ONCE = 16
/** Stands for the place in its record of a batch that cannot be void: it is folded, or was named by a repair. */
const NEVER_VOID = -1

/** `present`: the object has appeared since the listing, or the batch is void or has expired. */
type Kind = 'present' | 'unsettled' | 'missing'

export interface NamedObject {
  readonly key: string
  /** The number of the record that names it. */
  readonly record: number
}

interface Counted<T> {
  readonly objects: number
  readonly list: readonly T[]
}

export interface LogFindings {
  /** The log's id; undefined if no record or manifest can be read. */
  readonly id?: string
  /** The last record that can be read; -1 if none can. */
  readonly position: number
  /** Objects that the log names, in the partitions that were read. */
  readonly objects: number
  /** The log names these objects, but their bytes are nowhere. */
  readonly missing: Counted<NamedObject>
  /** The log names these objects. Their bytes are in the log or staged, but not yet at their keys. */
  readonly unsettled: Counted<NamedObject> & {
    /** How many have been unsettled for more than 5 minutes. */
    readonly left: number
  }
  /** By the log events of these objects are erased. The new bytes are staged, and the events are still at the keys. */
  readonly unerased: Counted<string> & {
    /** How many have been so for more than 5 minutes. */
    readonly left: number
  }
  /** The log names these objects with other bytes. */
  readonly changed: Counted<string>
  /** No record names these objects. */
  readonly unknown: Counted<string>
  /** Records that cannot be used. */
  readonly damaged: { readonly records: number; readonly list: readonly string[] }
  /** Why the log could not be compared. */
  readonly refused?: string
}

/** What is kept of a batch that the log names. */
interface NamedBatch {
  /** The number of its record. */
  readonly number: number
  /** Its place in the record, or `NEVER_VOID`. */
  readonly batch: number
  readonly key: string
  /** The key of its staged bytes. */
  readonly staged?: string | undefined
  /** Whether its bytes are in the record. */
  readonly isInline?: boolean
  /** When the record was stored, in milliseconds since 1970. */
  readonly storedAt?: number
  readonly lastReceivedAt: number
  readonly sha256: string
  readonly storedBytes: number
}

export interface LogCheckOptions {
  readonly prefix: string
  readonly listMax: number
  isInRange(key: string): boolean
}

export class LogCheck {
  /** How many records were read. */
  records = 0
  readonly #store: StoreReader
  readonly #options: LogCheckOptions
  readonly #reader: LogReader
  readonly #match: KeyMatch
  readonly #named: TextList
  /** Places of objects without events. A void batch has such an object at its key (settlement.ts). */
  readonly #empty = new Places()
  readonly #changes = new LaterChanges()
  /** When the record of an object's last rewrite was stored. A folded record is older than 5 minutes. */
  readonly #rewrittenAt = new Map<string, number>()
  /** Void batches, as `number:batch`. */
  readonly #voids = new Set<string>()
  readonly #damaged: string[] = []
  #damagedRecords = 0
  #id: string | undefined
  #position = -1

  constructor(store: StoreReader, scratch: ScratchFile, options: LogCheckOptions) {
    this.#store = store
    this.#options = options
    this.#reader = new LogReader(store, logKeys(options.prefix))
    this.#match = new KeyMatch(scratch)
    this.#named = new TextList(scratch)
  }

  /** Adds a listed object. @param place the index of its key among all keys */
  addListed(place: number, key: string): void {
    this.#match.addListed(place, key)
  }

  /** Adds the content of a listed object that was read to its end. */
  addContent(place: number, key: string, content: ObjectDigest): void {
    this.#match.addListedContent(place, key, content)
  }

  /** To be called, besides `addContent`, for an object that is whole and has no events. */
  addEmpty(place: number): void {
    this.#empty.add(place)
  }

  /**
   * Reads the log, and compares it with the objects that were added.
   *
   * @param keys the keys of the listed objects, by place
   * @returns null if the archive has no log
   * @throws StoreUnavailable
   */
  async run(keys: TextList): Promise<LogFindings | null> {
    try {
      if (!(await this.#hasLog())) return null
      await this.#readLog()
    } catch (error) {
      if (!(error instanceof LogRefused)) throw error
      return this.#findings(keys, { refused: error.message })
    }
    return this.#findings(keys, this.#matchNamed())
  }

  /** Those of some keys that are of objects that have expired. To be called after `run`. */
  expiredOf(keys: Pick<ReadonlyMap<string, unknown>, 'has' | 'size'>): string[] {
    const expired: string[] = []
    if (keys.size === 0 || this.#changes.expiredBefore === undefined) return expired
    for (const text of this.#named) {
      const { key, number, lastReceivedAt } = JSON.parse(text) as NamedBatch
      if (keys.has(key) && this.#changes.isExpired(number, lastReceivedAt)) expired.push(key)
    }
    return expired
  }

  /** Whether record 0 or manifest 1 exists. Other records alone are left by a build that runs, or was broken off. */
  async #hasLog(): Promise<boolean> {
    const { object } = await this.#store.read(logKeys(this.#options.prefix).record(0))
    return object !== undefined || (await this.#reader.manifest(1)).manifest !== undefined
  }

  async #readLog(): Promise<void> {
    const keys = logKeys(this.#options.prefix)
    for await (const step of walkLog({ store: this.#store, reader: this.#reader, keys })) {
      if (step.kind === 'manifest') {
        this.#id ??= step.manifest.log
        continue
      }
      this.records++
      if (step.kind === 'damaged') this.#takeDamaged(step.message)
      else if (step.kind === 'folded') this.#takeFolded(step.record)
      else this.#takeRecord(step.record, step.storedAt)
    }
  }

  #takeDamaged(message: string): void {
    this.#damagedRecords++
    if (this.#damaged.length < this.#options.listMax) this.#damaged.push(message)
  }

  #takeFolded(record: FoldedRecord): void {
    const { number, batches } = record
    this.#position = number
    this.#changes.add(record, number)
    for (const each of batches) this.#addNamed(each, { number, batch: NEVER_VOID })
  }

  #takeRecord(record: LogRecord, storedAt: number): void {
    const { number, log, batches, voids } = record
    this.#id ??= log
    this.#position = number
    this.#changes.add(record, number)
    for (const { key } of record.rewrites ?? []) this.#rewrittenAt.set(key, storedAt)
    for (const each of voids) this.#voids.add(`${each.number}:${each.batch}`)
    for (const [n, each] of batches.entries()) {
      const { staged } = each
      const batch = each.isStored === true ? NEVER_VOID : n
      this.#addNamed(each, { number, batch, staged, isInline: isInline(each), storedAt })
    }
  }

  #addNamed(
    { key, sha256, storedBytes, lastReceivedAt }: FoldedBatch,
    named: Omit<NamedBatch, 'key' | 'sha256' | 'storedBytes' | 'lastReceivedAt'>,
  ): void {
    if (!this.#options.isInRange(key)) return
    const batch: NamedBatch = { ...named, key, sha256, storedBytes, lastReceivedAt }
    this.#named.add(JSON.stringify(batch))
  }

  /** An object that was rewritten has the bytes of its last rewrite. */
  #matchNamed(): KeyMatches {
    let place = 0
    for (const text of this.#named) {
      const named = JSON.parse(text) as NamedBatch
      this.#match.addNamed(place++, named.key, this.#changes.rewriteOf(named.key) ?? named)
    }
    return this.#match.match()
  }

  async #findings(keys: TextList, matches: KeyMatches | { readonly refused: string }): Promise<LogFindings> {
    const { listMax } = this.#options
    const base = {
      ...(this.#id !== undefined && { id: this.#id }),
      position: this.#position,
      objects: this.#named.length,
      damaged: { records: this.#damagedRecords, list: this.#damaged },
    }
    const nothing = { objects: 0, list: [] }
    if ('refused' in matches)
      return {
        ...base,
        missing: nothing,
        unsettled: { ...nothing, left: 0 },
        unerased: { ...nothing, left: 0 },
        changed: nothing,
        unknown: nothing,
        refused: matches.refused,
      }
    const unknown = matches.unknown.without(this.#empty)
    return {
      ...base,
      ...(await this.#missingAndUnsettled(matches)),
      ...(await this.#changedAndUnerased(keys, this.#withoutVoids(matches.changed, keys))),
      unknown: { objects: unknown.size, list: [...textsAt(keys, unknown, listMax)] },
    }
  }

  /** Returns `changed` without the empty objects at the keys of void batches: these objects are right. */
  #withoutVoids(changed: Places, keys: TextList): Places {
    if (this.#voids.size === 0) return changed
    const voidKeys = new Set<string>()
    for (const text of this.#named) {
      const { number, batch, key } = JSON.parse(text) as NamedBatch
      if (this.#voids.has(`${number}:${batch}`)) voidKeys.add(key)
    }
    const voids = new Places()
    let place = 0
    for (const key of keys) {
      if (this.#empty.has(place) && voidKeys.has(key)) voids.add(place)
      place++
    }
    return changed.without(voids)
  }

  async #missingAndUnsettled({ missing }: KeyMatches): Promise<Pick<LogFindings, 'missing' | 'unsettled'>> {
    const lists = { missing: [] as NamedObject[], unsettled: [] as NamedObject[] }
    const counts = { missing: 0, unsettled: 0 }
    let left = 0
    const look = async (text: string) => {
      const named = JSON.parse(text) as NamedBatch
      return { named, kind: await this.#kindOf(named) }
    }
    for await (const { named, kind } of lookedUp(this.#named, missing, look)) {
      if (kind === 'present') continue
      counts[kind]++
      if (lists[kind].length < this.#options.listMax)
        lists[kind].push({ key: named.key, record: named.number })
      if (kind === 'unsettled' && Date.now() - (named.storedAt as number) > SETTLED_MS_MAX) left++
    }
    return {
      missing: { objects: counts.missing, list: lists.missing },
      unsettled: { objects: counts.unsettled, left, list: lists.unsettled },
    }
  }

  /** Looks again at objects that had other bytes when they were read: a rewrite may have been moved to its key since. */
  async #changedAndUnerased(
    keys: TextList,
    places: Places,
  ): Promise<Pick<LogFindings, 'changed' | 'unerased'>> {
    const lists = { changed: [] as string[], unerased: [] as string[] }
    const counts = { changed: 0, unerased: 0 }
    let left = 0
    const look = async (key: string) => ({ key, kind: await this.#kindOfChanged(key) })
    for await (const { key, kind } of lookedUp(keys, places, look)) {
      if (kind === 'present') continue
      counts[kind]++
      if (lists[kind].length < this.#options.listMax) lists[kind].push(key)
      if (kind === 'unerased' && Date.now() - (this.#rewrittenAt.get(key) ?? 0) > SETTLED_MS_MAX) left++
    }
    return {
      changed: { objects: counts.changed, list: lists.changed },
      unerased: { objects: counts.unerased, left, list: lists.unerased },
    }
  }

  async #kindOfChanged(key: string): Promise<'present' | 'unerased' | 'changed'> {
    const rewrite = this.#changes.rewriteOf(key)
    if (rewrite === undefined) return 'changed'
    if (await this.#exists(rewrite.staged)) return 'unerased'
    return (await this.#isMoved(rewrite)) ? 'present' : 'changed'
  }

  async #isMoved({ key, sha256 }: Rewrite): Promise<boolean> {
    const digest = new StoredDigest()
    try {
      for await (const bytes of await this.#store.get(key)) digest.add(bytes)
    } catch (error) {
      if (error instanceof ObjectNotFound) return false
      throw error
    }
    return digest.end().sha256 === sha256
  }

  async #kindOf(named: NamedBatch): Promise<Kind> {
    const { number, batch, key, lastReceivedAt } = named
    if (this.#changes.isExpired(number, lastReceivedAt)) return 'present'
    if (this.#voids.has(`${number}:${batch}`) || (await this.#exists(key))) return 'present'
    if (await this.#hasBytes(named)) return 'unsettled'
    // The batch may have been settled between the two look-ups.
    return (await this.#exists(key)) ? 'present' : 'missing'
  }

  /** Whether the bytes of a batch are staged, or whole in its record. */
  async #hasBytes({ number, batch: n, staged, isInline }: NamedBatch): Promise<boolean> {
    if (staged !== undefined) return this.#exists(staged)
    if (isInline !== true) return false
    const { record } = await this.#reader.record(number)
    const bytes = await this.#reader.wholeRecord(number)
    const batch = record?.batches[n]
    if (record === undefined || batch === undefined || bytes === undefined) return false
    return hash('sha256', inlineBody(record, batch, bytes), 'hex') === batch.sha256
  }

  async #exists(key: string): Promise<boolean> {
    return (await this.#store.read(key, { start: 0, length: 1 })).object !== undefined
  }
}

/** Yields what `look` finds of the texts at these places, in their order. It is called for several texts at once. */
async function* lookedUp<T>(
  texts: TextList,
  places: Places,
  look: (text: string) => Promise<T>,
): AsyncIterable<T> {
  let some: string[] = []
  for (const text of textsAt(texts, places, Number.POSITIVE_INFINITY)) {
    some.push(text)
    if (some.length < LOOKS_AT_ONCE) continue
    yield* await Promise.all(some.map(look))
    some = []
  }
  yield* await Promise.all(some.map(look))
}

/** Yields the first `max` texts at these places. @param places in ascending order */
export function* textsAt(texts: TextList, places: Iterable<number>, max: number): Iterable<string> {
  const wanted = places[Symbol.iterator]()
  let next = wanted.next()
  let place = 0
  for (const text of texts) {
    if (next.done === true || max === 0) return
    if (place++ !== next.value) continue
    yield text
    max--
    next = wanted.next()
  }
}
