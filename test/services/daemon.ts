import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { hasExited, isRunning } from './wait.ts'
import type { Workspace } from './workspace.ts'

const KILL_TIMEOUT_MS = 10_000
const LOG_TAIL_CHARS = 4_000
const OUTPUT_BYTES_MAX = 16 * 1024 * 1024
const run = promisify(execFile)

export interface DaemonOptions {
  /** Names the pid file and the log file. */
  name: string
  command: string
  args: readonly string[]
  /** The whole environment. @default that of this process */
  env?: NodeJS.ProcessEnv
}

/**
 * A process that runs in the background, in a process group of its own and with its output in the file
 * `NAME.out` of the workspace. It can be started again after it has ended, keeps no event loop alive,
 * and dies with the workspace.
 */
export class Daemon {
  readonly name: string
  #options: DaemonOptions
  #workspace: Workspace
  #child: ChildProcess | undefined

  constructor(workspace: Workspace, options: DaemonOptions) {
    this.name = options.name
    this.#workspace = workspace
    this.#options = options
  }

  get running(): boolean {
    return this.#child !== undefined && isRunning(this.#child)
  }

  /** @throws Error if it does not run */
  get pid(): number {
    if (!this.running || this.#child?.pid === undefined) throw new Error(`${this.name} is not running`)
    return this.#child.pid
  }

  /** @throws Error if it runs already, or if the command cannot be executed */
  start(): void {
    if (this.running) throw new Error(`${this.name} is running already`)
    const child = this.#spawn()
    child.on('error', () => {})
    child.unref()
    this.#child = child
    if (child.pid === undefined) throw new Error(`${this.#options.command} cannot be executed`)
    writeFileSync(this.#pidFile, String(child.pid))
    child.once('exit', () => rmSync(this.#pidFile, { force: true }))
  }

  /** Asks it to end with SIGTERM, and kills it if it has not done so in `timeoutMs`. */
  async stop(timeoutMs: number): Promise<void> {
    if (!this.running || this.#child === undefined) return
    this.signal('SIGCONT')
    this.signal('SIGTERM')
    if (!(await hasExited(this.#child, timeoutMs))) await this.kill()
  }

  /** Kills its process group with SIGKILL, and resolves when it is gone. */
  async kill(): Promise<void> {
    if (!this.running || this.#child === undefined) return
    process.kill(-this.pid, 'SIGKILL')
    if (!(await hasExited(this.#child, KILL_TIMEOUT_MS))) throw new Error(`${this.name} survived SIGKILL`)
  }

  /** @throws Error if it does not run */
  signal(signal: NodeJS.Signals): void {
    process.kill(this.pid, signal)
  }

  /** @throws Error with the end of its output if it does not run */
  assertRunning(): void {
    if (!this.running) throw new Error(`${this.name} exited:\n${this.#logTail()}`)
  }

  get #pidFile(): string {
    return join(this.#workspace.dir, `${this.name}.pid`)
  }

  get #logFile(): string {
    return join(this.#workspace.dir, `${this.name}.out`)
  }

  #spawn(): ChildProcess {
    const { command, args, env = process.env } = this.#options
    const log = openSync(this.#logFile, 'a')
    try {
      return spawn(command, args, {
        cwd: this.#workspace.dir,
        env,
        detached: true,
        stdio: ['ignore', log, log],
      })
    } finally {
      closeSync(log)
    }
  }

  #logTail(): string {
    return readFileSync(this.#logFile, 'utf8').slice(-LOG_TAIL_CHARS)
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
