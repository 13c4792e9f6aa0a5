/**
 * Builds the log of an archive that has objects and none: of one that an earlier version wrote, or that lost its log.
 *
 *   no archiver runs ──► records 1 … n, each on condition ──► record 0
 *
 * Without record 0 there is no log: archivers refuse, and what is left of a build that was broken off is deleted by the
 * next one. Two builds at once find each other's records, and both stop.
 */

import { randomUUID } from 'node:crypto'
import { LogRefused } from '../../errors.ts'
import { ID_BYTES } from '../../event/message-id.ts'
import { type DescribedObject, describeObject } from '../../log/describe-object.ts'
import { type LogKeys, logKeys, recordNumber } from '../../log/log-keys.ts'
import { LogReader } from '../../log/log-reader.ts'
import { type BatchDraft, decodeHead, encodeRecord, OF_NO_ARCHIVER } from '../../log/log-record.ts'
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
/** What a record takes: archivers read it whole. */
const RECORD_EVENTS_MAX = 1_000_000
const RECORD_OBJECTS_MAX = 5_000
/** The ids of one object are in one record, whose head is bounded. */
const OBJECT_EVENTS_MAX = 12_000_000
const REMOVED_AT_ONCE = 1_000
/** A record's first bytes, with the id of its log. */
const ID_READ_BYTES = 256

export interface BuildLimits {
  readonly recordEventsMax: number
  readonly recordObjectsMax: number
}

export interface BuildOptions {
  /** Of the archive. */
  readonly prefix: string
  /** How many findings of each kind are listed; all are counted. */
  readonly listMax: number
  readonly limits?: BuildLimits
}

export interface BuiltLog {
  readonly id: string
  /** The last one's number: they count from 0. */
  readonly position: number
  /** Objects that it names, and the events in them. */
  readonly objects: number
  readonly events: number
  /** Records of a build that was broken off, which were deleted. */
  readonly abandoned: number
  /** Objects that are damaged, and that it does not name. */
  readonly damaged: { readonly objects: number; readonly list: readonly ObjectProblems[] }
  /** Events that it names, and whose id an event before has; each is named. */
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

  /** @throws LogRefused where there is a log, or no object, or another build; StoreUnavailable */
  async run(): Promise<BuiltLog> {
    try {
      await this.#refuseWhereLogIs()
      const abandoned = await this.#removeAbandoned()
      const root = rootRecord(this.#id, this.#writer)
      this.#hash = decodeHead(0, root).hash
      await this.#appendAll()
      if (this.#objects.length === 0)
        throw new LogRefused('The archive has no objects: whoever archives first begins its log.')
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

  async #refuseWhereLogIs(): Promise<void> {
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
      ...OF_NO_ARCHIVER,
      batches,
    })
    const key = this.#keys.record(number)
    const { outcome } = await this.#store.create(key, bytes)
    if (outcome === 'exists' && !(await this.#isOurs(number))) throw otherBuild()
    this.#position = number
    this.#hash = record.hash
    this.#named.objects += batches.length
    this.#named.events += batches.reduce((sum, { events }) => sum + events, 0)
    this.progress.records++
  }

  /** Those that can be named, in the order of their keys. Several are read at once. */
  async *#batches(): AsyncIterable<BatchDraft> {
    const reading: Promise<BatchDraft | undefined>[] = []
    for await (const key of this.#store.list(`${this.#options.prefix}/dt=`)) {
      if (!isObjectKey(key)) continue
      assertDecompressible(key)
      this.progress.objectsKnown++
      const described = this.#describe(key, this.#objects.add(key))
      // It is waited for in its turn.
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
      problems: [`has ${events} events: no record takes more than ${OBJECT_EVENTS_MAX}`],
    }
  }

  async #compare(): Promise<BuiltLog['duplicates']> {
    this.progress.phase = 'comparing'
    const { duplicateEvents, duplicateIds, found } = await this.#ids.compare({
      ledgers: [],
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
   * Makes it the log. The hint of the head comes first: where another build deletes records after that, archivers see
   * by it that some are missing.
   */
  async #finish(root: Buffer): Promise<void> {
    for (let number = 1; number <= this.#position; number++)
      if (!(await this.#isOurs(number))) throw otherBuild()
    await this.#store.replace(this.#keys.head, Buffer.from(String(this.#position)))
    await this.#store.create(this.#keys.record(0), root)
    if (!(await this.#isOurs(0))) throw otherBuild()
  }

  /** A record begins with the id of its log, which is this build's alone. */
  async #isOurs(number: number): Promise<boolean> {
    const { object } = await this.#store.read(this.#keys.record(number), { start: 0, length: ID_READ_BYTES })
    return object?.body.includes(this.#id) === true
  }
}

function otherBuild(): Error {
  return new LogRefused(
    'Somebody else writes to the log meanwhile: another build, or an archiver. Stop it, and run this again.',
  )
}
