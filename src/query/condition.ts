/**
 * Checks the text of `--where`: it must be one condition on one event.
 *
 * DuckDB parses it behind WHERE twice, with and without parentheses around it. Both trees must have the same condition,
 * and nothing besides. So a text cannot end the condition early, and add a UNION, a LIMIT or a comment.
 */

import { QueryFailed } from '../errors.ts'
import { quoted } from '../query/table-sql.ts'
import { hintOf } from './error-hint.ts'

interface Parsed {
  readonly error: boolean
  readonly error_message?: string
  readonly statements?: readonly { readonly node: Record<string, unknown> }[]
}

/**
 * @param ask runs a query, and returns the text in its only row
 * @throws QueryFailed that says what is wrong with the condition
 */
export async function assertCondition(
  where: string,
  ask: (sql: string) => Promise<string | null | undefined>,
): Promise<void> {
  const parsed = async (condition: string): Promise<[condition: string, rest: string]> => {
    const sql = `select 1 from events where ${condition}`
    const { error, error_message, statements } = JSON.parse(
      String(await ask(`select json_serialize_sql(${quoted(sql)})`)),
    ) as Parsed
    if (error) throw refused(String(error_message))
    if (statements?.length !== 1) throw refused('it has several statements')
    const { where_clause, ...rest } = withoutLocations(statements[0]?.node) as Record<string, unknown>
    return [JSON.stringify(where_clause), JSON.stringify(rest)]
  }
  if (where.includes('\0')) throw refused('it has a NUL character')
  const [, plain] = await parsed('(true)')
  const [condition, rest] = await parsed(`(\n${where}\n)`)
  const [bare, bareRest] = await parsed(`\n${where}\n`)
  if (condition !== bare || rest !== plain || bareRest !== plain) throw refused('it is not one condition')
  if (/"class":"SUBQUERY"/.test(condition))
    throw refused('it has a SELECT, which would see only a part of the archive')
  await ask(`select 1 from events where (\n${where}\n) limit 0`).catch((error: Error) => {
    throw refused(wordsOf(error))
  })
}

/** The error of a query with the condition, in words about the condition. Other errors stay. */
export function conditionError(error: unknown): unknown {
  if (!(error instanceof QueryFailed) || !/^\w+ Error: /.test(error.message)) return error
  return new QueryFailed(`--where: ${wordsOf(error)}`, { cause: error })
}

/** DuckDB's own words, without the lines that show a place in our SQL; then what to write instead. */
function wordsOf({ message }: Error): string {
  const words = String(message.split('\n\nLINE', 1)[0]).replaceAll('\n', ' ').replace(/[.!]$/, '')
  const hint = hintOf(message)
  return `${words}.${hint === undefined ? '' : ` ${hint}`}`
}

function refused(problem: string): Error {
  return new QueryFailed(
    `--where must be a condition in SQL, like "event = 'signed_up' and user_id is not null": ${problem.replace(/[.!]?$/, '.')}`,
  )
}

/** A tree without the offsets in the text. */
function withoutLocations(tree: unknown): unknown {
  return JSON.parse(JSON.stringify(tree), (name, value) => (name === 'query_location' ? undefined : value))
}
