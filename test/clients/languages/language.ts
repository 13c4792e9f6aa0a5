/** A language whose client library is tried, and how that library gets onto this machine. */
import { execFile } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const INSTALL_MS_MAX = 300_000
const HERE = fileURLToPath(new URL('.', import.meta.url))
const CACHE = fileURLToPath(new URL('../../../node_modules/.cache/clients/', import.meta.url))

/** How a client program is started; its own arguments come after `args`. */
export interface Command {
  readonly file: string
  readonly args: readonly string[]
  /** Besides what this process has. */
  readonly env?: NodeJS.ProcessEnv
}

export interface Language {
  readonly name: string
  /** Makes the client program ready to run. @throws NotHere */
  prepare(): Promise<Command>
  /**
   * Lets it trust this certificate (a file in PEM), which no authority has signed. Only a library that insists on
   * TLS has this; the others are tried without.
   */
  trusting?(command: Command, certificateFile: string): Promise<Command>
  /** What compresses the events; undefined where nothing can. */
  readonly gzip?: 'a setting' | 'an interceptor of the program' | 'the library, always'
  /** A library for apps, in which a page is a screen. */
  readonly hasNoPage?: boolean
  /** Its identify puts the traits into the context. */
  readonly hasTraitsInContext?: boolean
  /**
   * How long the library sends nothing at all after a first failure: the shortest and the longest time, in
   * milliseconds. Undefined for a library that tries again within some seconds.
   */
  readonly silenceMs?: readonly [number, number]
  /** Between two batches, when it is tried whether the library outlives an outage. */
  readonly pauseMs: number
}

/** The language, or its library, cannot be had on this machine. */
export class NotHere extends Error {}

/** The path of a file of ours in the directory of a language. */
export function sourcePath(language: string, name = ''): string {
  return join(HERE, language, name)
}

/** Where what is installed for a language lies, outside of what git tracks. The directory is there. */
export function cachePath(language: string, name = ''): string {
  mkdirSync(join(CACHE, language), { recursive: true })
  return join(CACHE, language, name)
}

/**
 * Runs a command to its end, and gives what it printed.
 *
 * @throws Error with what it printed on stderr
 */
export async function run({ file, args, env }: Command, cwd = HERE): Promise<string> {
  const options = { cwd, env: { ...process.env, ...env }, timeout: INSTALL_MS_MAX }
  const { stdout } = await promisify(execFile)(file, [...args], options)
  return stdout.trim()
}

/** The same for what installs. @throws NotHere */
export async function install(what: string, command: Command, cwd?: string): Promise<void> {
  await run(command, cwd).catch(err => {
    throw new NotHere(`${what} could not be installed`, { cause: err })
  })
}

/** Whether a command ends well. */
export async function succeeds(command: Command): Promise<boolean> {
  return await run(command).then(
    () => true,
    () => false,
  )
}
