/** The URL of the server that `status` and `tail` ask. */
import { ConfigInvalid } from '../errors.ts'
import { readOwnConfig, type SettingFlags, statusSettings } from './own-settings.ts'

/**
 * @returns the URL at which a process with these settings answers: that of ADMIN_PORT, if it is set, else that of PORT
 * @throws ConfigInvalid if a setting is invalid, or the port is 0, because the port that the server picked is not known
 */
export function defaultServerUrl(flags: SettingFlags, env: NodeJS.ProcessEnv): string {
  const { host, port, adminHost, adminPort } = readOwnConfig(statusSettings, flags, env)
  const listenHost = adminPort === undefined ? host : adminHost
  const reachable = { '0.0.0.0': '127.0.0.1', '::': '::1' }[listenHost] ?? listenHost
  if ((adminPort ?? port) === 0) {
    const variable = adminPort === undefined ? 'PORT' : 'ADMIN_PORT'
    throw new ConfigInvalid(`${variable} is 0, so the server has picked a port: name the server with --url.`)
  }
  return `http://${reachable.includes(':') ? `[${reachable}]` : reachable}:${adminPort ?? port}`
}

/**
 * @param text the value of `--url`
 * @returns the URL, with `http://` added if it has no scheme
 * @throws ConfigInvalid if it is not an http or https URL
 */
export function serverUrl(text: string): string {
  const url = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`
  if (text !== '' && URL.canParse(url) && /^https?:/i.test(url)) return url
  throw new ConfigInvalid(`--url must be like http://127.0.0.1:4000, not ${JSON.stringify(text)}.`)
}
