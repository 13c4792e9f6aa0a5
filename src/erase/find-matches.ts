/** Finds the events that a condition chooses, by the view `events`. */

import { createReadStream, createWriteStream } from 'node:fs'
import { rm } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { IdSet } from '../dedupe/id-set.ts'
import { QueryFailed } from '../errors.ts'
import { identityOf } from '../event/message-id.ts'
import { assertCondition, conditionError } from '../query/condition.ts'
import type { Engine } from '../query/engine.ts'
import { matchesSql } from '../query/erase-sql.ts'
import type { QuerySession } from '../query/query-session.ts'
import { isErasedLine } from './rewrite-object.ts'

/** Of one erasure: their ids and times are in memory, up to 60 bytes each. */
const MATCHES_MAX = 5_000_000
const CHUNK_CHARS = 64 * 1024
const TIMES_MIN = 1024

export interface Matches {
  /** Identities (message-id.ts), each once. */
  readonly ids: IdSet
  /** Rows of the view: an archive may have several events with one identity. */
  readonly rows: number
  /** `receivedAt` of the events, ascending; milliseconds since 1970. */
  readonly times: Float64Array
  /** Events without a time. */
  readonly untimed: number
  /** Events without an id that is a text. They cannot be erased: the log does not know them. */
  readonly withoutId: number
  /** Some of their different values of `user_id`. */
  readonly users: readonly string[]
  /** A Parquet file with their `message_id` and `source`. */
  readonly parquet: string
}

interface Row {
  readonly message_id: string | null
  readonly source: string | null
  readonly received_ms: number | null
  /** The line, if the columns do not say all of it. */
  readonly raw: string | null
}

/** At most `max` different values of `user_id` of the events that a condition chooses. */
async function usersIn(session: QuerySession, where: string, max: number): Promise<string[]> {
  const sql = `select distinct user_id from events where (\n${where}\n) and user_id is not null order by 1`
  const { answer } = await session.query(sql, max)
  return answer?.rows.map(([user]) => String(user)) ?? []
}

/**
 * @param usersMax how many different users are looked up
 * @throws QueryFailed in DuckDB's words, or if there are too many
 */
export async function findMatches(
  session: QuerySession,
  where: string,
  engine: () => Promise<Engine>,
  usersMax: number,
): Promise<Matches> {
  await assertCondition(where, async sql => (await session.query(sql, 1)).answer?.rows[0]?.[0])
  const answer = await session.write(matchesSql(where), 'ndjson').catch(error => {
    throw conditionError(error)
  })
  const users = usersMax === 0 ? [] : await usersIn(session, where, usersMax)
  await session.rest()
  const collected = new Collected()
  const ids = session.files.temporaryPath('ids')
  await pipeline(Readable.from(collected.take(answer)), createWriteStream(ids, { mode: 0o644 }))
  const parquet = session.files.temporaryPath('parquet')
  await (await engine()).run({ kind: 'ids', rows: ids, parquet })
  await Promise.all([rm(answer), rm(ids)])
  return { ...collected.end(), users, parquet }
}

class Collected {
  readonly #ids = new IdSet()
  #times = new Float64Array(TIMES_MIN)
  #timed = 0
  #rows = 0
  #withoutId = 0

  /** Yields the rows that have an identity: their columns `message_id` and `source`, and whether the source stays. */
  async *take(path: string): AsyncIterable<string> {
    let text = ''
    for await (const line of createInterface({ input: createReadStream(path) })) {
      const row = JSON.parse(line) as Row
      if (row.raw !== null && isErasedLine(row.raw)) continue
      // The columns have texts, whatever the members were.
      const sent = row.raw === null ? undefined : (JSON.parse(row.raw) as Record<string, unknown>)
      const source = sent === undefined ? row.source : sent.source
      const id = identityOf({ messageId: sent === undefined ? row.message_id : sent.messageId, source })
      if (id === undefined) {
        this.#withoutId++
        continue
      }
      this.#add(id, row.received_ms)
      const keepsSource = sent === undefined || typeof source === 'string'
      text += `${JSON.stringify({ message_id: row.message_id, source: row.source, keeps_source: keepsSource })}\n`
      if (text.length < CHUNK_CHARS) continue
      yield text
      text = ''
    }
    yield text
  }

  end(): Omit<Matches, 'parquet' | 'users'> {
    const times = this.#times.slice(0, this.#timed).sort()
    const untimed = this.#rows - this.#timed
    return { ids: this.#ids, rows: this.#rows, times, untimed, withoutId: this.#withoutId }
  }

  #add(id: Buffer, receivedMs: number | null): void {
    this.#ids.add(id)
    this.#rows++
    if (this.#rows > MATCHES_MAX)
      throw new QueryFailed(
        `More than ${MATCHES_MAX} events match. Erase them in parts, by a condition on received_at.`,
      )
    if (receivedMs === null) return
    if (this.#timed === this.#times.length) {
      const more = new Float64Array(2 * this.#timed)
      more.set(this.#times)
      this.#times = more
    }
    this.#times[this.#timed++] = receivedMs
  }
}
