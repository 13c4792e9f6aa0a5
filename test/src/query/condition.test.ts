import { DuckDBInstance } from '@duckdb/node-api'
import { test } from 'tap'
import { assertCondition } from '../../../src/query/condition.ts'

const CONDITIONS = [
  "event = 'signed_up'",
  "event = 'a' or user_id is null -- a comment",
  "event = ') or (''' /* and more */",
  "(event, user_id) in (('a', 'b'))",
  'case when true then event end = $$a;b$$',
  "list_contains(['a'], events.event)",
]

/** Texts that would change the statement around them, or are no condition on one event. */
const REFUSED = [
  '',
  'true) or (true',
  'true) union all select 1 from events where (true',
  'true) limit (1',
  'true limit 1',
  'true order by event',
  'true group by event',
  'true qualify true',
  'true; select 1',
  'true); drop view events; select (1',
  '-- nothing',
  '/* open',
  "'open",
  '"open',
  '$$open',
  'true)--',
  'true, false',
  'event as e',
  '*',
  'count(*) > 1',
  'row_number() over () = 1',
  'user_id in (select user_id from events)',
  'exists (from events)',
  'no_column = 1',
  'true\0',
  '(with x as (select 1) select true)',
]

test('one condition is let through, and nothing else', async t => {
  const connection = await (await DuckDBInstance.create(':memory:')).connect()
  await connection.run("create view events as select 'a' as event, 'b' as user_id")
  const ask = async (sql: string): Promise<string> =>
    String((await connection.runAndReadAll(sql)).getRows()[0]?.[0])
  for (const where of CONDITIONS) await t.resolves(assertCondition(where, ask), where)
  for (const where of REFUSED)
    await t.rejects(assertCondition(where, ask), { message: /^--where must be a condition/ }, where)
  t.equal(await ask('select count(*) from events'), '1')
})
