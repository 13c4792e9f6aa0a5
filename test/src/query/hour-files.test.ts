/** The statistics of a file of the table: readers of Iceberg leave out files by them. */
import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import t from 'tap'
import { statsOf } from '../../../src/query/hour-files.ts'
import { temporaryDirectory } from '../../helpers/helper.ts'

t.test('a column has no bounds if some row group has none', async t => {
  const connection = await (await DuckDBInstance.create(':memory:', { threads: '1' })).connect()
  t.teardown(() => connection.closeSync())
  const path = join(temporaryDirectory(t), 'a.parquet')
  // The first row group has a text of which DuckDB writes no bounds.
  await connection.run(`copy (
    select case i when 7 then repeat('é', 200) else 'm' end as event, 'id' || i as message_id,
      case when i < 2048 then null else make_timestamptz(i) end as received_at
    from range(3000) numbers(i)
  ) to '${path}' (format parquet, row_group_size 2048)`)
  const { event, message_id, received_at } = await statsOf(connection, path)
  t.strictSame(Object.keys(event ?? {}), ['bytes', 'nulls'])
  t.match(message_id, { min: 'id0', max: 'id999' })
  t.match(received_at, { min: 2048, max: 2999, nulls: 2048 }, 'a row group of NULLs has none to miss')
})
