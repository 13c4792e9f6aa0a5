/**
 * The counts of a process over all its restarts, in `DATA_DIR/ledger/<number>/book.json`. The file is written within a
 * second after a change, and on a clean exit. So the counts of the last second are lost if the process is killed; the
 * entry counts how often this happened (`kills`).
 *
 * A process locks the first entry that no other process has locked, and continues its counts. Each process of a
 * DATA_DIR can read all entries.
 */

import { randomUUID } from 'node:crypto'
import { open, readdir, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { type Static, Type } from '@sinclair/typebox'
import { type TypeCheck, TypeCompiler } from '@sinclair/typebox/compiler'
import { ConfigInvalid } from '../errors.ts'
import { type DirectoryLock, lockOwnDirectory } from '../process/directory-lock.ts'
import type { Logger } from '../process/logger.ts'

const SAVE_EVERY_MS = 1_000
const ENTRIES_MAX = 64
const FILE = 'book.json'

const count = (description: string) => Type.Integer({ minimum: 0, description })

export const countsSchema = Type.Object({
  accepted: count('Events that became durable and were answered with 200.'),
  unconfirmed: count('Events in messages without a publisher confirm: they may be on the queue twice.'),
  settled: count('Events of frequency that were acknowledged to the queue, because they are in the archive.'),
  settledForeign: count('Events of other programs that were acknowledged for the same reason.'),
  archived: count('Events in stored objects.'),
  suppressed: Type.Optional(
    count('Acknowledged events that were dropped, because their user is suppressed.'),
  ),
  dead: count('Messages that were dead-lettered.'),
})

export type Counts = Static<typeof countsSchema>

export const ledgerEntrySchema = Type.Object({
  id: Type.String(),
  begunAt: Type.String({ description: 'ISO 8601. Events before this time are not counted.' }),
  savedAt: Type.String({ description: 'ISO 8601.' }),
  found: count('Events that were in the queue on disk when counting began.'),
  kills: count('How often the process ended without a shutdown.'),
  isClosed: Type.Boolean({ description: 'Whether the process has ended with a shutdown.' }),
  counts: countsSchema,
})

export type LedgerEntryContent = Static<typeof ledgerEntrySchema>

let entryCheck: TypeCheck<typeof ledgerEntrySchema> | undefined

const NOTHING: Counts = {
  accepted: 0,
  unconfirmed: 0,
  settled: 0,
  settledForeign: 0,
  archived: 0,
  suppressed: 0,
  dead: 0,
}

export interface LedgerEntryOptions {
  /** The directory with the entries of a DATA_DIR. */
  readonly path: string
  readonly log: Logger
  /** Returns the counts since this process started. */
  readonly counted: () => Counts
  /** Events that are in the queue on disk now, before counting begins. */
  readonly found: number
}

export class LedgerEntry {
  readonly #options: LedgerEntryOptions
  readonly #directory: string
  readonly #lock: DirectoryLock
  /** The entry when this process started: its counts are those of the earlier processes. */
  readonly #before: LedgerEntryContent
  #saved: string
  #isFailing = false
  #saving: Promise<void> = Promise.resolve()
  readonly #timer: NodeJS.Timeout

  constructor(
    options: LedgerEntryOptions,
    directory: string,
    lock: DirectoryLock,
    before: LedgerEntryContent,
  ) {
    this.#options = options
    this.#directory = directory
    this.#lock = lock
    this.#before = before
    this.#saved = ''
    this.#timer = setInterval(() => this.#saveLater(false), SAVE_EVERY_MS).unref()
  }

  /** The entry with the current counts. */
  get content(): LedgerEntryContent {
    const now = this.#options.counted()
    const { counts } = this.#before
    const sum = Object.fromEntries(
      Object.keys(NOTHING).map(name => [
        name,
        (counts[name as keyof Counts] ?? 0) + (now[name as keyof Counts] ?? 0),
      ]),
    ) as Counts
    return { ...this.#before, savedAt: new Date().toISOString(), counts: sum }
  }

  /** All entries of the DATA_DIR: this one with its current counts first, the others as they are on disk. */
  async all(): Promise<LedgerEntryContent[]> {
    const others: LedgerEntryContent[] = []
    for (const name of await readdir(this.#options.path)) {
      const directory = join(this.#options.path, name)
      if (directory === this.#directory) continue
      const content = await readEntry(directory)
      if (content !== undefined) others.push(content)
    }
    return [this.content, ...others]
  }

  /** Resolves when the last counts are on disk, or when writing them has failed. */
  async close(): Promise<void> {
    clearInterval(this.#timer)
    this.#saveLater(true)
    await this.#saving
    await this.#lock.release()
  }

  #saveLater(isClosed: boolean): void {
    this.#saving = this.#saving.then(() => this.#save(isClosed))
  }

  async #save(isClosed: boolean): Promise<void> {
    const content = { ...this.content, isClosed }
    const state = JSON.stringify([content.counts, isClosed])
    if (state === this.#saved) return
    try {
      await writeEntry(this.#directory, content)
      this.#saved = state
      this.#isFailing = false
    } catch (error) {
      // Retried every second, but logged only once.
      if (!this.#isFailing)
        this.#options.log.warn({ err: error }, 'The ledger of this process cannot be written.')
      this.#isFailing = true
    }
  }
}

/** Opens the first entry that is not locked. @throws ConfigInvalid if 64 are locked, or a directory cannot be used */
export async function openLedgerEntry(options: LedgerEntryOptions): Promise<LedgerEntry> {
  for (let number = 0; number < ENTRIES_MAX; number++) {
    const directory = join(options.path, String(number))
    const lock = await lockOwnDirectory(directory)
    if (lock === undefined) continue
    const found = number === 0 ? options.found : 0
    const before = continued(await readEntry(directory)) ?? newEntry(found)
    await writeEntry(directory, { ...before, isClosed: false }).catch(error =>
      options.log.warn({ err: error }, 'The ledger of this process cannot be written.'),
    )
    return new LedgerEntry(options, directory, lock, before)
  }
  throw new ConfigInvalid(
    `DATA_DIR: ${ENTRIES_MAX} processes already use ${options.path}. Start this one with another DATA_DIR.`,
  )
}

function newEntry(found: number): LedgerEntryContent {
  const now = new Date().toISOString()
  return { id: randomUUID(), begunAt: now, savedAt: now, found, kills: 0, isClosed: false, counts: NOTHING }
}

function continued(entry: LedgerEntryContent | undefined): LedgerEntryContent | undefined {
  if (entry === undefined) return undefined
  return { ...entry, isClosed: false, kills: entry.kills + (entry.isClosed ? 0 : 1) }
}

/** The entry in a directory; undefined if there is no valid one. */
async function readEntry(directory: string): Promise<LedgerEntryContent | undefined> {
  try {
    const content: unknown = JSON.parse(await readFile(join(directory, FILE), 'utf8'))
    entryCheck ??= TypeCompiler.Compile(ledgerEntrySchema)
    return entryCheck.Check(content) ? content : undefined
  } catch {
    return undefined
  }
}

async function writeEntry(directory: string, content: LedgerEntryContent): Promise<void> {
  const temporary = join(directory, `${FILE}.incoming`)
  const file = await open(temporary, 'w')
  try {
    await file.writeFile(`${JSON.stringify(content, null, 2)}\n`)
    if (content.isClosed) await file.sync()
  } finally {
    await file.close()
  }
  await rename(temporary, join(directory, FILE))
}
