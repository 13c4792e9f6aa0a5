/** The settings of each command. Wrong values of other settings do not stop it. */
import { type Config, readConfig, type Setting, settings } from '../config/config.ts'
import { ConfigInvalid } from '../errors.ts'

/** Settings of `verify` and `log`. They also take the archive as an argument. */
export const archiveSettings = named('archiveUrl', 'dataDir', 's3ForcePathStyle', 's3IdleMsMax')
export const deadSettings = named('amqpUrl', 'amqpQueue', 'dataDir', 'publishMsMax')
export const querySettings = named(
  'archiveUrl',
  'dataDir',
  's3ForcePathStyle',
  's3IdleMsMax',
  'queryMemoryMax',
  'queryCacheBytesMax',
)
export const eraseSettings = querySettings
export const expireSettings = named(
  'archiveUrl',
  'dataDir',
  's3ForcePathStyle',
  's3IdleMsMax',
  'queryCacheBytesMax',
  'dedupeWindowMs',
  'retention',
  'rawRetention',
)
export const compactSettings = named(
  'archiveUrl',
  'dataDir',
  's3ForcePathStyle',
  's3IdleMsMax',
  'queryCacheBytesMax',
  'batchAgeMsMax',
  'tableColumns',
)
/** Settings of `replay`. Those of the queue are read only if it is the target. */
export const replaySettings = [...querySettings, ...named('amqpUrl', 'amqpQueue', 'publishMsMax')]
/** The address at which a server of this machine listens. */
export const statusSettings = named('host', 'port', 'adminHost', 'adminPort')
export const tokenSettings = named('uiToken')

/** The texts of setting flags. */
export type SettingFlags = Partial<Record<Setting['name'], string>>

function named(...names: Setting['name'][]): readonly Setting[] {
  return settings.filter(({ name }) => names.includes(name))
}

/**
 * Reads the settings in `own`. All other settings have their defaults.
 *
 * @param fixed values that win over flags and environment
 * @throws ConfigInvalid like `readConfig`
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
 * Calls `work` with the command's settings. An archive argument replaces ARCHIVE_URL.
 *
 * @throws ConfigInvalid; an error about an archive argument names `archive-url`, not ARCHIVE_URL
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
