import { availableParallelism } from 'node:os'
import { type CompactionReport, Compactor } from '../compact/compactor.ts'
import { parseTableColumns } from '../compact/typed-columns.ts'
import type { Config } from '../config/config.ts'
import { MIB } from '../config/setting-types.ts'
import { QueryCache } from '../query/query-cache.ts'
import type { ObjectStore } from '../store/store.ts'
import { hourOf } from '../table/table-keys.ts'
import { EXIT_CODES, interruptible } from './interruptible.ts'
import { cacheDirectoryOf, spillBytesMax } from './local-work.ts'
import { openExisting } from './open-existing.ts'
import { compactSettings, readOwnConfig, type SettingFlags } from './own-settings.ts'
import { publisherOf } from './publish.ts'
import { grouped, many } from './verify/report.ts'

/** An hour is over this long after its end and the longest age of a batch. What comes later goes into a further file. */
const SETTLED_MS = 60_000
/** A time further ahead is wrong. Its hour does not wait until it is over. */
const HOURS_AHEAD_MAX = 24
const PROGRESS_MS = 200

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
    const report = await withStore(config, store => run(store, config, flags, stopping))
    process.stdout.write(flags.json ? `${JSON.stringify(report)}\n` : `${inWords(report)}\n`)
    return report.failed === 0 ? EXIT_CODES.done : EXIT_CODES.failed
  })
}

async function withStore<T>(config: Config, work: (store: ObjectStore) => Promise<T>): Promise<T> {
  const store = await openExisting(config)
  try {
    return await work(store)
  } finally {
    await store.close()
  }
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
  const stopProgress = showProgress(compactor, flags.progress && process.stderr.isTTY)
  try {
    const openHour = hourOf(Date.now() - config.batchAgeMsMax - SETTLED_MS)
    const isDue = (hour: number): boolean => hour < openHour || hour > openHour + HOURS_AHEAD_MAX
    return await compactor.run(hour => flags.includeOpen === true || isDue(hour))
  } finally {
    stopProgress()
    await cache.close()
  }
}

function showProgress(compactor: Compactor, isShown: boolean): () => void {
  if (!isShown) return () => {}
  const timer = setInterval(() => {
    const { files, events } = compactor.report
    process.stderr.write(`\r\u001b[K${files} of ${compactor.planned} files  ${grouped(events)} events`)
  }, PROGRESS_MS)
  return () => {
    clearInterval(timer)
    process.stderr.write('\r\u001b[K')
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
