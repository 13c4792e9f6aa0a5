/**
 * Holds an archive's log against its objects.
 *
 * The log is read after the objects are listed. So an object that became visible before it was listed is named by what
 * is read here, whatever is archived meanwhile.
 */

import { hash } from 'node:crypto'
import { LogRefused } from '../../errors.ts'
import type { ObjectDigest } from '../../log/describe-object.ts'
import { logKeys } from '../../log/log-keys.ts'
import { LogReader } from '../../log/log-reader.ts'
import { inlineBody, isInline, type LogRecord } from '../../log/log-record.ts'
import { walkLog } from '../../log/log-walk.ts'
import type { FoldedBatch, FoldedRecord } from '../../log/manifest.ts'
import type { StoreReader } from '../../store/store.ts'
import { KeyMatch, type KeyMatches, Places } from './key-match.ts'
import type { ScratchFile } from './scratch-file.ts'
import { TextList } from './text-list.ts'

/** What is not settled by then was left by its writer; another archiver settles it, or voids it. */
const SETTLED_MS_MAX = 5 * 60_000

const LOOKS_AT_ONCE = 16
/** In place of the place of a batch that is folded, or named by a repair. */
const NEVER_VOID = -1

/** `there`: it has become an object since the listing, or none is expected. */
type Kind = 'there' | 'unsettled' | 'missing'

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
  /** The log's id; undefined where its first record cannot be read. */
  readonly id?: string
  /** The last record; -1 where there is none that can be read. */
  readonly position: number
  /** Objects that it names, in the partitions that were looked at. */
  readonly objects: number
  /** Named, and their bytes are nowhere. */
  readonly missing: Counted<NamedObject>
  /** Named, and their bytes are in the log or staged, and not yet at their key. */
  readonly unsettled: Counted<NamedObject> & {
    /** Those that have been so for longer than a few minutes. */
    readonly left: number
  }
  /** Their bytes are not those that the log names. */
  readonly changed: Counted<string>
  /** No record names them. */
  readonly unknown: Counted<string>
  /** Records that cannot be used. */
  readonly damaged: { readonly records: number; readonly list: readonly string[] }
  /** Why the log could not be compared. */
  readonly refused?: string
}

/** What is kept of a name: the record's number, the batch's place in it, its key, and where its bytes are. */
interface Name {
  readonly number: number
  readonly batch: number
  readonly key: string
  readonly staged?: string | undefined
  readonly isInline?: boolean
  /** Milliseconds since 1970. */
  readonly storedAt?: number
}

export interface LogCheckOptions {
  readonly prefix: string
  readonly listMax: number
  isInRange(key: string): boolean
}

export class LogCheck {
  /** Records that were read. */
  records = 0
  readonly #store: StoreReader
  readonly #options: LogCheckOptions
  readonly #reader: LogReader
  readonly #match: KeyMatch
  readonly #names: TextList
  /** Places of objects without events: one stands at the key of a batch that has become void (settlement.ts). */
  readonly #empty = new Places()
  /** `number:batch` */
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
    this.#names = new TextList(scratch)
  }

  /** @param place in the order of all keys */
  listed(place: number, key: string): void {
    this.#match.listed(place, key)
  }

  /** To be called for an object that was read to its end. */
  read(place: number, key: string, content: ObjectDigest): void {
    this.#match.listedContent(place, key, content)
  }

  /** To be called besides where that object is whole, and has no event. */
  readEmpty(place: number): void {
    this.#empty.add(place)
  }

  /**
   * Reads the log, and compares.
   *
   * @param keys of the objects that were listed, by place
   * @returns null where there is no log
   * @throws StoreUnavailable
   */
  async run(keys: TextList): Promise<LogFindings | null> {
    try {
      if (!(await this.#isThere())) return null
      await this.#readLog()
    } catch (error) {
      if (!(error instanceof LogRefused)) throw error
      return this.#findings(keys, { refused: error.message })
    }
    return this.#findings(keys, this.#match.match())
  }

  /** Records without a first one are those of a log that is being built, or was not built to its end. */
  async #isThere(): Promise<boolean> {
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

  #takeFolded({ number, batches }: FoldedRecord): void {
    this.#position = number
    for (const each of batches) this.#name(each, { number, batch: NEVER_VOID, key: each.key })
  }

  #takeRecord(record: LogRecord, storedAt: number): void {
    const { number, log, batches, voids } = record
    this.#id ??= log
    this.#position = number
    for (const each of voids) this.#voids.add(`${each.number}:${each.batch}`)
    for (const [n, each] of batches.entries()) {
      const { key, staged } = each
      const batch = each.isStored === true ? NEVER_VOID : n
      this.#name(each, { number, batch, key, staged, isInline: isInline(each), storedAt })
    }
  }

  #name(batch: FoldedBatch, name: Name): void {
    if (!this.#options.isInRange(batch.key)) return
    this.#match.named(this.#names.add(JSON.stringify(name)), batch.key, batch)
  }

  async #findings(keys: TextList, matches: KeyMatches | { readonly refused: string }): Promise<LogFindings> {
    const { listMax } = this.#options
    const base = {
      ...(this.#id !== undefined && { id: this.#id }),
      position: this.#position,
      objects: this.#names.length,
      damaged: { records: this.#damagedRecords, list: this.#damaged },
    }
    const nothing = { objects: 0, list: [] }
    if ('refused' in matches)
      return {
        ...base,
        missing: nothing,
        unsettled: { ...nothing, left: 0 },
        changed: nothing,
        unknown: nothing,
        refused: matches.refused,
      }
    const changed = this.#withoutVoid(matches.changed, keys)
    const unknown = matches.unknown.without(this.#empty)
    return {
      ...base,
      ...(await this.#withoutObject(matches)),
      changed: { objects: changed.size, list: [...picked(keys, changed, listMax)] },
      unknown: { objects: unknown.size, list: [...picked(keys, unknown, listMax)] },
    }
  }

  #withoutVoid(changed: Places, keys: TextList): Places {
    if (this.#voids.size === 0) return changed
    const voidKeys = new Set<string>()
    for (const text of this.#names) {
      const { number, batch, key } = JSON.parse(text) as Name
      if (this.#voids.has(`${number}:${batch}`)) voidKeys.add(key)
    }
    const ofVoid = new Places()
    let place = 0
    for (const key of keys) {
      if (this.#empty.has(place) && voidKeys.has(key)) ofVoid.add(place)
      place++
    }
    return changed.without(ofVoid)
  }

  async #withoutObject({ missing }: KeyMatches): Promise<Pick<LogFindings, 'missing' | 'unsettled'>> {
    const lists = { missing: [] as NamedObject[], unsettled: [] as NamedObject[] }
    const counts = { missing: 0, unsettled: 0 }
    let left = 0
    for await (const { name, kind } of this.#lookedAt(missing)) {
      if (kind === 'there') continue
      counts[kind]++
      if (lists[kind].length < this.#options.listMax) lists[kind].push({ key: name.key, record: name.number })
      if (kind === 'unsettled' && Date.now() - (name.storedAt as number) > SETTLED_MS_MAX) left++
    }
    return {
      missing: { objects: counts.missing, list: lists.missing },
      unsettled: { objects: counts.unsettled, left, list: lists.unsettled },
    }
  }

  async *#lookedAt(missing: Places): AsyncIterable<{ name: Name; kind: Kind }> {
    let names: Name[] = []
    const look = () => Promise.all(names.map(async name => ({ name, kind: await this.#kindOf(name) })))
    for (const text of picked(this.#names, missing, Number.POSITIVE_INFINITY)) {
      names.push(JSON.parse(text) as Name)
      if (names.length < LOOKS_AT_ONCE) continue
      yield* await look()
      names = []
    }
    yield* await look()
  }

  async #kindOf(name: Name): Promise<Kind> {
    const { number, batch, key } = name
    if (this.#voids.has(`${number}:${batch}`) || (await this.#exists(key))) return 'there'
    if (await this.#hasBytes(name)) return 'unsettled'
    // Between the two it may have been settled.
    return (await this.#exists(key)) ? 'there' : 'missing'
  }

  async #hasBytes({ number, batch: n, staged, isInline }: Name): Promise<boolean> {
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

/** The texts at these places, in their order. */
export function* picked(texts: TextList, places: Iterable<number>, max: number): Iterable<string> {
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
