import { EXIT_CODES, exitCodeOf } from './exit-codes.ts'
import { failureText } from './failure-text.ts'

export interface InterruptibleOptions {
  /** Aborted when standard output is closed: that stops the work as a signal does. */
  readonly outputClosed?: AbortSignal
  /** What follows `interrupted.`, with a space before it. @default that the command goes on if it is run again */
  readonly note?: string
  /** A second signal ends the process at once. @default false */
  readonly endsAtSecondSignal?: boolean
}

/**
 * Runs a command that SIGINT and SIGTERM stop, and reports its error.
 *
 * @returns the exit code: that of `work`, that of its error, or 130 if it was stopped
 */
export async function interruptible(
  work: (stopping: AbortSignal) => Promise<number>,
  { outputClosed, note = ' Run the command again to go on.', endsAtSecondSignal }: InterruptibleOptions = {},
): Promise<number> {
  const signalled = new AbortController()
  const onSignal = (): void => {
    if (signalled.signal.aborted && endsAtSecondSignal) process.exit(EXIT_CODES.interrupted)
    signalled.abort()
  }
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
  const stopping = AbortSignal.any([signalled.signal, ...(outputClosed === undefined ? [] : [outputClosed])])
  try {
    const code = await work(stopping)
    return stopping.aborted ? EXIT_CODES.interrupted : code
  } catch (error) {
    if (!stopping.aborted) {
      process.stderr.write(`frequency: ${failureText(error)}\n`)
      return exitCodeOf(error)
    }
    if (signalled.signal.aborted) process.stderr.write(`frequency: interrupted.${note}\n`)
    return EXIT_CODES.interrupted
  } finally {
    process.off('SIGINT', onSignal)
    process.off('SIGTERM', onSignal)
  }
}
