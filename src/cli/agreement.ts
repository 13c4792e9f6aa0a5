import { createInterface } from 'node:readline/promises'
import { ConfigInvalid } from '../errors.ts'

/**
 * Asks the user.
 *
 * @param stopping when aborted, the answer is no
 * @throws ConfigInvalid if there is no terminal to ask
 */
export async function isAgreed(isJson = false, stopping?: AbortSignal): Promise<boolean> {
  if (isJson || !process.stdin.isTTY || !process.stdout.isTTY)
    throw new ConfigInvalid('Nothing was changed. Add --yes to do it without asking.')
  const terminal = createInterface({ input: process.stdin, output: process.stdout })
  const closed = new AbortController()
  // A terminal passes Ctrl-C to readline, and not as a signal. Ctrl-D closes it.
  terminal.once('SIGINT', () => process.kill(process.pid, 'SIGINT'))
  terminal.once('close', () => closed.abort())
  const onStop = (): void => terminal.close()
  stopping?.addEventListener('abort', onStop)
  try {
    const answer = await terminal.question('Do it? [y/N] ', { signal: closed.signal })
    return /^y(?:es)?$/i.test(answer.trim())
  } catch (error) {
    if (closed.signal.aborted) return false
    throw error
  } finally {
    stopping?.removeEventListener('abort', onStop)
    terminal.close()
  }
}
