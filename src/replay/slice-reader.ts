import { copyFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { QueryFailed } from '../errors.ts'
import { assertCondition, conditionError } from '../query/condition.ts'
import { IS_ERASED } from '../query/erase-sql.ts'
import { EVENT_JSON } from '../query/event-json.ts'
import type { ArchiveSources } from '../query/event-sources.ts'
import { QuerySession } from '../query/query-session.ts'
import type { QuerySettings } from '../query/session-settings.ts'
import type { StoreReader } from '../store/store.ts'
import type { Slice } from './slices.ts'

export interface SliceReaderParts {
  readonly store: StoreReader
  readonly settings: QuerySettings
  /** All that is replayed, and what is around it. */
  readonly sources: ArchiveSources
  readonly where: string | undefined
  /** For the files of slices. */
  readonly directory: string
}

/** The events of a slice on disk: one a line, in their order. */
export interface SliceFile {
  readonly path: string
  readonly lines: number
  /** Events of the slice before `--where`. */
  readonly events: number
}

/** Makes files of slices. Each call has an engine of its own, which ends with the call. */
export class SliceReader {
  readonly #parts: SliceReaderParts
  #session: QuerySession | undefined
  #isStopped = false
  #isChecked = false
  #nextFile = 0

  constructor(parts: SliceReaderParts) {
    this.#parts = parts
  }

  /** Writes the events of a slice into a file, which is the caller's. @throws QueryFailed, StoreUnavailable */
  async file(slice: Slice): Promise<SliceFile> {
    return await this.#with(slice, async session => {
      const events = await countOf(session, conditionOf(slice, undefined))
      const { path: made, lines } = await session.writeLines(linesSql(slice, this.#parts.where))
      const path = join(this.#parts.directory, `slice-${this.#nextFile++}.ndjson`)
      await move(made, path)
      return { path, lines, events }
    })
  }

  /** Counts the events of a slice. */
  async count(slice: Slice): Promise<number> {
    return await this.#with(slice, session => countOf(session, conditionOf(slice, this.#parts.where)))
  }

  /** Stops what runs, and all later calls: they are rejected. */
  stop(): void {
    this.#isStopped = true
    this.#session?.stop()
  }

  async #with<T>({ since, until }: Slice, work: (session: QuerySession) => Promise<T>): Promise<T> {
    const { store, settings, sources, where } = this.#parts
    const session = await QuerySession.open(store, settings, { since, until }, sources)
    this.#session = session
    try {
      if (this.#isStopped) session.stop()
      await session.ready()
      if (where !== undefined && !this.#isChecked) {
        await assertCondition(where, async sql => (await session.query(sql, 1)).answer?.rows[0]?.[0])
        this.#isChecked = true
      }
      return await work(session)
    } catch (error) {
      throw where === undefined ? error : conditionError(error)
    } finally {
      this.#session = undefined
      await session.close()
    }
  }
}

async function move(from: string, to: string): Promise<void> {
  try {
    await rename(from, to)
  } catch (error) {
    // `--checkpoint` may name another disk.
    if ((error as NodeJS.ErrnoException).code !== 'EXDEV') throw error
    await copyFile(from, to)
  }
}

function conditionOf({ isUntimed }: Slice, where: string | undefined): string {
  const conditions = [
    `received_at is ${isUntimed ? '' : 'not '}null and not ${IS_ERASED}`,
    ...(where === undefined ? [] : [`(\n${where}\n)`]),
  ]
  return conditions.join(' and ')
}

/**
 * The order is the same in each run: events of one moment are in the order of their ids, and events with one id (of two
 * sources) in that of a hash. Comparing the lines themselves takes as long as all the rest.
 */
function linesSql(slice: Slice, where: string | undefined): string {
  return `select line from (
    select received_at, message_id, ${EVENT_JSON} as line from events where ${conditionOf(slice, where)}
  ) order by received_at, message_id, hash(line)`
}

async function countOf(session: QuerySession, condition: string): Promise<number> {
  return Number(await textOf(session, `select count(*) from events where ${condition}`))
}

async function textOf(session: QuerySession, sql: string): Promise<string | undefined> {
  const { answer } = await session.query(sql, 1)
  const text = answer?.rows[0]?.[0]
  if (text === undefined || text === null) throw new QueryFailed('The query engine gave no answer.')
  return text
}
