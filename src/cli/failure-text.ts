import { isRefusal, QueryFailed } from '../errors.ts'
import { escapeControls } from './escape-controls.ts'

/** What a command says of an error: its message if the user can do something about it, else where it comes from. */
export function failureText(error: unknown): string {
  const { message, stack } = error as Error
  const isOfTheSystem = error instanceof Error && 'syscall' in error
  const isForTheUser = isRefusal(error) || isOfTheSystem
  // DuckDB's words have several lines. All other messages have one, whatever a server has answered.
  if (isForTheUser && !(error instanceof QueryFailed)) return escapeControls(message)
  return String(isForTheUser ? message : stack).replace(/[^\n\t]+/g, escapeControls)
}
