/** A language whose client library is tested, and the installation of that library. */
import { execFile } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const INSTALL_MS_MAX = 300_000
const HERE = fileURLToPath(new URL('.', import.meta.url))
const CACHE = fileURLToPath(new URL('../../../node_modules/.cache/clients/', import.meta.url))

/** A command that starts a client program. Its own arguments come after `args`. */
export interface Command {
  readonly file: string
  readonly args: readonly string[]
  /** Added to the environment of this process. */
  readonly env?: NodeJS.ProcessEnv
}

export interface Language {
  readonly name: string
  /** Makes the client program ready to run. @throws NotHere */
  prepare(): Promise<Command>
  /**
   * Makes the client trust this self-signed certificate (a PEM file). Only libraries that require TLS have this method;
   * the others are tested without TLS.
   */
  trusting?(command: Command, certificateFile: string): Promise<Command>
  /** What compresses the events; undefined if the library cannot. */
  readonly gzip?: 'a setting' | 'an interceptor of the program' | 'the library, always'
  /** Whether the library has no `page` call, because it is for apps, which have screens. */
  readonly hasNoPage?: boolean
  /** Whether its `identify` puts the traits into the context. */
  readonly hasTraitsInContext?: boolean
  /**
   * The shortest and the longest time for which the library sends no request after a first failure, in milliseconds.
   * Undefined if the library tries again within some seconds.
   */
  readonly silenceMs?: readonly [number, number]
  /** Pause between two batches in the test with a killed server. */
  readonly pauseMs: number
}

/** The language or its library is missing on this machine, and cannot be installed. */
export class NotHere extends Error {}

/** @returns the path of a file in the source directory of a language */
export function sourcePath(language: string, name = ''): string {
  return join(HERE, language, name)
}

/** @returns a path in the directory for the installed library of a language, which git ignores. Creates the directory. */
export function cachePath(language: string, name = ''): string {
  mkdirSync(join(CACHE, language), { recursive: true })
  return join(CACHE, language, name)
}

/**
 * Runs a command to its end.
 *
 * @returns its trimmed standard output
 * @throws Error with its standard error if it fails
 */
export async function run({ file, args, env }: Command, cwd = HERE): Promise<string> {
  const options = { cwd, env: { ...process.env, ...env }, timeout: INSTALL_MS_MAX }
  const { stdout } = await promisify(execFile)(file, [...args], options)
  return stdout.trim()
}

/** Runs a command that installs something. @throws NotHere if it fails */
export async function install(what: string, command: Command, cwd?: string): Promise<void> {
  await run(command, cwd).catch(err => {
    throw new NotHere(`${what} could not be installed`, { cause: err })
  })
}

/** Whether a command exits with 0. */
export async function succeeds(command: Command): Promise<boolean> {
  return await run(command).then(
    () => true,
    () => false,
  )
}
