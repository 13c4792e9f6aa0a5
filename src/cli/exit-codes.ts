/** What the exit code of a command means: docs/commands.md has the table. */

import { QueryFailed, ReplayStopped } from '../errors.ts'

/**
 * All is done · the command did its work, and something failed, was refused or is left · it could not do its work: a
 * wrong option or setting, or an archive, queue or server that cannot be used · Ctrl-C.
 */
export const EXIT_CODES = { done: 0, failed: 1, unusable: 2, interrupted: 130 } as const

/** The exit code of a command that ends by this error. */
export function exitCodeOf(error: unknown): number {
  const isFailed = error instanceof QueryFailed || error instanceof ReplayStopped
  return isFailed ? EXIT_CODES.failed : EXIT_CODES.unusable
}
