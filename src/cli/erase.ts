import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Config } from '../config/config.ts'
import { Eraser, type ErasurePlan } from '../erase/eraser.ts'
import type { AffectedFile } from '../erase/rewrite-files.ts'
import { ConfigInvalid } from '../errors.ts'
import { createLogger } from '../process/logger.ts'
import { openStore } from '../store/open-store.ts'
import type { ObjectStore } from '../store/store.ts'
import { isAgreed } from './agreement.ts'
import { EXIT_CODES, interruptible } from './interruptible.ts'
import { eraseSettings, readOwnConfig, type SettingFlags } from './own-settings.ts'
import { publisherOf } from './publish.ts'
import { sessionSettings } from './query.ts'
import { grouped, many } from './verify/report.ts'

const LISTED_MAX = 20
const PROGRESS_MS = 200

export interface EraseFlags extends SettingFlags {
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
}

/**
 * Erases the events that a condition chooses.
 *
 * @returns the exit code: 0 if all is done, or with `--dry-run`; 1 if the user does not agree
 */
export function erase(flags: EraseFlags, env: NodeJS.ProcessEnv): Promise<number> {
  return interruptible(async stopping => {
    const { where } = flags
    if (where === undefined || where.trim() === '')
      throw new ConfigInvalid(`--where is missing: frequency erase --where "user_id = '42'"`)
    const config = readOwnConfig(eraseSettings, flags, env)
    const store = await openStore(config)
    try {
      return await eraseIn(store, config, { ...flags, where }, stopping)
    } finally {
      await store.close()
    }
  })
}

async function eraseIn(
  store: ObjectStore,
  config: Config,
  flags: EraseFlags & { readonly where: string },
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
  const stopProgress = showProgress(eraser, flags.progress && process.stderr.isTTY)
  try {
    const plan = await eraser.plan(flags.where)
    stopProgress()
    if (flags.json !== true) process.stdout.write(planInWords(plan))
    const isWanted = flags.dryRun !== true && (flags.yes === true || (await isAgreed(flags.json)))
    if (!isWanted) {
      await write(flags, config, reportOf(store, startedAt, plan, plan.files, false))
      return flags.dryRun === true ? EXIT_CODES.done : EXIT_CODES.failed
    }
    const showing = showProgress(eraser, flags.progress && process.stderr.isTTY)
    const files = await eraser.erase(plan).finally(showing)
    await write(flags, config, reportOf(store, startedAt, plan, files, true))
    return EXIT_CODES.done
  } finally {
    stopProgress()
    await eraser.close()
  }
}

function reportOf(
  { description }: ObjectStore,
  startedAt: string,
  { events, objects }: ErasurePlan,
  files: readonly AffectedFile[],
  isDone: boolean,
): ErasureReport {
  return {
    archive: description,
    startedAt,
    endedAt: new Date().toISOString(),
    isDone,
    events,
    objects: objects.map(({ batch, events: count }) => ({ key: batch.key, events: count })),
    files: files.map(({ file, events: count }) => ({ key: file.key, events: count })),
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

function planInWords({ events, objects, files }: ErasurePlan): string {
  if (events === 0) return 'No event matches, or all that match are erased.\n'
  const lines = [
    ...objects.map(({ batch, events: count }) => `  ${batch.key}  (${many(count, 'event')})`),
    ...files.map(({ file, events: count }) => `  ${file.key}  (${many(count, 'event')})`),
  ]
  const more = lines.length > LISTED_MAX ? [`  … and ${grouped(lines.length - LISTED_MAX)} more`] : []
  const head = `${many(events, 'event')} will be erased, in ${many(objects.length, 'object')} and ${many(files.length, 'file')} of the table:`
  return `${[head, ...lines.slice(0, LISTED_MAX), ...more].join('\n')}\n`
}

function doneInWords({ events, objects, files }: ErasureReport): string {
  return `Erased ${many(events, 'event')}: ${many(objects.length, 'object')} and ${many(files.length, 'file')} of the table were rewritten.`
}

const UNREACHED = `Not reached: events that wait in the queue or in a spool, and dead letters ("frequency dead list" shows them); old
versions in a bucket that keeps versions; copies that others have made; caches of "frequency query" on other machines,
which drop what was erased at their next query. docs/erasure.md says what to do about each.
`

function showProgress(eraser: Eraser, isShown: boolean): () => void {
  if (!isShown) return () => {}
  const timer = setInterval(() => {
    const { phase, looked, rewritten } = eraser.progress
    const done =
      phase === 'finding' ? `${grouped(looked)} objects looked through` : `${grouped(rewritten)} rewritten`
    process.stderr.write(`\r\u001b[K${phase}: ${done}`)
  }, PROGRESS_MS)
  return () => {
    clearInterval(timer)
    process.stderr.write('\r\u001b[K')
  }
}
