/** Whether a process is alive, or ready, for the health check of a container that has neither a shell nor curl. */
import { ConfigInvalid } from '../errors.ts'
import { failureReason } from '../process/failure-reason.ts'
import type { SettingFlags } from './own-settings.ts'
import { defaultServerUrl, serverUrl } from './server-url.ts'

/** Below the timeout of a health check, which is five seconds in the image: the reason is then still written. */
const ANSWER_MS_MAX = 4_000

export interface HealthFlags extends SettingFlags {
  readonly ready?: boolean
  readonly url?: string
}

/**
 * Asks a process for /healthz or /readyz, and writes one line: its answer to standard output, or to standard error why
 * it is not healthy.
 *
 * @returns the exit code: 0 if the answer is 200, else 1. Docker reserves 2
 */
export async function health(flags: HealthFlags, env: NodeJS.ProcessEnv): Promise<number> {
  try {
    const base = flags.url === undefined ? defaultServerUrl(flags, env) : serverUrl(flags.url)
    const url = new URL(flags.ready ? 'readyz' : 'healthz', base.endsWith('/') ? base : `${base}/`)
    const { isHealthy, text } = await ask(url)
    if (isHealthy) process.stdout.write(`${text}\n`)
    else process.stderr.write(`frequency: ${url}: ${text}\n`)
    return isHealthy ? 0 : 1
  } catch (error) {
    if (!(error instanceof ConfigInvalid)) throw error
    process.stderr.write(`frequency: ${error.message}\n`)
    return 1
  }
}

async function ask(url: URL): Promise<{ isHealthy: boolean; text: string }> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(ANSWER_MS_MAX), redirect: 'error' })
    const text = (await response.text()).trim()
    return response.status === 200
      ? { isHealthy: true, text }
      : { isHealthy: false, text: `it answers ${response.status}: ${text}` }
  } catch (error) {
    const isLate = (error as Error).name === 'TimeoutError'
    const reason = isLate ? `it does not answer within ${ANSWER_MS_MAX / 1000} s` : failureReason(error)
    return { isHealthy: false, text: reason }
  }
}
