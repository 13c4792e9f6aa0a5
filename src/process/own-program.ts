/** How this program starts itself again: as sources, as a build, or as the single executable. */

import { isSea } from 'node:sea'

export interface ForkedProgram {
  /** What `fork()` and `cluster` call the script. */
  readonly script: string
  readonly args: string[]
}

/**
 * For `fork()` and `cluster`, which put a script before the arguments. The executable has no script. Its first argument
 * takes that place.
 *
 * @param args a command, and what follows it
 */
export function forkedProgram(args: readonly string[]): ForkedProgram {
  const [script = '', ...rest] = [...scriptPath(), ...args]
  return { script, args: rest }
}

/**
 * For `spawn(process.execPath, …)`.
 *
 * @param args a command, and what follows it
 */
export function spawnedProgram(args: readonly string[]): string[] {
  return [...process.execArgv, ...scriptPath(), ...args]
}

/** In the executable Node repeats the path of the executable where the path of a script would be. */
function scriptPath(): string[] {
  return isSea() ? [] : [process.argv[1] as string]
}
