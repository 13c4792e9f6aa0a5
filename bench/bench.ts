/**
 * Measures frequency and the programs that could replace it: see README.md, and `--help`.
 *
 *     npm run bench
 *     npm run bench -- --rows=confirmed --rounds=3
 *
 * Exits with 1 if a count is wrong or something fails. Slow results exit with 0.
 */
import { type BenchOptions, type RowName, readOptions } from './options.ts'
import { progress } from './progress.ts'
import { archive } from './rows/archive.ts'
import { batch } from './rows/batch.ts'
import { beside } from './rows/beside.ts'
import { confirmed } from './rows/confirmed.ts'
import { day } from './rows/day.ts'
import { embedded } from './rows/embedded.ts'
import { erase } from './rows/erase.ts'
import { far } from './rows/far.ts'
import { flat } from './rows/flat.ts'
import { ids } from './rows/ids.ts'
import { lake } from './rows/lake.ts'
import { latency } from './rows/latency.ts'
import { replay } from './rows/replay.ts'
import { rest } from './rows/rest.ts'
import { spread } from './rows/spread.ts'
import { start } from './rows/start.ts'
import { takeover } from './rows/takeover.ts'
import { window } from './rows/window.ts'
import { Site } from './site.ts'
import { type RowResult, table } from './table.ts'

type Run = (site: Site) => Promise<RowResult | RowResult[]>

/** Returns the runs of a row: one, or one for each kind of ids. */
function runsOf(row: RowName, options: BenchOptions): Run[] {
  switch (row) {
    case 'confirmed':
      return options.ids.map(each => site => confirmed(site, each))
    case 'embedded':
      return options.ids.map(each => site => embedded(site, each))
    case 'batch':
      // The row `confirmed` measures mixed ids already.
      return options.ids.flatMap(each => (each === 'mixed' ? [] : [site => batch(site, each)]))
    case 'archive':
      return options.ids.map(each => site => archive(site, each))
    default:
      return [SINGLE[row]]
  }
}

const SINGLE: Record<Exclude<RowName, 'confirmed' | 'embedded' | 'batch' | 'archive'>, Run> = {
  latency,
  start,
  ids,
  window,
  takeover,
  spread,
  far,
  rest,
  lake,
  beside,
  day,
  replay,
  erase,
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
      for (const run of runsOf(row, options)) {
        progress(`Row: ${row}`)
        results.push(...[await run(site)].flat())
      }
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
