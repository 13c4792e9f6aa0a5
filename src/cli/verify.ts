import type { Config } from '../config/config.ts'
import { ConfigInvalid, StoreUnavailable } from '../errors.ts'
import { openStoreReader } from '../store/open-store.ts'
import { EXIT_CODES } from './exit-codes.ts'
import { type SettingFlags, withArchive } from './own-settings.ts'
import { ProgressBar } from './verify/progress-bar.ts'
import { inWords, resultOf, type VerifyReport } from './verify/report.ts'
import { Verifier, type VerifyFindings } from './verify/verifier.ts'

/** The exit code of each result. */
const CODES = {
  clean: EXIT_CODES.done,
  findings: EXIT_CODES.failed,
  incomplete: EXIT_CODES.unusable,
} as const

export interface VerifyFlags extends SettingFlags {
  readonly ids?: string
  readonly from?: string
  readonly to?: string
  readonly list: number
  readonly json?: boolean
  readonly progress: boolean
}

/**
 * Reads an archive, and writes a report to standard output.
 *
 * @returns the exit code: 0 if nothing is wrong, 1 if something is wrong, 2 if the archive could not be read, or not all
 *   of it
 */
export async function verify(
  archiveUrl: string | undefined,
  flags: VerifyFlags,
  env: NodeJS.ProcessEnv,
): Promise<number> {
  try {
    const report = await withArchive(archiveUrl, flags, env, config => reportOf(config, flags))
    process.stdout.write(flags.json ? `${JSON.stringify(report, null, 2)}\n` : inWords(report))
    return CODES[report.result]
  } catch (error) {
    const { message, stack } = error as Error
    if (flags.json) process.stdout.write(`${JSON.stringify({ result: 'error', error: message }, null, 2)}\n`)
    process.stderr.write(`frequency: ${isForTheUser(error) ? message : stack}\n`)
    return EXIT_CODES.unusable
  }
}

async function reportOf(config: Config, flags: VerifyFlags): Promise<VerifyReport> {
  const { from, to, ids: idsFile, list: listMax } = flags
  if (from !== undefined && to !== undefined && from > to)
    throw new ConfigInvalid(`--from (${from}) is after --to (${to}).`)
  const startedAt = performance.now()
  const store = await openStoreReader(config)
  try {
    const verifier = new Verifier(store, { prefix: config.archive.prefix, from, to, idsFile, listMax })
    const findings = await withProgress(verifier, flags.progress && process.stderr.isTTY)
    return {
      archive: store.description,
      ...(from !== undefined && { from }),
      ...(to !== undefined && { to }),
      result: resultOf(findings),
      seconds: Math.round((performance.now() - startedAt) / 100) / 10,
      ...findings,
    }
  } finally {
    await store.close()
  }
}

async function withProgress(verifier: Verifier, isShown: boolean): Promise<VerifyFindings> {
  if (!isShown) return verifier.run()
  const bar = new ProgressBar(process.stderr, verifier.progress)
  try {
    return await verifier.run()
  } finally {
    bar.stop()
  }
}

/** Whether the user can fix the cause: a setting, the store, or a file or disk (an error of a system call). */
function isForTheUser(error: unknown): boolean {
  const isSystemError = error instanceof Error && 'syscall' in error
  return error instanceof ConfigInvalid || error instanceof StoreUnavailable || isSystemError
}
