/** The URL of the server that `status` and `tail` ask. */
import { ConfigInvalid } from '../errors.ts'
import { readOwnConfig, type SettingFlags, statusSettings } from './own-settings.ts'

/**
 * Where the process listens that these settings are for: at ADMIN_HOST and ADMIN_PORT, where that port is set.
 *
 * @throws ConfigInvalid also where the port is 0: which one was picked is not known.
 */
export function defaultServerUrl(flags: SettingFlags, env: NodeJS.ProcessEnv): string {
  const { host, port, adminHost, adminPort } = readOwnConfig(statusSettings, flags, env)
  const own = adminPort === undefined ? host : adminHost
  const reachable = { '0.0.0.0': '127.0.0.1', '::': '::1' }[own] ?? own
  if ((adminPort ?? port) === 0) {
    const variable = adminPort === undefined ? 'PORT' : 'ADMIN_PORT'
    throw new ConfigInvalid(`${variable} is 0, so the server has picked a port: name the server with --url.`)
  }
  return `http://${reachable.includes(':') ? `[${reachable}]` : reachable}:${adminPort ?? port}`
}

/**
 * What was given as `--url`, with `http://` before it where it has no scheme.
 *
 * @throws ConfigInvalid for what is no URL of http or https.
 */
export function serverUrl(text: string): string {
  const url = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`
  if (text !== '' && URL.canParse(url) && /^https?:/i.test(url)) return url
  throw new ConfigInvalid(`--url must be like http://127.0.0.1:4000, not ${JSON.stringify(text)}.`)
}
