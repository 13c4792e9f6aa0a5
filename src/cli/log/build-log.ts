/**
 * Builds the log of an archive that has objects but no log: an earlier version wrote it, or the log was lost.
 *
 *   no archiver runs ──► create records 1 … n, if they do not exist ──► create record 0
 *
 * Until record 0 exists the archive has no log, and archivers archive nothing. A build deletes the records of an
 * earlier build that was broken off. If two builds run at once, at most one finishes: a build stops when it finds
 * records of another one.
 */

import { randomUUID } from 'node:crypto'
import { LogRefused } from '../../errors.ts'
import { ID_BYTES } from '../../event/message-id.ts'
import { type DescribedObject, describeObject } from '../../log/describe-object.ts'
import { type LogKeys, logKeys, recordNumber } from '../../log/log-keys.ts'
import { LogReader } from '../../log/log-reader.ts'
import { type BatchDraft, decodeHead, encodeRecord, NOT_AN_ARCHIVER } from '../../log/log-record.ts'
import { rootRecord } from '../../log/log-sync.ts'
import { assertDecompressible } from '../../object/format.ts'
import { isObjectKey } from '../../object/object-key.ts'
import type { ObjectStore } from '../../store/store.ts'
import { type Duplicate, describeDuplicates, IdComparison } from '../verify/id-comparison.ts'
import { ScratchFile } from '../verify/scratch-file.ts'
import { byKey, Smallest } from '../verify/smallest.ts'
import { TextList } from '../verify/text-list.ts'
import type { ObjectProblems, VerifyProgress } from '../verify/verifier.ts'

/** Objects that are read at once. */
const READERS = 8
/** Events of a record, unless one object has more. Archivers read a whole record into memory. */
const RECORD_EVENTS_MAX = 1_000_000
/** Most objects of a record. */
const RECORD_OBJECTS_MAX = 5_000
/** A larger object cannot be named: its ids have to fit into the head of one record, which is bounded. */
const OBJECT_EVENTS_MAX = 12_000_000
/** Keys of one request. */
const REMOVED_AT_ONCE = 1_000
/** The first bytes of a record. They have the id of its log. */
const ID_READ_BYTES = 256

export interface BuildLimits {
  readonly recordEventsMax: number
  readonly recordObjectsMax: number
}

export interface BuildOptions {
  /** The prefix of the archive's keys, without a slash at the end. */
  readonly prefix: string
  /** Most findings of each kind that are listed. All are counted. */
  readonly listMax: number
  /** @default 1,000,000 events and 5,000 objects */
  readonly limits?: BuildLimits
}

export interface BuiltLog {
  readonly id: string
  /** The number of the last record. The first is 0. */
  readonly position: number
  /** Objects that the log names. */
  readonly objects: number
  /** Events in these objects. */
  readonly events: number
  /** How many records of a build that was broken off were deleted. */
  readonly abandoned: number
  /** Damaged objects. The log does not name them. */
  readonly damaged: { readonly objects: number; readonly list: readonly ObjectProblems[] }
  /** Events whose id an earlier event has. The log names them all the same. */
  readonly duplicates: {
    readonly events: number
    readonly ids: number
    readonly list: readonly Duplicate[]
  }
}

export class LogBuilder {
  readonly progress: VerifyProgress & { records: number } = {
    phase: 'reading',
    objectsKnown: 0,
    isListed: false,
    objects: 0,
    events: 0,
    records: 0,
    compared: 0,
  }
  readonly #store: ObjectStore
  readonly #options: BuildOptions
  readonly #limits: BuildLimits
  readonly #keys: LogKeys
  readonly #reader: LogReader
  readonly #scratch = new ScratchFile()
  readonly #objects = new TextList(this.#scratch)
  readonly #ids: IdComparison
  readonly #id = randomUUID()
  readonly #writer = randomUUID()
  readonly #damaged: Smallest<ObjectProblems>
  #damagedObjects = 0
  #named = { objects: 0, events: 0 }
  #position = 0
  #hash = ''

  constructor(store: ObjectStore, options: BuildOptions) {
    this.#store = store
    this.#options = options
    this.#limits = options.limits ?? {
      recordEventsMax: RECORD_EVENTS_MAX,
      recordObjectsMax: RECORD_OBJECTS_MAX,
    }
    this.#keys = logKeys(options.prefix)
    this.#reader = new LogReader(store, this.#keys)
    this.#damaged = new Smallest<ObjectProblems>(options.listMax, byKey)
    this.#ids = new IdComparison(this.#scratch, options.listMax)
  }

  /**
   * Builds the log. To be called once.
   *
   * @throws LogRefused if the archive has a log or no objects, or if another build is running; StoreUnavailable
   */
  async run(): Promise<BuiltLog> {
    try {
      await this.#assertNoLog()
      const abandoned = await this.#removeAbandoned()
      const root = rootRecord(this.#id, this.#writer)
      this.#hash = decodeHead(0, root).hash
      await this.#appendAll()
      if (this.#objects.length === 0)
        throw new LogRefused('The archive has no objects. The first archiver that starts begins its log.')
      const duplicates = await this.#compare()
      await this.#finish(root)
      return {
        id: this.#id,
        position: this.#position,
        ...this.#named,
        abandoned,
        damaged: { objects: this.#damagedObjects, list: this.#damaged.items },
        duplicates,
      }
    } finally {
      this.#scratch.close()
    }
  }

  async #assertNoLog(): Promise<void> {
    const { object } = await this.#store.read(this.#keys.record(0))
    const isFolded = (await this.#reader.manifest(1)).manifest !== undefined
    if (object !== undefined || isFolded)
      throw new LogRefused('The archive has a log. Look at it with: frequency log show')
  }

  /** @returns how many records were deleted */
  async #removeAbandoned(): Promise<number> {
    let count = 0
    let removed: string[] = []
    const remove = async (): Promise<void> => {
      await this.#store.remove(removed)
      count += removed.length
      removed = []
    }
    for await (const key of this.#store.list(this.#keys.records)) {
      if (recordNumber(this.#keys, key) === undefined) continue
      if (removed.push(key) === REMOVED_AT_ONCE) await remove()
    }
    if (removed.length > 0) await remove()
    return count
  }

  async #appendAll(): Promise<void> {
    const { recordEventsMax, recordObjectsMax } = this.#limits
    let batches: BatchDraft[] = []
    let events = 0
    for await (const batch of this.#batches()) {
      if (batches.length === recordObjectsMax || (events > 0 && events + batch.events > recordEventsMax)) {
        await this.#append(batches)
        batches = []
        events = 0
      }
      batches.push(batch)
      events += batch.events
    }
    if (batches.length > 0) await this.#append(batches)
  }

  async #append(batches: readonly BatchDraft[]): Promise<void> {
    const number = this.#position + 1
    const { bytes, record } = encodeRecord({
      log: this.#id,
      number,
      previous: this.#hash,
      nonce: randomUUID(),
      writer: this.#writer,
      ...NOT_AN_ARCHIVER,
      batches,
    })
    const key = this.#keys.record(number)
    const { outcome } = await this.#store.create(key, bytes)
    if (outcome === 'exists' && !(await this.#isOurs(number))) throw otherWriter()
    this.#position = number
    this.#hash = record.hash
    this.#named.objects += batches.length
    this.#named.events += batches.reduce((sum, { events }) => sum + events, 0)
    this.progress.records++
  }

  /** Reads all objects, several at once. Yields those that can be named, in the order of their keys. */
  async *#batches(): AsyncIterable<BatchDraft> {
    const reading: Promise<BatchDraft | undefined>[] = []
    for await (const key of this.#store.list(`${this.#options.prefix}/dt=`)) {
      if (!isObjectKey(key)) continue
      assertDecompressible(key)
      this.progress.objectsKnown++
      const described = this.#describe(key, this.#objects.add(key))
      // It is awaited later. Until then the no-op `catch` keeps a rejection from ending the process.
      described.catch(() => {})
      if (reading.push(described) < READERS) continue
      const batch = await reading.shift()
      if (batch !== undefined) yield batch
    }
    this.progress.isListed = true
    for (const described of reading) {
      const batch = await described
      if (batch !== undefined) yield batch
    }
  }

  async #describe(key: string, place: number): Promise<BatchDraft | undefined> {
    const { batch, problems } = await this.#problemsOrBatch(key)
    this.progress.objects++
    if (batch === undefined) {
      this.#damagedObjects++
      this.#damaged.offer({ key, problems })
      return undefined
    }
    this.progress.events += batch.events
    for (let at = 0; at < batch.ids.length; at += ID_BYTES)
      this.#ids.add(batch.ids.subarray(at, at + ID_BYTES), place)
    return batch
  }

  async #problemsOrBatch(key: string): Promise<DescribedObject> {
    const described = await describeObject(this.#store, key)
    const { events = 0 } = described.batch ?? {}
    if (events <= OBJECT_EVENTS_MAX) return described
    return {
      ...described,
      batch: undefined,
      problems: [`has ${events} events: a record can name at most ${OBJECT_EVENTS_MAX}`],
    }
  }

  async #compare(): Promise<BuiltLog['duplicates']> {
    this.progress.phase = 'comparing'
    const { duplicateEvents, duplicateIds, found } = await this.#ids.compare({
      others: [],
      compared: (_, done) => {
        this.progress.compared = done
      },
    })
    return {
      events: duplicateEvents,
      ids: duplicateIds,
      list: await describeDuplicates(found, this.#store, this.#objects),
    }
  }

  /**
   * Creates record 0, which makes the records a log. Writes the hint of the head before it: if another build deletes
   * records later, archivers see from the hint that records are missing.
   */
  async #finish(root: Buffer): Promise<void> {
    for (let number = 1; number <= this.#position; number++)
      if (!(await this.#isOurs(number))) throw otherWriter()
    await this.#store.replace(this.#keys.head, Buffer.from(String(this.#position)))
    await this.#store.create(this.#keys.record(0), root)
    if (!(await this.#isOurs(0))) throw otherWriter()
  }

  /** Whether this build wrote the record: it begins with the id of its log, and each build makes a new id. */
  async #isOurs(number: number): Promise<boolean> {
    const { object } = await this.#store.read(this.#keys.record(number), { start: 0, length: ID_READ_BYTES })
    return object?.body.includes(this.#id) === true
  }
}

function otherWriter(): Error {
  return new LogRefused('Another build, or an archiver, is writing to the log. Stop it, and run this again.')
}
