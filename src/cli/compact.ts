import { availableParallelism } from 'node:os'
import { type CompactionReport, Compactor } from '../compact/compactor.ts'
import { parseTableColumns } from '../compact/typed-columns.ts'
import type { Config } from '../config/config.ts'
import { MIB } from '../config/setting-types.ts'
import { QueryCache } from '../query/query-cache.ts'
import type { ObjectStore } from '../store/store.ts'
import { hourOf } from '../table/table-keys.ts'
import { EXIT_CODES } from './exit-codes.ts'
import { interruptible } from './interruptible.ts'
import { cacheDirectoryOf, spillBytesMax } from './local-work.ts'
import { withExisting } from './open-existing.ts'
import { compactSettings, readOwnConfig, type SettingFlags } from './own-settings.ts'
import { showProgress } from './progress-line.ts'
import { publisherOf } from './publish.ts'
import { grouped, many } from './verify/report.ts'

/** An hour is over this long after its end and the longest age of a batch. What comes later goes into a further file. */
const SETTLED_MS = 60_000
/** A time further ahead is wrong. Its hour does not wait until it is over. */
const HOURS_AHEAD_MAX = 24

export interface CompactFlags extends SettingFlags {
  readonly includeOpen?: boolean
  readonly json?: boolean
  readonly progress: boolean
}

/**
 * Puts the events of hours that are over into the table.
 *
 * @returns the exit code
 */
export function compact(flags: CompactFlags, env: NodeJS.ProcessEnv): Promise<number> {
  return interruptible(async stopping => {
    const config = readOwnConfig(compactSettings, flags, env)
    const report = await withExisting(config, store => run(store, config, flags, stopping))
    process.stdout.write(flags.json ? `${JSON.stringify(report)}\n` : `${inWords(report)}\n`)
    return report.failed === 0 ? EXIT_CODES.done : EXIT_CODES.failed
  })
}

async function run(
  store: ObjectStore,
  config: Config,
  flags: CompactFlags,
  stopping: AbortSignal,
): Promise<CompactionReport> {
  const columns = parseTableColumns(config.tableColumns)
  const cache = await QueryCache.open(cacheDirectoryOf(config), config.queryCacheBytesMax)
  const compactor = new Compactor({
    store,
    prefix: config.archive.prefix,
    cache,
    spillBytesMax: spillBytesMax(config),
    threads: availableParallelism(),
    columns,
    stopping,
    publish: publisherOf(store, config),
  })
  const stopProgress = showProgress(flags.progress, () => {
    const { files, events } = compactor.report
    return `${files} of ${compactor.planned} files  ${grouped(events)} events`
  })
  try {
    const openHour = hourOf(Date.now() - config.batchAgeMsMax - SETTLED_MS)
    const isDue = (hour: number): boolean => hour < openHour || hour > openHour + HOURS_AHEAD_MAX
    return await compactor.run(hour => flags.includeOpen === true || isDue(hour))
  } finally {
    stopProgress()
    await cache.close()
  }
}

function inWords(report: CompactionReport): string {
  const { files, events, bytes, storedBytes, skipped, failed, reason, columns } = report
  const added =
    columns.length === 0
      ? ''
      : `New columns: ${columns.join(', ')}. Files that are written from now on have them.\n`
  const left =
    skipped === 0
      ? ''
      : ` ${many(skipped, 'file')} left for the next run: another process makes them, or their objects are not stored yet.`
  const wrong = failed === 0 ? '' : `\n${many(failed, 'file')} could not be made: ${reason}`
  if (files === 0 && failed > 0) return `${added}Nothing was added.${left}${wrong}`
  if (files === 0) return `${added}Nothing to add: the table has all hours that are over.${left}`
  const sizes = `${grouped(Math.ceil(bytes / MIB))} MiB, of ${grouped(Math.ceil(storedBytes / MIB))} MiB of objects`
  return `${added}Added ${many(files, 'file')} with ${many(events, 'event')}: ${sizes}.${left}${wrong}`
}
