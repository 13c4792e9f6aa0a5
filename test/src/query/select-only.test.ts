import { DuckDBInstance } from '@duckdb/node-api'
import t from 'tap'
import { assertSelect } from '../../../src/query/select-only.ts'

/** Conditions that DuckDB reads otherwise than people do. All columns of JSON are NULL, so it finds no error. */
const LOOSE = [
  "user_id = '42' and context->>'ip' is null",
  "user_id = '42' and context->'ip' is null",
  "user_id = 'xyz' or context->>'ip' = '1.2.3.4'",
  "user_id = '42' and context->>'ip' is distinct from 'x'",
  "not context->>'ip' = 'x'",
  "context->'ip' is null",
  "context->'ip' = '1'",
  "event like 'a%' and context->>'ip' is null",
  "event like context->>'name'",
  "event in ('a') and context->>'ip' in ('x')",
  "event between 'a' and context->>'name'",
  "lower(event = 'a' and context->>'ip') = 'x'",
]

const TIGHT = [
  "user_id = '42' and (context->>'ip') is null",
  "(context->'ip') is null and not (context->>'ip') = 'x'",
  "context->>'ip' = 'x' and user_id = '42'",
  "coalesce(context, properties)->>'ip' = 'x'",
  'len(list_filter([1, 2], x -> x > 1 and x is not null)) = 1',
  "lower(context->'page'->>'path') = 'x'",
]

t.test('an arrow that takes a truth value for JSON is refused', async t => {
  const connection = await (await DuckDBInstance.create(':memory:')).connect()
  for (const where of LOOSE)
    for (const sql of [`from events where ${where}`, `select count(*) filter (where ${where}) from events`])
      await t.rejects(
        assertSelect(connection, sql),
        { message: /parentheses: \(properties->>'plan'\)/ },
        where,
      )
  for (const where of TIGHT) await t.resolves(assertSelect(connection, `from events where ${where}`), where)
})
