/** Ends a command whose output cannot be written: its reader closed the pipe, as `| head -1` does, or a disk is full. */

/** A shell reports this code for a program that SIGPIPE ended (128 + 13). Node ignores SIGPIPE, and gets EPIPE instead. */
export const EXIT_CLOSED_OUTPUT = 141
const EXIT_ERROR = 2

const closed = new AbortController()
let isEndedByCaller = false

/**
 * Ends the process when standard output is closed, unless `outputClosed()` was called before, or cannot be written (exit
 * code 2). Errors of standard error are ignored.
 */
export function watchOutput(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE' && error.code !== 'ERR_STREAM_DESTROYED') {
      process.stderr.write(`frequency: standard output cannot be written: ${error.message}\n`)
      process.exit(EXIT_ERROR)
    }
    process.exitCode = EXIT_CLOSED_OUTPUT
    closed.abort()
    if (!isEndedByCaller) process.exit()
  })
  process.stderr.on('error', () => {})
}

/**
 * @returns a signal that is aborted when standard output is closed. After this call `watchOutput()` does not end the
 *   process any more: the caller has to end it.
 */
export function outputClosed(): AbortSignal {
  isEndedByCaller = true
  return closed.signal
}
