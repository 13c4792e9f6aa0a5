/**
 * What a process has counted in all its lives, kept in `DATA_DIR/ledger/<number>/book.json`. It is written
 * a second after something was counted, and when the process ends in order; so of a process that is
 * killed the last second is missing, and the book says how often that was so.
 *
 * A process takes the first book that no other process has, and goes on counting in it. All books of a
 * DATA_DIR can be read by each of its processes, whoever writes them.
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
const BOOKS_MAX = 64
const FILE = 'book.json'

const count = (description: string) => Type.Integer({ minimum: 0, description })

export const countsSchema = Type.Object({
  accepted: count('Events that became durable, and were answered with 200.'),
  unconfirmed: count('Events in messages whose confirm did not come, which may be on the queue twice.'),
  settled: count('Events of ours that were acknowledged to the queue, because they are in the archive.'),
  settledForeign: count('The same of messages that other programs published.'),
  archived: count('Events in objects that were stored.'),
  dead: count('Messages that went to the dead letters.'),
})

export type Counts = Static<typeof countsSchema>

export const ledgerEntrySchema = Type.Object({
  id: Type.String(),
  begunAt: Type.String({ description: 'ISO 8601: what was before is not counted.' }),
  savedAt: Type.String({ description: 'ISO 8601.' }),
  found: count('Events that were in the queue on disk when the book was begun.'),
  kills: count('How often its process ended without a shutdown.'),
  isClosed: Type.Boolean({ description: 'Whether its process has ended in order.' }),
  counts: countsSchema,
})

export type LedgerEntryContent = Static<typeof ledgerEntrySchema>

let bookCheck: TypeCheck<typeof ledgerEntrySchema> | undefined

const NOTHING: Counts = { accepted: 0, unconfirmed: 0, settled: 0, settledForeign: 0, archived: 0, dead: 0 }

export interface LedgerEntryOptions {
  /** Holds the books of a DATA_DIR. */
  readonly path: string
  readonly log: Logger
  /** What this life of the process has counted so far. */
  readonly counted: () => Counts
  /** Events that are in the queue on disk now, before anything was counted. */
  readonly found: number
}

export class LedgerEntry {
  readonly #options: LedgerEntryOptions
  readonly #directory: string
  readonly #lock: DirectoryLock
  /** Its counts are those of all earlier lives. */
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

  /** As it is now. */
  get content(): LedgerEntryContent {
    const now = this.#options.counted()
    const { counts } = this.#before
    const sum = Object.fromEntries(
      Object.keys(NOTHING).map(name => [name, counts[name as keyof Counts] + now[name as keyof Counts]]),
    ) as Counts
    return { ...this.#before, savedAt: new Date().toISOString(), counts: sum }
  }

  /** All books beside it, and itself as it is now. */
  async all(): Promise<LedgerEntryContent[]> {
    const others: LedgerEntryContent[] = []
    for (const name of await readdir(this.#options.path)) {
      const directory = join(this.#options.path, name)
      if (directory === this.#directory) continue
      const content = await readBook(directory)
      if (content !== undefined) others.push(content)
    }
    return [this.content, ...others]
  }

  /** Resolves when what was counted is on disk, or cannot be written. */
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
      await writeBook(this.#directory, content)
      this.#saved = state
      this.#isFailing = false
    } catch (error) {
      // The next one is tried a second later; the log need not say so every second.
      if (!this.#isFailing)
        this.#options.log.warn({ err: error }, 'The ledger of this process cannot be written.')
      this.#isFailing = true
    }
  }
}

/** @throws ConfigInvalid where none can be opened or made. */
export async function openLedgerEntry(options: LedgerEntryOptions): Promise<LedgerEntry> {
  for (let number = 0; number < BOOKS_MAX; number++) {
    const directory = join(options.path, String(number))
    const lock = await lockOwnDirectory(directory)
    if (lock === undefined) continue
    const found = number === 0 ? options.found : 0
    const before = continued(await readBook(directory)) ?? begun(found)
    await writeBook(directory, { ...before, isClosed: false }).catch(error =>
      options.log.warn({ err: error }, 'The ledger of this process cannot be written.'),
    )
    return new LedgerEntry(options, directory, lock, before)
  }
  throw new ConfigInvalid(`DATA_DIR: more than ${BOOKS_MAX} processes count in ${options.path}.`)
}

function begun(found: number): LedgerEntryContent {
  const now = new Date().toISOString()
  return { id: randomUUID(), begunAt: now, savedAt: now, found, kills: 0, isClosed: false, counts: NOTHING }
}

function continued(book: LedgerEntryContent | undefined): LedgerEntryContent | undefined {
  if (book === undefined) return undefined
  return { ...book, isClosed: false, kills: book.kills + (book.isClosed ? 0 : 1) }
}

/** Undefined where there is none, or none that can be read. */
async function readBook(directory: string): Promise<LedgerEntryContent | undefined> {
  try {
    const content: unknown = JSON.parse(await readFile(join(directory, FILE), 'utf8'))
    bookCheck ??= TypeCompiler.Compile(ledgerEntrySchema)
    return bookCheck.Check(content) ? content : undefined
  } catch {
    return undefined
  }
}

async function writeBook(directory: string, content: LedgerEntryContent): Promise<void> {
  const incoming = join(directory, `${FILE}.incoming`)
  const file = await open(incoming, 'w')
  try {
    await file.writeFile(`${JSON.stringify(content, null, 2)}\n`)
    if (content.isClosed) await file.sync()
  } finally {
    await file.close()
  }
  await rename(incoming, join(directory, FILE))
}
