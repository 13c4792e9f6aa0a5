import type { Config } from '../config/config.ts'
import { ConfigInvalid, LogDamaged, LogRefused, StoreUnavailable } from '../errors.ts'
import { openStore, openStoreReader } from '../store/open-store.ts'
import type { ObjectStore } from '../store/store.ts'
import { type SettingFlags, withArchive } from './own-settings.ts'

/** All is well · something was found that is not · it could not be done. */
export const EXIT_CODES = { fine: 0, findings: 1, error: 2 } as const

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
 * Does something with the log of the archive that is named, and writes a report to standard output.
 *
 * @returns the exit code
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
    return EXIT_CODES.error
  }
}

/** Opens the archive to write to it; one that is not there is not made. @throws ConfigInvalid, StoreUnavailable */
export async function openExisting(config: Config): Promise<ObjectStore> {
  const reader = await openStoreReader(config)
  await reader.close()
  const store = await openStore(config)
  await store.check()
  return store
}

/** What a user can mend: a setting, the store, the log, or what the system says of a file or of the disk. */
function isForTheUser(error: unknown): error is Error {
  const kinds = [ConfigInvalid, StoreUnavailable, LogDamaged, LogRefused]
  return kinds.some(kind => error instanceof kind) || (error instanceof Error && 'syscall' in error)
}
