/** What happens when nobody reads a command's output any more, as behind `| head -1`. */

/** What a shell says of a program that SIGPIPE ended (128 + 13). Node ignores that signal, and gets EPIPE instead. */
export const EXIT_CLOSED_OUTPUT = 141

const closed = new AbortController()
let isWatched = false

/** From now on a closed standard output ends the process, and a closed standard error is no error. */
export function watchOutput(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE' && error.code !== 'ERR_STREAM_DESTROYED') throw error
    process.exitCode = EXIT_CLOSED_OUTPUT
    closed.abort()
    if (!isWatched) process.exit()
  })
  process.stderr.on('error', () => {})
}

/** Aborted when standard output is closed; then the process goes on, and the caller has to end it. */
export function outputClosed(): AbortSignal {
  isWatched = true
  return closed.signal
}
