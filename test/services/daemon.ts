import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Child, type ChildOptions } from './child-process.ts'
import { within } from './wait.ts'
import type { Workspace } from './workspace.ts'

const KILL_MS_MAX = 10_000
const OUTPUT_BYTES_MAX = 16 * 1024 * 1024
const run = promisify(execFile)

export interface DaemonOptions extends Pick<ChildOptions, 'name' | 'command' | 'args'> {
  /** The whole environment. @default that of this process */
  readonly env?: NodeJS.ProcessEnv
}

/**
 * A server that runs in the background, can be started again, and ends with its workspace. Its output is in
 * the file `NAME.out` of the workspace.
 */
export class Daemon {
  readonly name: string
  readonly #options: DaemonOptions
  readonly #workspace: Workspace
  #child: Child | undefined

  constructor(workspace: Workspace, options: DaemonOptions) {
    this.name = options.name
    this.#workspace = workspace
    this.#options = options
  }

  get isRunning(): boolean {
    return this.#child?.isRunning ?? false
  }

  /** @throws Error with the end of its output if it does not run */
  get pid(): number {
    this.assertRunning()
    return this.#lastChild.pid
  }

  /** @throws Error if it runs already, or if the command cannot be executed */
  start(): void {
    if (this.isRunning) throw new Error(`${this.name} is running already`)
    const { name, command, args, env = process.env } = this.#options
    const cwd = this.#workspace.dir
    const logFile = join(cwd, `${name}.out`)
    this.#child = new Child({ name, command, args, env, cwd, workspace: this.#workspace, logFile })
  }

  /** Sends SIGTERM, and kills the process group if the process has not ended after `timeoutMs`. */
  async stop(timeoutMs: number): Promise<void> {
    if (!this.isRunning) return
    const { ended } = this.#lastChild.kill('SIGCONT').kill('SIGTERM')
    if ((await within(ended, timeoutMs)) === undefined) await this.kill()
  }

  /** Kills the process group with SIGKILL. @throws Error if the process has not ended after ten seconds */
  async kill(): Promise<void> {
    if (!this.isRunning) return
    process.kill(-this.pid, 'SIGKILL')
    await this.#lastChild.endsWithin(KILL_MS_MAX)
  }

  /** @throws Error with the end of its output if it does not run */
  signal(signal: NodeJS.Signals): void {
    this.assertRunning()
    this.#lastChild.kill(signal)
  }

  /** @throws Error with the end of its output if it does not run */
  assertRunning(): void {
    this.#lastChild.assertRunning()
  }

  get #lastChild(): Child {
    if (this.#child === undefined) throw new Error(`${this.name} was never started`)
    return this.#child
  }
}

/**
 * Runs a command to its end and resolves to its standard output.
 * @throws Error with its standard error if it fails, or if it takes longer than `timeoutMs`
 */
export async function output(
  command: string,
  args: readonly string[],
  { env = process.env, timeoutMs }: { env?: NodeJS.ProcessEnv; timeoutMs: number },
): Promise<string> {
  const options = { env, timeout: timeoutMs, killSignal: 'SIGKILL' as const, maxBuffer: OUTPUT_BYTES_MAX }
  const { stdout } = await run(command, args, options)
  return stdout
}
