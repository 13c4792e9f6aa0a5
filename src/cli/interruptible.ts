import { ConfigInvalid, QueryFailed } from '../errors.ts'
import { failureText } from './failure-text.ts'

/** All is done · something was refused or not done · the archive could not be read or written · Ctrl-C. */
export const EXIT_CODES = { done: 0, failed: 1, unusable: 2, interrupted: 130 } as const

/**
 * Runs a command that SIGINT and SIGTERM stop, and reports its error.
 *
 * @returns the exit code: that of `work`, or 130 if it was stopped
 */
export async function interruptible(work: (stopping: AbortSignal) => Promise<number>): Promise<number> {
  const stopping = new AbortController()
  const onSignal = (): void => stopping.abort()
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
  try {
    const code = await work(stopping.signal)
    return stopping.signal.aborted ? EXIT_CODES.interrupted : code
  } catch (error) {
    if (stopping.signal.aborted) {
      process.stderr.write('frequency: interrupted. Run the command again to go on.\n')
      return EXIT_CODES.interrupted
    }
    process.stderr.write(`frequency: ${failureText(error)}\n`)
    return error instanceof QueryFailed || error instanceof ConfigInvalid
      ? EXIT_CODES.failed
      : EXIT_CODES.unusable
  } finally {
    process.off('SIGINT', onSignal)
    process.off('SIGTERM', onSignal)
  }
}
