/**
 * Which ids are in the archive, and of which objects that is known: on local disk (LMDB), for a window
 * of time. It holds nothing that the archive does not; where it is lost or behind, it is read from the
 * archive again.
 *
 * Ids that share all but their last 12 bits (message-id.ts) have one entry, which says which of these bits
 * there are (id-family.ts). So ids that were made here, which come in long families, cost next to nothing.
 *
 * Ids are kept in two generations, each as long as the window. A new one begins when the window is
 * over, or earlier when the present one is full, and the one before the last is dropped; so an id is
 * remembered for one to two windows, and the disk that they fill is bounded.
 */

import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Database, RootDatabase } from 'lmdb'
import { type DirectoryLock, lockOwnDirectory } from '../directory-lock.ts'
import { ConfigInvalid } from '../errors.ts'
import { assertIntact, openLmdb } from '../lmdb-file.ts'
import type { Logger } from '../logger.ts'
import { ID_BYTES } from '../message-id.ts'
import { counterAt, FAMILY_BYTES, familyAt, holds, isFamilyAt, withCounters } from './id-family.ts'

const PRESENT = Buffer.of(1)
/** Processes of one DATA_DIR have an index each. */
const INDEXES_MAX = 64

export interface DedupeConfig {
  readonly dedupeWindowMs: number
  readonly dedupeIdsMax: number
}

interface Generation {
  readonly name: string
  readonly ids: Database<Buffer, Buffer>
  readonly objects: Database<Buffer, string>
}

export class DedupeIndex {
  readonly #config: DedupeConfig
  readonly #log: Logger
  readonly #lock: DirectoryLock
  readonly #root: RootDatabase
  /** When each generation began, in milliseconds since 1970, by its name. */
  readonly #startedAt: Database<number, string>
  #present: Generation
  #former: Generation
  /** Entries of the present generation. */
  #size: number
  /** The family that was looked up last; ids of one family come together. */
  #lastFamily: Buffer = Buffer.alloc(FAMILY_BYTES)
  #lastCounters: readonly (Buffer | undefined)[] | undefined

  constructor(path: string, lock: DirectoryLock, config: DedupeConfig, log: Logger) {
    this.#config = config
    this.#log = log
    this.#lock = lock
    this.#root = openLmdb({ path, maxDbs: 8, encoding: 'binary' })
    this.#startedAt = this.#root.openDB({ name: 'startedAt', encoding: 'ordered-binary' })
    this.#present = this.#openGeneration('a')
    this.#former = this.#openGeneration('b')
    if (this.#ageOf(this.#present) > this.#ageOf(this.#former)) this.#swap()
    this.#size = sizeOf(this.#present.ids)
  }

  /** The time, in milliseconds since 1970, whose objects it is to know: a window ago, or later where there were too many ids. */
  get remembersSince(): number {
    const windowStart = Date.now() - this.#config.dedupeWindowMs
    const formerStart = this.#startedAt.get(this.#former.name)
    // A start that is still to come is that of a clock which was ahead: it says nothing.
    const isKnown = formerStart !== undefined && formerStart <= Date.now()
    return isKnown ? Math.max(windowStart, formerStart) : windowStart
  }

  /** @param at where the digest begins in `ids` */
  has(ids: Buffer, at = 0): boolean {
    if (this.#lastCounters === undefined || !isFamilyAt(this.#lastFamily, ids, at)) {
      this.#lastFamily = familyAt(ids, at)
      this.#lastCounters = [this.#present, this.#former].map(generation =>
        generation.ids.get(this.#lastFamily),
      )
    }
    const counter = counterAt(ids, at)
    return this.#lastCounters.some(counters => counters !== undefined && holds(counters, counter))
  }

  knowsObject(key: string): boolean {
    return this.#present.objects.doesExist(key) || this.#former.objects.doesExist(key)
  }

  /**
   * Resolves when the ids, and that they are all of this object, are there together. One object is added at
   * a time.
   *
   * @param digests 16 bytes each
   */
  async addObject(key: string, digests: Buffer): Promise<void> {
    const age = await this.#ageOfPresent()
    const isFull = this.#size >= this.#config.dedupeIdsMax
    if (isFull || age >= this.#config.dedupeWindowMs) await this.#beginGeneration(age, isFull)
    const { ids, objects } = this.#present
    await this.#root.batch(() => {
      for (const [family, counters] of familiesOf(digests)) {
        const known = ids.get(family)
        if (known === undefined) this.#size++
        void ids.put(family, withCounters(known, counters))
      }
      void objects.put(key, PRESENT)
    })
    this.#lastCounters = undefined
  }

  async close(): Promise<void> {
    await this.#root.close()
    await this.#lock.release()
  }

  async #beginGeneration(age: number, isFull: boolean): Promise<void> {
    if (isFull && age < this.#config.dedupeWindowMs) {
      this.#log.warn(
        { age, ids: this.#size },
        'More ids than DEDUPE_IDS_MAX: retries are told from new events for less than DEDUPE_WINDOW_MS.',
      )
    }
    // In this order: an object that is known, and whose ids are not, would not be read again.
    await this.#former.objects.clearAsync()
    await this.#former.ids.clearAsync()
    await this.#startedAt.put(this.#former.name, Date.now())
    this.#swap()
    this.#size = 0
  }

  /** Of a generation that began while the clock was ahead, none: it begins now, and the former one just before. */
  async #ageOfPresent(): Promise<number> {
    const age = this.#ageOf(this.#present)
    if (age >= 0) return age
    if (this.#ageOf(this.#former) <= 0) await this.#startedAt.put(this.#former.name, Date.now() - 1)
    await this.#startedAt.put(this.#present.name, Date.now())
    return 0
  }

  #swap(): void {
    const present = this.#present
    this.#present = this.#former
    this.#former = present
  }

  /** Endless for one that has not begun. */
  #ageOf({ name }: Generation): number {
    return Date.now() - (this.#startedAt.get(name) ?? Number.NEGATIVE_INFINITY)
  }

  #openGeneration(name: string): Generation {
    return {
      name,
      ids: this.#root.openDB({ name: `ids-${name}`, encoding: 'binary', keyEncoding: 'binary' }),
      objects: this.#root.openDB({ name: `objects-${name}`, encoding: 'binary' }),
    }
  }
}

/** The families of these ids, each with the last 12 bits of those that are in it. */
function familiesOf(digests: Buffer): Iterable<[Buffer, number[]]> {
  const families = new Map<string, [Buffer, number[]]>()
  let last: [Buffer, number[]] | undefined
  for (let at = 0; at < digests.length; at += ID_BYTES) {
    if (last === undefined || !isFamilyAt(last[0], digests, at)) {
      const family = familyAt(digests, at)
      const name = family.toString('latin1')
      last = families.get(name) ?? [family, []]
      families.set(name, last)
    }
    last[1].push(counterAt(digests, at))
  }
  return families.values()
}

function sizeOf(database: Database<Buffer, Buffer>): number {
  return (database.getStats() as { entryCount: number }).entryCount
}

/**
 * Opens an index below `path` that no other process has open, and makes one where there is none. One
 * that cannot be read is thrown away: the archive has all that was in it.
 *
 * @throws ConfigInvalid where the directory cannot be written.
 */
export async function openDedupeIndex(path: string, config: DedupeConfig, log: Logger): Promise<DedupeIndex> {
  for (let number = 0; number < INDEXES_MAX; number++) {
    const own = join(path, String(number))
    const lock = await lockOwnDirectory(own)
    if (lock === undefined) continue
    try {
      await assertIntact(join(own, 'data.mdb'))
      return new DedupeIndex(own, lock, config, log)
    } catch (error) {
      log.warn({ err: error }, 'The index of archived ids cannot be read: it is made anew from the archive.')
      await rm(join(own, 'data.mdb'), { force: true })
      await rm(join(own, 'lock.mdb'), { force: true })
      return new DedupeIndex(own, lock, config, log)
    }
  }
  throw new ConfigInvalid(`DATA_DIR: more than ${INDEXES_MAX} processes archive with ${path}.`)
}
