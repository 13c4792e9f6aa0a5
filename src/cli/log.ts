import type { Config } from '../config/config.ts'
import { ConfigInvalid, LogDamaged, LogRefused, StoreUnavailable } from '../errors.ts'
import { EXIT_CODES } from './exit-codes.ts'
import { type SettingFlags, withArchive } from './own-settings.ts'

export interface LogFlags extends SettingFlags {
  readonly json?: boolean
  readonly progress?: boolean
  readonly list?: number
  readonly from?: number
  readonly count?: number
  readonly yes?: boolean
}

export interface Outcome {
  readonly code: number
  readonly report: object
  readonly text: string
}

/**
 * Runs an action on the log of an archive, and writes its report to standard output.
 *
 * @returns the exit code of the action, or 2 if it failed
 */
export async function runOnLog(
  action: (config: Config, flags: LogFlags) => Promise<Outcome>,
  archiveUrl: string | undefined,
  flags: LogFlags,
  env: NodeJS.ProcessEnv,
): Promise<number> {
  try {
    const { code, report, text } = await withArchive(archiveUrl, flags, env, config => action(config, flags))
    process.stdout.write(flags.json ? `${JSON.stringify(report, null, 2)}\n` : text)
    return code
  } catch (error) {
    if (!isForTheUser(error)) throw error
    const { message } = error
    if (flags.json) process.stdout.write(`${JSON.stringify({ error: message }, null, 2)}\n`)
    process.stderr.write(`frequency: ${message}\n`)
    return EXIT_CODES.unusable
  }
}

/** Whether the user can fix the cause: a setting, the store, the log, or a file or disk (an error of a system call). */
function isForTheUser(error: unknown): error is Error {
  const kinds = [ConfigInvalid, StoreUnavailable, LogDamaged, LogRefused]
  return kinds.some(kind => error instanceof kind) || (error instanceof Error && 'syscall' in error)
}
