/** One start of a child process: its output, its end, and the signals that it gets. */
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { isRunning, until, within } from './wait.ts'
import type { Workspace } from './workspace.ts'

const SAYS_MS_MAX = 60_000
const KILL_MS_MAX = 10_000
const OUTPUT_CHARS_MAX = 16 * 1024 * 1024
const LOG_TAIL_CHARS = 4_000

export interface ChildOptions {
  /** Names the process in errors, and its pid file in the workspace. */
  readonly name: string
  readonly command: string
  readonly args: readonly string[]
  /** The whole environment. */
  readonly env: NodeJS.ProcessEnv
  readonly cwd: string
  /**
   * Starts the process in a new process group. When this process ends, the guard of the workspace kills the group.
   * @default the caller must end the process
   */
  readonly workspace?: Workspace | undefined
  /**
   * Appends standard output and standard error to this file. The child then does not keep the event loop alive.
   * @default both are collected in `stdout` and `stderr`
   */
  readonly logFile?: string | undefined
  /** Number of characters to keep of each collected stream, from its end. @default 16 Mi */
  readonly outputCharsMax?: number | undefined
}

export interface Ending {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export class Child {
  readonly name: string
  /** Milliseconds since 1970. */
  readonly startedAt = Date.now()
  /** Resolves when the process has ended and all of its output is read. */
  readonly ended: Promise<Ending>
  stdout = ''
  stderr = ''
  readonly #child: ChildProcess
  readonly #logFile: string | undefined
  readonly #outputCharsMax: number
  readonly #onLine: ((line: string) => void)[] = []
  #hasEnded = false

  /** @throws Error if the command cannot be executed */
  constructor(options: ChildOptions) {
    this.name = options.name
    this.#logFile = options.logFile
    this.#outputCharsMax = options.outputCharsMax ?? OUTPUT_CHARS_MAX
    const child = spawnChild(options)
    this.#child = child
    // Without a listener a failed start would be an uncaught exception; it is thrown below.
    child.on('error', () => {})
    if (child.pid === undefined) throw new Error(`${options.command} cannot be executed`)
    if (options.workspace !== undefined) notePid(child, join(options.workspace.dir, `${options.name}.pid`))
    if (options.logFile !== undefined) child.unref()
    this.#collect(child.stdout, text => {
      this.stdout = this.#bounded(this.stdout + text)
    })
    this.#collect(child.stderr, text => {
      this.stderr = this.#bounded(this.stderr + text)
    })
    this.ended = new Promise(resolve => {
      child.once('close', (code, signal) => {
        this.#hasEnded = true
        resolve({ code, signal })
      })
    })
  }

  get pid(): number {
    return this.#child.pid as number
  }

  /** Whether the process runs; its output may still come in when it does not. */
  get isRunning(): boolean {
    return isRunning(this.#child)
  }

  /** Whether the process has ended and all of its output is read. */
  get hasEnded(): boolean {
    return this.#hasEnded
  }

  /** The collected output, or the end of the log file. */
  get output(): string {
    if (this.#logFile === undefined) return this.stdout + this.stderr
    return readFileSync(this.#logFile, 'utf8').slice(-LOG_TAIL_CHARS)
  }

  /** Calls `listener` with each line of collected output from now on, besides earlier listeners. */
  onLine(listener: (line: string) => void): void {
    this.#onLine.push(listener)
  }

  /** Closes the reading end of standard output, as `head` does after enough lines. */
  closeStdout(): void {
    this.#child.stdout?.destroy()
  }

  /**
   * Resolves when the output matches.
   * @throws Error with the output if the process ends before, or if it takes longer than `timeoutMs`
   */
  async says(pattern: RegExp, timeoutMs = SAYS_MS_MAX): Promise<void> {
    const hasSaid = () => this.#hasEnded || pattern.test(this.output)
    await until(`${this.name} says ${pattern}`, timeoutMs, hasSaid).catch(() => {})
    if (!pattern.test(this.output)) throw new Error(`${this.name} does not say ${pattern}:\n${this.output}`)
  }

  /** @throws Error with the end of the output if the process does not run */
  assertRunning(): void {
    if (!this.isRunning) throw new Error(`${this.name} has ended:\n${this.output}`)
  }

  /** Sends a signal to the process, not to its group. Does nothing if the process has ended. */
  kill(signal: NodeJS.Signals): this {
    this.#child.kill(signal)
    return this
  }

  /** Sends SIGTERM, and SIGCONT first in case the process is paused. @throws as endsWithin() */
  async stop(timeoutMs: number): Promise<Ending> {
    return await this.kill('SIGCONT').kill('SIGTERM').endsWithin(timeoutMs)
  }

  /** @throws Error with the output if the process has not ended after `timeoutMs`; then it is killed */
  async endsWithin(timeoutMs: number): Promise<Ending> {
    const ending = await within(this.ended, timeoutMs)
    if (ending !== undefined) return ending
    this.kill('SIGKILL')
    await within(this.ended, KILL_MS_MAX)
    throw new Error(`${this.name} did not end within ${timeoutMs} ms:\n${this.output}`)
  }

  #collect(stream: Readable | null, add: (text: string) => void): void {
    let rest = ''
    stream?.setEncoding('utf8').on('data', (text: string) => {
      add(text)
      const lines = `${rest}${text}`.split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) for (const listener of this.#onLine) listener(line)
    })
  }

  #bounded(text: string): string {
    return text.length > this.#outputCharsMax ? text.slice(-this.#outputCharsMax) : text
  }
}

function spawnChild({ command, args, env, cwd, workspace, logFile }: ChildOptions): ChildProcess {
  const detached = workspace !== undefined
  if (logFile === undefined)
    return spawn(command, args, { cwd, env, detached, stdio: ['ignore', 'pipe', 'pipe'] })
  const log = openSync(logFile, 'a')
  try {
    return spawn(command, args, { cwd, env, detached, stdio: ['ignore', log, log] })
  } finally {
    closeSync(log)
  }
}

/** The guard of the workspace kills the processes that have pid files. */
function notePid(child: ChildProcess, pidFile: string): void {
  writeFileSync(pidFile, String(child.pid))
  child.once('exit', () => rmSync(pidFile, { force: true }))
}
