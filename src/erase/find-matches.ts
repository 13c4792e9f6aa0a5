/** Finds the events that a condition chooses, by the view `events`. */

import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { IdSet } from '../dedupe/id-set.ts'
import { QueryFailed } from '../errors.ts'
import { identityOf } from '../event/message-id.ts'
import { assertCondition } from '../query/condition.ts'
import { matchesSql } from '../query/erase-sql.ts'
import type { QuerySession } from '../query/query-session.ts'

/** Of one erasure: their ids are in memory. */
const MATCHES_MAX = 20_000_000

export interface Matches {
  /** Identities (message-id.ts), each once. */
  readonly ids: IdSet
  /** `receivedAt` of the events, ascending; milliseconds since 1970. */
  readonly times: readonly number[]
  /** Events without a time. */
  readonly untimed: number
  /** A Parquet file with their `message_id` and `source`. */
  readonly parquet: string
}

interface Row {
  readonly message_id: string
  readonly source: string | null
  readonly received_ms: number | null
  readonly raw: string | null
}

/** @throws QueryFailed in DuckDB's words, or if there are too many */
export async function findMatches(session: QuerySession, where: string): Promise<Matches> {
  await assertCondition(where, async sql => (await session.query(sql, 1)).answer?.rows[0]?.[0])
  const sql = matchesSql(where)
  const parquet = await session.write(sql, 'parquet')
  const lines = createInterface({ input: createReadStream(await session.write(sql, 'ndjson')) })
  const ids = new IdSet()
  const times: number[] = []
  let untimed = 0
  for await (const line of lines) {
    const row = JSON.parse(line) as Row
    ids.add(identityOfRow(row))
    if (row.received_ms === null) untimed++
    else times.push(row.received_ms)
    if (ids.size > MATCHES_MAX)
      throw new QueryFailed(
        `More than ${MATCHES_MAX} events match: erase them in parts, by a condition on received_at.`,
      )
  }
  return { ids, times: times.sort((a, b) => a - b), untimed, parquet }
}

/** The column `source` is a text, whatever the member was. */
function identityOfRow({ message_id: messageId, source, raw }: Row): Buffer {
  const sent = raw === null ? source : (JSON.parse(raw) as { readonly source?: unknown }).source
  return identityOf({ messageId, source: sent }) as Buffer
}
