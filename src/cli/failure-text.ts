import { isRefusal } from '../errors.ts'

/** What a command says of an error: its message if the user can do something about it, else where it comes from. */
export function failureText(error: unknown): string {
  const { message, stack } = error as Error
  const isOfTheSystem = error instanceof Error && 'syscall' in error
  return isRefusal(error) || isOfTheSystem ? message : String(stack)
}
