/** The config of frequency as a plugin in another server, from its options. */
import { ConfigInvalid } from '../errors.ts'
import { awsSettings } from './aws-settings.ts'
import { type Config, readConfig, type Settings, settings } from './config.ts'

/** Settings that the server has to make itself, and how. */
const OF_THE_SERVER = {
  host: 'pass it to listen()',
  port: 'pass it to listen()',
  adminHost: 'its routes are below the prefix',
  adminPort: 'its routes are below the prefix',
  workers: 'start the processes yourself',
  connectionsMax: 'set server.maxConnections',
  headerBytesMax: 'set http.maxHeaderSize of Fastify',
  requestMsMax: 'set requestTimeout of Fastify',
  trustProxy: 'set trustProxy of Fastify',
  plugins: 'register them in the option `register`',
} satisfies Partial<Record<keyof Settings, string>>
/** Settings whose work is a command of the program in a process of its own, and that command. */
const OF_COMMANDS = {
  table: 'compact',
  retention: 'expire',
  rawRetention: 'expire',
} satisfies Partial<Record<keyof Settings, string>>

type EmbeddedName = Exclude<
  keyof Settings,
  'logLevel' | keyof typeof OF_THE_SERVER | keyof typeof OF_COMMANDS
>

/** A number may be a text with a unit, as `10s` or `16MiB`. */
type OrText<Value> = Value extends number ? number | string : Value

export type EmbeddedSettings = {
  readonly [Name in EmbeddedName]?: OrText<Exclude<Settings[Name], undefined>> | undefined
}

/**
 * Reads settings that were given as values. A value may be the text of its variable, as `10s`. Environment variables are
 * not read, except those of the AWS SDK.
 *
 * @param hasGivenQueue whether the caller gives a queue, so that AMQP_URL is not needed
 * @throws ConfigInvalid if a setting is unknown, invalid, or belongs to the server around the plugin
 */
export function embeddedConfig(values: Record<string, unknown>, hasGivenQueue: boolean): Config {
  const texts: Record<string, string> = {
    // The plugin does not know where the server listens. So it expects that others may reach it.
    host: '0.0.0.0',
  }
  for (const [name, value] of Object.entries(values)) {
    if (value === undefined) continue
    assertOfPlugin(name)
    texts[name] = String(value)
  }
  const names = new Set(awsSettings.map(({ variable }) => variable))
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => names.has(name)))
  return readConfig(texts, env, hasGivenQueue)
}

function assertOfPlugin(name: string): void {
  const setting = settings.find(each => each.name === name)
  if (setting === undefined)
    throw new ConfigInvalid(`${name} is not a setting of frequency. Correct its name, or remove it.`)
  const ofServer = reasonIn(OF_THE_SERVER, name)
  if (ofServer !== undefined)
    throw new ConfigInvalid(`${name} belongs to your own server, not to the plugin: ${ofServer}.`)
  const command = reasonIn(OF_COMMANDS, name)
  if (command !== undefined)
    throw new ConfigInvalid(
      `${name} starts a command beside the program. In your own server, run \`frequency ${command}\` from time to time.`,
    )
}

function reasonIn(reasons: Readonly<Record<string, string>>, name: string): string | undefined {
  return Object.hasOwn(reasons, name) ? reasons[name] : undefined
}
