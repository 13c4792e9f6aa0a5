/**
 * Measures frequency beside the programs that one would write instead: see README.md, and `--help`.
 *
 *     npm run bench
 *     npm run bench -- --rows=confirmed --rounds=3
 *
 * Exits with 0 however slow anything is, and with 1 where something does not work.
 */
import { type RowName, readOptions } from './options.ts'
import { progress } from './progress.ts'
import { archive } from './rows/archive.ts'
import { batch } from './rows/batch.ts'
import { confirmed } from './rows/confirmed.ts'
import { embedded } from './rows/embedded.ts'
import { flat } from './rows/flat.ts'
import { latency } from './rows/latency.ts'
import { start } from './rows/start.ts'
import { Site } from './site.ts'
import { type RowResult, table } from './table.ts'

const RUN: Record<RowName, (site: Site) => Promise<RowResult>> = {
  confirmed,
  embedded,
  latency,
  batch,
  archive,
  start,
  flat,
}

async function main(args: readonly string[]): Promise<boolean> {
  const options = readOptions(args)
  if (options === undefined) return true
  progress('Building, and starting RabbitMQ')
  const site = await Site.open(options)
  const results: RowResult[] = []
  try {
    for (const row of options.rows) {
      progress(`Row: ${row}`)
      results.push(await RUN[row](site))
    }
  } finally {
    if (results.length > 0) process.stdout.write(table(results))
    await site.close()
  }
  return results.every(({ lines }) => lines.every(({ flaws }) => flaws.length === 0))
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))
try {
  process.exitCode = (await main(process.argv.slice(2))) ? 0 : 1
} catch (error) {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : error}\n`)
  process.exitCode = 1
}
