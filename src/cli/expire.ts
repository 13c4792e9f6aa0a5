import type { Config } from '../config/config.ts'
import { MIB } from '../config/setting-types.ts'
import { ConfigInvalid } from '../errors.ts'
import { Expirer, type ExpiryReport } from '../expire/expirer.ts'
import { createLogger } from '../process/logger.ts'
import type { ObjectStore } from '../store/store.ts'
import { isAgreed } from './agreement.ts'
import { EXIT_CODES } from './exit-codes.ts'
import { interruptible } from './interruptible.ts'
import { withExisting } from './open-existing.ts'
import { expireSettings, readOwnConfig, type SettingFlags } from './own-settings.ts'
import { showProgress } from './progress-line.ts'
import { publisherOf } from './publish.ts'
import { grouped, many } from './verify/report.ts'

const LISTED_MAX = 40

export interface ExpireFlags extends SettingFlags {
  readonly dryRun?: boolean
  readonly yes?: boolean
  readonly recordOnly?: boolean
  readonly json?: boolean
  readonly progress: boolean
}

/**
 * Removes days that are older than RETENTION, and objects that are older than RAW_RETENTION and in the table.
 *
 * @returns the exit code: 0 if all is done, or with `--dry-run`; 1 if the user does not agree
 */
export function expire(flags: ExpireFlags, env: NodeJS.ProcessEnv): Promise<number> {
  return interruptible(async stopping => {
    const config = readOwnConfig(expireSettings, flags, env)
    if (config.retention === undefined && config.rawRetention === undefined)
      throw new ConfigInvalid(
        'RETENTION and RAW_RETENTION are not set, so events stay for ever: frequency expire --retention=400d',
      )
    return await withExisting(config, store => expireIn(store, config, flags, stopping))
  })
}

async function expireIn(
  store: ObjectStore,
  config: Config,
  flags: ExpireFlags,
  stopping: AbortSignal,
): Promise<number> {
  const expirer = new Expirer({
    store,
    prefix: config.archive.prefix,
    retention: {
      retentionMs: config.retention,
      rawRetentionMs: config.rawRetention,
      dedupeWindowMs: config.dedupeWindowMs,
    },
    log: createLogger('silent', false),
    stopping,
    publish: publisherOf(store, config),
    isRecordOnly: flags.recordOnly === true,
  })
  if (flags.dryRun === true) {
    const plan = await expirer.plan()
    write(flags, store, plan, false)
    return EXIT_CODES.done
  }
  if (flags.yes !== true) {
    process.stdout.write(inWords(await expirer.plan(), 'will be removed'))
    if (!(await isAgreed(flags.json))) return EXIT_CODES.failed
  }
  const stopProgress = showProgress(flags.progress, () => {
    const { phase, objects, files } = expirer.progress
    return `${phase}: ${grouped(objects)} objects, ${grouped(files)} files removed`
  })
  const report = await expirer.run().finally(stopProgress)
  write(flags, store, report, true)
  return EXIT_CODES.done
}

function write(flags: ExpireFlags, { description }: ObjectStore, report: ExpiryReport, isDone: boolean) {
  const text = flags.json
    ? `${JSON.stringify({ archive: description, isDone, ...report })}\n`
    : inWords(report, isDone ? 'were removed' : 'would be removed') + (isDone ? '' : 'Nothing was changed.\n')
  process.stdout.write(text)
}

function inWords({ days, heldFrom, hasTable }: ExpiryReport, how: string): string {
  const sum = (size: (day: ExpiryReport['days'][number]) => number): number =>
    days.reduce((total, day) => total + size(day), 0)
  const listed = days.slice(0, LISTED_MAX).map(({ day, objects, events, bytes, files, rows, fileBytes }) => {
    const raw = `${many(objects, 'object')} (${many(events, 'event')}, ${mib(bytes)})`
    return `  ${day}  ${raw}, ${many(files, 'file')} of the table (${many(rows, 'event')}, ${mib(fileBytes)})`
  })
  const more = days.length > LISTED_MAX ? [`  … and ${many(days.length - LISTED_MAX, 'day')} more`] : []
  const total = `${many(
    sum(({ objects }) => objects),
    'object',
  )} (${mib(sum(({ bytes }) => bytes))}) and ${many(
    sum(({ files }) => files),
    'file',
  )} of the table (${mib(sum(({ fileBytes }) => fileBytes))})`
  const head = days.length === 0 ? 'Nothing has expired.' : `Of ${many(days.length, 'day')} ${total} ${how}:`
  return `${[head, ...listed, ...more, ...heldInWords(heldFrom, hasTable)].join('\n')}\n`
}

function heldInWords(heldFrom: string | undefined, hasTable: boolean): string[] {
  if (heldFrom === undefined) return []
  const reason = hasTable
    ? 'the table does not have all of their events. Run: frequency compact'
    : 'there is no table. RAW_RETENTION removes only what is in the table: set TABLE=on, or run "frequency compact"'
  return [`Objects from ${heldFrom} on are older than RAW_RETENTION and stay: ${reason}.`]
}

function mib(bytes: number): string {
  return `${grouped(Math.ceil(bytes / MIB))} MiB`
}
