/** Which settings each command takes. It reads no others, so a wrong one of the server cannot be in its way. */
import { type Config, readConfig, type Setting, settings } from '../config/config.ts'
import { ConfigInvalid } from '../errors.ts'

/** Of `verify` and `log`, which take the archive as an argument too. */
export const archiveSettings = named('archiveUrl', 'dataDir', 's3ForcePathStyle', 's3IdleMsMax')
export const deadSettings = named('amqpUrl', 'amqpQueue', 'dataDir', 'publishMsMax')
/** Where a process of this machine listens. */
export const statusSettings = named('host', 'port', 'adminHost', 'adminPort')
export const tokenSettings = named('uiToken')

/** Flags of settings, as text. */
export type SettingFlags = Partial<Record<Setting['name'], string>>

function named(...names: Setting['name'][]): readonly Setting[] {
  return settings.filter(({ name }) => names.includes(name))
}

/**
 * Reads these settings from flags, the environment and what is fixed; all others have their defaults.
 *
 * @param fixed wins over flags
 * @throws ConfigInvalid as readConfig.
 */
export function readOwnConfig(
  own: readonly Setting[],
  flags: SettingFlags,
  env: NodeJS.ProcessEnv,
  fixed: SettingFlags = {},
): Config {
  const given: SettingFlags = {}
  const variables: NodeJS.ProcessEnv = Object.fromEntries(
    Object.entries(env).filter(([name]) => name.startsWith('AWS_')),
  )
  for (const { name, variable } of own) {
    if (flags[name] !== undefined) given[name] = flags[name]
    variables[variable] = env[variable]
  }
  return readConfig({ ...given, ...fixed }, variables)
}

/**
 * Reads the settings of a command whose archive may come as an argument, and does something with them. What is wrong
 * with an archive that came as an argument is said of `archive-url`, and not of a variable that was not set.
 */
export async function withArchive<T>(
  archiveUrl: string | undefined,
  flags: SettingFlags,
  env: NodeJS.ProcessEnv,
  work: (config: Config) => Promise<T>,
): Promise<T> {
  try {
    const fixed = archiveUrl === undefined ? {} : { archiveUrl }
    return await work(readOwnConfig(archiveSettings, flags, env, fixed))
  } catch (error) {
    if (archiveUrl === undefined || !(error instanceof ConfigInvalid)) throw error
    throw new ConfigInvalid(error.message.replace(/^ARCHIVE_URL\b/, 'archive-url'), { cause: error })
  }
}
