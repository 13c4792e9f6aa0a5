import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Config } from '../config/config.ts'
import { Eraser, type ErasureDone, type ErasurePlan } from '../erase/eraser.ts'
import { ConfigInvalid } from '../errors.ts'
import { createLogger } from '../process/logger.ts'
import type { ObjectStore } from '../store/store.ts'
import type { SuppressedId } from '../suppression/suppression-list.ts'
import { isAgreed } from './agreement.ts'
import { EXIT_CODES } from './exit-codes.ts'
import { interruptible } from './interruptible.ts'
import { withExisting } from './open-existing.ts'
import { eraseSettings, readOwnConfig, type SettingFlags } from './own-settings.ts'
import { showProgress } from './progress-line.ts'
import { publisherOf } from './publish.ts'
import { sessionSettings } from './query.ts'
import { idsToSuppress, namedIds, type SuppressFlags, suppress, USERS_MAX, unsuppress } from './suppress.ts'
import { grouped, many } from './verify/report.ts'

const LISTED_MAX = 20

export interface EraseFlags extends SettingFlags, SuppressFlags {
  readonly where?: string
  readonly dryRun?: boolean
  readonly yes?: boolean
  readonly json?: boolean
  readonly report?: string
  readonly progress: boolean
}

/** What the report says: counts, keys and times, and not whom it was about. */
interface ErasureReport {
  readonly archive: string
  readonly startedAt: string
  readonly endedAt: string
  readonly isDone: boolean
  readonly events: number
  readonly objects: readonly { readonly key: string; readonly events: number }[]
  readonly files: readonly { readonly key: string; readonly events: number }[]
  /** Events that match and have no id. They were not erased. */
  readonly eventsWithoutId: number
  /** What archivers have staged in the last hour, and not archived. It was not looked through. */
  readonly staged?: number
}

/**
 * Erases the events that a condition chooses.
 *
 * @returns the exit code: 0 if all is done, or with `--dry-run`; 1 if the user does not agree, or events have no id
 */
export function erase(flags: EraseFlags, env: NodeJS.ProcessEnv): Promise<number> {
  return interruptible(async stopping => {
    const { where } = flags
    const ids = namedIds(flags)
    const hasWhere = where !== undefined && where.trim() !== ''
    if (!hasWhere && ids.length === 0)
      throw new ConfigInvalid(`--where is missing: frequency erase --where "user_id = '42'"`)
    const config = readOwnConfig(eraseSettings, flags, env)
    const work = async (store: ObjectStore): Promise<number> => {
      if (flags.unsuppress === true) return await say(unsuppress(store, config.archive.prefix, ids))
      if (!hasWhere) return await say(suppress(store, config.archive.prefix, ids))
      return await eraseIn(store, config, { ...flags, where }, ids, stopping)
    }
    return await withExisting(config, work, { mustBeUsed: hasWhere && flags.unsuppress !== true })
  })
}

async function say(done: Promise<string>): Promise<number> {
  process.stdout.write(await done)
  return EXIT_CODES.done
}

async function eraseIn(
  store: ObjectStore,
  config: Config,
  flags: EraseFlags & { readonly where: string },
  named: readonly SuppressedId[],
  stopping: AbortSignal,
): Promise<number> {
  const startedAt = new Date().toISOString()
  const eraser = await Eraser.open({
    store,
    settings: sessionSettings(config),
    log: createLogger('silent', false),
    stopping,
    publish: publisherOf(store, config),
  })
  const stopProgress = showProgress(flags.progress, () => progressOf(eraser))
  try {
    const plan = await eraser.plan(flags.where, flags.suppress === true ? USERS_MAX + 1 : 0)
    stopProgress()
    const ids = flags.suppress === true ? idsToSuppress(named, plan.matches.users) : []
    if (flags.json !== true) process.stdout.write(planInWords(plan) + suppressionInWords(ids))
    if (flags.dryRun === true || (plan.events === 0 && !plan.hasEarlier && ids.length === 0)) {
      await write(flags, config, reportOf(store, startedAt, plan))
      return plan.matches.withoutId > 0 ? EXIT_CODES.failed : EXIT_CODES.done
    }
    const isWanted =
      (plan.events === 0 && ids.length === 0) || flags.yes === true || (await isAgreed(flags.json, stopping))
    if (!isWanted) {
      await write(flags, config, reportOf(store, startedAt, plan))
      return EXIT_CODES.failed
    }
    // First: of what comes while objects are rewritten, less is left for the next erasure.
    if (ids.length > 0) await suppress(store, config.archive.prefix, ids)
    const stopErasing = showProgress(flags.progress, () => progressOf(eraser))
    const done = await eraser.erase(plan).finally(stopErasing)
    await write(flags, config, reportOf(store, startedAt, plan, done))
    return plan.matches.withoutId > 0 ? EXIT_CODES.failed : EXIT_CODES.done
  } finally {
    stopProgress()
    await eraser.close()
  }
}

function reportOf(
  { description }: ObjectStore,
  startedAt: string,
  { events, objects, files, matches }: ErasurePlan,
  done?: ErasureDone,
): ErasureReport {
  return {
    archive: description,
    startedAt,
    endedAt: new Date().toISOString(),
    isDone: done !== undefined,
    events,
    eventsWithoutId: matches.withoutId,
    objects: objects.map(({ batch, events: count }) => ({ key: batch.key, events: count })),
    files: (done?.files ?? files).map(({ file, events: count }) => ({ key: file.key, events: count })),
    ...(done !== undefined && { staged: done.staged }),
  }
}

/** Writes the report of what was done into a file, and says where it is. */
async function write(flags: EraseFlags, config: Config, report: ErasureReport): Promise<void> {
  const text = `${JSON.stringify(report, null, 2)}\n`
  if (flags.json) process.stdout.write(text)
  if (!report.isDone) {
    if (flags.json !== true) process.stdout.write('Nothing was changed.\n')
    return
  }
  const directory = join(config.dataDir, 'erasures')
  const path = flags.report ?? join(directory, `${report.endedAt.replace(/[:.]/g, '-')}.json`)
  if (flags.report === undefined) await mkdir(directory, { recursive: true })
  await writeFile(path, text)
  if (flags.json !== true) process.stdout.write(`${doneInWords(report)}\nReport: ${path}\n\n${UNREACHED}`)
}

function planInWords({ events, objects, files, matches, hasEarlier }: ErasurePlan): string {
  const { withoutId } = matches
  const unable =
    withoutId === 0
      ? ''
      : `${many(withoutId, 'event')} that match have no messageId. They cannot be erased: the log does not know them.\n`
  if (events === 0) {
    const earlier = hasEarlier
      ? 'If an earlier erasure was killed, a run without --dry-run completes it.\n'
      : ''
    return `No event matches, or all that match are erased.\n${earlier}${unable}`
  }
  const lines = [
    ...objects.map(({ batch, events: count }) => `  ${batch.key}  (${many(count, 'event')})`),
    ...files.map(({ file, events: count }) => `  ${file.key}  (${many(count, 'event')})`),
  ]
  const more = lines.length > LISTED_MAX ? [`  … and ${grouped(lines.length - LISTED_MAX)} more`] : []
  const head = `${many(events, 'event')} will be erased, in ${many(objects.length, 'object')} and ${many(files.length, 'file')} of the table:`
  return `${[head, ...lines.slice(0, LISTED_MAX), ...more].join('\n')}\n${unable}`
}

function suppressionInWords(ids: readonly SuppressedId[]): string {
  return ids.length === 0
    ? ''
    : `Servers drop events of ${many(ids.length, 'id')} from now on, within a minute. Run the same command again after that: it erases\nwhat came in between.\n`
}

function doneInWords({ events, objects, files, staged = 0 }: ErasureReport): string {
  const left =
    staged === 0
      ? ''
      : `\nArchivers have staged ${many(staged, 'object')} in the last hour that they have not archived. If one was killed, run this again in an hour.`
  return `Erased ${many(events, 'event')}: ${many(objects.length, 'object')} and ${many(files.length, 'file')} of the table were rewritten.${left}`
}

const UNREACHED = `Not reached: events that wait in the queue or in a spool, and dead letters ("frequency dead list" shows them); old
versions in a bucket that keeps versions; copies that others have made; caches of "frequency query" on other machines,
which drop what was erased at their next query. docs/erasure.md says what to do about each.
`

function progressOf({ progress: { phase, looked, rewritten } }: Eraser): string {
  const done =
    phase === 'finding' ? `${grouped(looked)} objects looked through` : `${grouped(rewritten)} rewritten`
  return `${phase}: ${done}`
}
