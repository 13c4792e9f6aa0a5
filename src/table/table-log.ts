/**
 * Reads and appends the log of an archive's table, for one process.
 *
 *     _frequency/table/log/0000000000000001           entries (table-entry.ts), never removed
 *     _frequency/table/checkpoints/0000000000000064   the state after an entry, as one entry: a shorter way to it
 */

import { randomUUID } from 'node:crypto'
import { StoreUnavailable, TableDamaged } from '../errors.ts'
import { BackOff } from '../process/sleep.ts'
import type { ObjectStore, StoreReader } from '../store/store.ts'
import { decodeEntry, encodeEntry, type TableChange, type TableEntry } from './table-entry.ts'
import { numberIn, type TableKeys } from './table-keys.ts'
import { applied, EMPTY_TABLE, type TableState } from './table-state.ts'

const CHECKPOINT_ENTRIES = 64
const CHECKPOINTS_KEPT = 2
const READS_AT_ONCE = 16
const RETRY_LIMITS = { msMin: 50, msMax: 5_000 }

/** Reads a table's log. */
export class TableLogReader {
  readonly #store: Pick<StoreReader, 'read' | 'list'>
  readonly keys: TableKeys
  #state: TableState = EMPTY_TABLE

  constructor(store: Pick<StoreReader, 'read' | 'list'>, keys: TableKeys) {
    this.#store = store
    this.keys = keys
  }

  get state(): TableState {
    return this.#state
  }

  /**
   * Applies all new entries.
   *
   * @throws StoreUnavailable, TableDamaged
   */
  async refresh(): Promise<TableState> {
    if (this.#state.number === 0) this.#state = await this.#fromCheckpoint()
    for (;;) {
      const first = this.#state.number + 1
      const entries = await this.#entriesFrom(first)
      if (entries.length > 0) this.#state = applied(this.#state, entries)
      if (entries.length < READS_AT_ONCE) return this.#state
    }
  }

  /** Up to 16 entries that follow each other. */
  async #entriesFrom(first: number): Promise<TableEntry[]> {
    const next = await this.#entry(first)
    if (next === undefined) return []
    const numbers = Array.from({ length: READS_AT_ONCE - 1 }, (_, n) => first + 1 + n)
    const read = [next, ...(await Promise.all(numbers.map(number => this.#entry(number))))]
    const end = read.indexOf(undefined)
    return read.slice(0, end === -1 ? undefined : end) as TableEntry[]
  }

  async #entry(number: number): Promise<TableEntry | undefined> {
    const { object } = await this.#store.read(this.keys.entry(number))
    return object === undefined ? undefined : decodeEntry(number, object.body)
  }

  /** A checkpoint that was removed meanwhile has a newer one. */
  async #fromCheckpoint(): Promise<TableState> {
    for (;;) {
      const [newest] = await checkpointKeys(this.#store, this.keys)
      if (newest === undefined) return EMPTY_TABLE
      const { object } = await this.#store.read(newest.key)
      if (object === undefined) continue
      return applied(EMPTY_TABLE, [decodeEntry(newest.number, object.body)])
    }
  }
}

/** Appends to a table's log. */
export class TableLog {
  readonly #store: ObjectStore
  readonly #reader: TableLogReader
  readonly #log: string
  readonly #stopping: AbortSignal

  /** @param log of the archive's log @param stopping when aborted, a failed request is not repeated */
  constructor(store: ObjectStore, keys: TableKeys, log: string, stopping: AbortSignal) {
    this.#store = store
    this.#reader = new TableLogReader(store, keys)
    this.#log = log
    this.#stopping = stopping
  }

  get keys(): TableKeys {
    return this.#reader.keys
  }

  /** As it was read last. */
  get state(): TableState {
    return this.#reader.state
  }

  /** @throws StoreUnavailable; TableDamaged, also if the table is of another log */
  async refresh(): Promise<TableState> {
    const state = await this.#reader.refresh()
    assertOfLog(state, this.#log)
    return state
  }

  /**
   * Appends an entry.
   *
   * @param change called with the state that the entry follows, again if another writer was faster; undefined: append
   * nothing
   * @returns the state after the entry; undefined if `change` returned undefined
   * @throws StoreUnavailable if the entry was not appended, or it is not known whether it was; TableDamaged
   */
  async append(change: (state: TableState) => TableChange | undefined): Promise<TableState | undefined> {
    for (;;) {
      const state = await this.refresh()
      const content = change(state)
      if (content === undefined) return undefined
      const nonce = randomUUID()
      const number = state.number + 1
      const entry = { log: this.#log, number, nonce, at: Date.now(), ...content }
      await this.#create(number, encodeEntry(entry))
      const after = await this.#ownerOf(number)
      if (after.nonce !== nonce) continue
      const result = await this.refresh()
      if (number % CHECKPOINT_ENTRIES === 0) await this.#writeCheckpoint()
      return result
    }
  }

  /** Sends the same bytes until it is known that the number has an owner. */
  async #create(number: number, bytes: Buffer): Promise<void> {
    const backOff = new BackOff(RETRY_LIMITS)
    for (;;) {
      try {
        await this.#store.create(this.keys.entry(number), bytes)
        return
      } catch (error) {
        if (!(error instanceof StoreUnavailable) || this.#stopping.aborted) throw error
        await backOff.pause(this.#stopping)
      }
    }
  }

  async #ownerOf(number: number): Promise<TableEntry> {
    const { object } = await this.#store.read(this.keys.entry(number))
    if (object === undefined)
      throw new StoreUnavailable(`Entry ${number} of the table's log existed a moment ago, but is gone now.`)
    return decodeEntry(number, object.body)
  }

  /** Each writer of a checkpoint writes the same state. One that is not written is no loss. */
  async #writeCheckpoint(): Promise<void> {
    const { state } = this.#reader
    await this.#store.replace(this.keys.checkpoint(state.number), encodeEntry(entryOf(state)))
    const old = (await checkpointKeys(this.#store, this.keys)).slice(CHECKPOINTS_KEPT)
    await this.#store.remove(old.map(({ key }) => key))
  }
}

/** @param log the id of the archive's log @throws TableDamaged if the table is of another one */
export function assertOfLog(table: TableState, log: string | undefined): void {
  if (table.log === undefined || table.log === log) return
  throw new TableDamaged(
    'The table belongs to another log of this archive. Remove table/ and _frequency/table/ below its prefix, and compact again.',
  )
}

/** One entry that stands for all entries up to this state. */
function entryOf(state: TableState): Omit<TableEntry, 'version'> {
  return {
    log: state.log as string,
    number: state.number,
    nonce: 'checkpoint',
    at: Date.now(),
    added: [...state.files.values()],
    compacted: Array.from(state.compactedThrough, ([hour, through]) => ({ hour, through })),
    coveredThrough: state.coveredThrough,
    erasures: state.erasures,
    oldPaths: [...state.oldPaths],
    columns: [...state.columns],
  }
}

/** Newest first. */
async function checkpointKeys(
  store: Pick<StoreReader, 'list'>,
  { checkpoints }: TableKeys,
): Promise<{ key: string; number: number }[]> {
  const found: { key: string; number: number }[] = []
  for await (const key of store.list(checkpoints)) {
    const number = numberIn(checkpoints, key)
    if (number !== undefined) found.push({ key, number })
  }
  return found.toReversed()
}
