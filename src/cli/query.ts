import { randomUUID } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { copyFile, readFile, rename, rm } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { text } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import type { Config } from '../config/config.ts'
import { GIB, MIB } from '../config/setting-types.ts'
import { ConfigInvalid, QueryFailed } from '../errors.ts'
import type { OutputFormat } from '../query/engine-messages.ts'
import { type QueryPlan, QuerySession } from '../query/query-session.ts'
import type { QuerySettings } from '../query/session-settings.ts'
import { parseMoment } from '../query/time-range.ts'
import { openStoreReader } from '../store/open-store.ts'
import { EXIT_CODES } from './exit-codes.ts'
import { interruptible } from './interruptible.ts'
import { cacheDirectoryOf, spillBytesMax } from './local-work.ts'
import { querySettings, readOwnConfig, type SettingFlags } from './own-settings.ts'
import { showProgress } from './progress-line.ts'
import { runShell } from './query/shell.ts'
import { textTable } from './query/text-table.ts'
import { grouped, many } from './verify/report.ts'

/** An event is not in the archive before its batch is closed. */
const NO_ROWS = 'No row. An event is archived up to BATCH_AGE_MS_MAX (10 s) after it was sent.\n'
const ROWS_SHOWN_MAX = 10_000
/** Past this the user is told that a range would make it faster. */
const FETCHED_BYTES_MAX = GIB

export interface QueryFlags extends SettingFlags {
  readonly file?: string
  readonly shell?: boolean
  readonly since?: string
  readonly until?: string
  readonly format?: 'table' | OutputFormat
  readonly output?: string
  readonly progress: boolean
}

/**
 * Runs a query on the archive, and writes its answer to standard output, or into a file.
 *
 * @returns the exit code: 0 if the answer is complete, 1 if the query failed, 2 if the archive could not be read, 130
 * if it was interrupted
 */
export async function query(
  sql: string | undefined,
  flags: QueryFlags,
  env: NodeJS.ProcessEnv,
  outputClosed: AbortSignal,
): Promise<number> {
  return await interruptible(
    async interrupted => {
      // A read of standard input would keep the process waiting.
      interrupted.addEventListener('abort', () => process.stdin.destroy())
      refuseFlags(flags)
      if (flags.shell) return await shell(flags, env, interrupted)
      const statement = await statementOf(sql, flags)
      await withSession(flags, env, interrupted, statement, session => show(session, statement, flags))
      return EXIT_CODES.done
    },
    { outputClosed, note: '' },
  )
}

function refuseFlags({ output, format = 'table' }: QueryFlags): void {
  if (output !== undefined && format === 'table')
    throw new ConfigInvalid('--output needs a --format: csv, json, ndjson or parquet.')
}

async function statementOf(sql: string | undefined, { file }: QueryFlags): Promise<string> {
  if (sql !== undefined && file !== undefined)
    throw new ConfigInvalid('Give the SQL, or --file, and not both.')
  if (file !== undefined && file !== '-') {
    try {
      return await readFile(file, 'utf8')
    } catch (error) {
      throw new ConfigInvalid(`--file cannot be read: ${(error as Error).message}`)
    }
  }
  if (sql !== undefined && sql !== '-') return sql
  if (sql === undefined && file === undefined && process.stdin.isTTY)
    throw new ConfigInvalid(
      'There is no SQL: frequency query "select event, count(*) from events group by 1"',
    )
  return await text(process.stdin)
}

async function shell(flags: QueryFlags, env: NodeJS.ProcessEnv, interrupted: AbortSignal): Promise<number> {
  let allAnswered = true
  await withSession(flags, env, interrupted, undefined, async session => {
    allAnswered = await runShell({
      input: process.stdin,
      output: process.stdout,
      run: sql => show(session, sql, flags),
      interrupt: () => session.interrupt(),
    })
  })
  return allAnswered ? EXIT_CODES.done : EXIT_CODES.failed
}

async function withSession(
  flags: QueryFlags,
  env: NodeJS.ProcessEnv,
  interrupted: AbortSignal,
  statement: string | undefined,
  work: (session: QuerySession) => Promise<void>,
): Promise<void> {
  const now = Date.now()
  const range = {
    since: flags.since === undefined ? undefined : parseMoment('--since', flags.since, now),
    until: flags.until === undefined ? undefined : parseMoment('--until', flags.until, now),
  }
  const config = readOwnConfig(querySettings, flags, env)
  const store = await openStoreReader(config)
  try {
    const session = await QuerySession.open(store, sessionSettings(config), range)
    const stop = (): void => session.stop()
    interrupted.addEventListener('abort', stop)
    try {
      if (interrupted.aborted) session.stop()
      if (statement !== undefined && session.plan.fetchedObjects > 0) await session.check(statement)
      await ready(session, flags, range.since === undefined && range.until === undefined)
      await work(session)
    } finally {
      interrupted.removeEventListener('abort', stop)
      await session.close()
    }
  } finally {
    await store.close()
  }
}

/** How a session reads the archive of these settings. Runs of all commands share its cache. */
export function sessionSettings(config: Config): QuerySettings {
  return {
    prefix: config.archive.prefix,
    cacheDirectory: cacheDirectoryOf(config),
    cacheBytesMax: config.queryCacheBytesMax,
    residentBytesMax: config.queryMemoryMax,
    spillBytesMax: spillBytesMax(config),
    threads: availableParallelism(),
  }
}

async function ready(session: QuerySession, { progress }: QueryFlags, isAll: boolean): Promise<void> {
  const { plan } = session
  const isShown = progress && process.stderr.isTTY
  if (isShown || plan.fetchedBytes > FETCHED_BYTES_MAX) process.stderr.write(`${inWords(plan, isAll)}\n`)
  const stopProgress = showProgress(progress && plan.fetchedObjects > 0, () => {
    const share = Math.floor((100 * session.progress.objects) / plan.fetchedObjects)
    return `${share}%  ${grouped(session.progress.events)} events`
  })
  await session.ready().finally(stopProgress)
}

function inWords(plan: QueryPlan, isAll: boolean): string {
  const { partitions, objects, events, fetchedObjects, fetchedBytes } = plan
  const fetched =
    fetchedObjects === 0
      ? 'all in the cache'
      : `${many(fetchedObjects, 'object')} to fetch, ${grouped(Math.ceil(fetchedBytes / MIB))} MiB`
  const advice = isAll && fetchedBytes > FETCHED_BYTES_MAX ? ' --since reads less: --since=24h.' : ''
  return `${many(partitions, 'hour')}, ${many(objects, 'object')}, ${many(events, 'event')}: ${fetched}.${advice}`
}

async function show(
  session: QuerySession,
  sql: string,
  { format = 'table', output }: QueryFlags,
): Promise<void> {
  if (format === 'table') {
    const { answer } = await session.query(sql, ROWS_SHOWN_MAX)
    if (answer === undefined) return
    const table = textTable(answer, process.stdout.isTTY ? process.stdout.columns || 80 : undefined)
    const more = answer.hasMore
      ? `… and more than ${grouped(ROWS_SHOWN_MAX)} rows: --format=csv has all of them.\n`
      : ''
    process.stdout.write(table + more)
    if (answer.rows.length === 0 && process.stderr.isTTY) process.stderr.write(NO_ROWS)
    return
  }
  const path = await session.write(sql, format)
  try {
    if (output !== undefined) await put(path, output)
    else await pipeline(createReadStream(path), process.stdout, { end: false })
  } finally {
    await rm(path, { force: true })
  }
}

/** Copies a file, so that the copy appears whole, or not at all. */
async function put(path: string, output: string): Promise<void> {
  const temporary = `${output}.${randomUUID()}`
  try {
    await copyFile(path, temporary)
    await rename(temporary, output)
  } catch (error) {
    await rm(temporary, { force: true })
    const { code = '' } = error as NodeJS.ErrnoException
    throw new QueryFailed(`--output: ${output} cannot be written (${code}).`)
  }
}
