/**
 * Erases a user by hand, as a script that knows where the events are: it rewrites these objects, then these files of the
 * table by DuckDB. Prints the milliseconds from its start to the end of the objects.
 */
import { readFile, rename, writeFile } from 'node:fs/promises'
import { gunzipSync, gzipSync } from 'node:zlib'
import { DuckDBInstance } from '@duckdb/node-api'

const GZIP_LEVEL = 1
const EMPTIED =
  'event, type, user_id, anonymous_id, timestamp, channel, properties, context, traits, raw'.split(', ')

const [plan = ''] = process.argv.slice(2)
const { user, objects, files } = JSON.parse(await readFile(plan, 'utf8')) as {
  readonly user: string
  /** Paths. */
  readonly objects: readonly string[]
  readonly files: readonly string[]
}

for (const path of objects) {
  const lines = gunzipSync(await readFile(path))
    .toString()
    .split('\n')
  await replace(path, gzipSync(lines.map(erased).join('\n'), { level: GZIP_LEVEL }))
}
process.stdout.write(`${Math.round(performance.now())}\n`)

const connection = await (await DuckDBInstance.create(':memory:')).connect()
for (const path of files) {
  const isOf = `user_id = '${user}'`
  const columns = EMPTIED.map(name => `case when ${isOf} then null else ${name} end as ${name}`)
  const extra = `case when ${isOf} then '{"erased":true}' else extra end as extra`
  await connection.run(
    `copy (select * replace (${columns.join(', ')}, ${extra}) from read_parquet('${path}', hive_partitioning = false))
    to '${path}.new' (format parquet, compression zstd)`,
  )
  await rename(`${path}.new`, path)
}

function erased(line: string): string {
  if (line === '') return line
  const { user_id, messageId, receivedAt } = JSON.parse(line)
  return user_id === user ? JSON.stringify({ messageId, erased: true, receivedAt }) : line
}

async function replace(path: string, bytes: Buffer): Promise<void> {
  await writeFile(`${path}.new`, bytes)
  await rename(`${path}.new`, path)
}
