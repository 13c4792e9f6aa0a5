/** A program that is measured: a child process in a process group of its own, which dies with the workspace. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { hasExited, isRunning, until } from '../test/services/wait.ts'
import type { Workspace } from '../test/services/workspace.ts'

const START_MS_MAX = 60_000
const STOP_MS_MAX = 60_000
const OUTPUT_CHARS_MAX = 8_000

export interface ProgramSpec {
  /** Names the pid file, so it is unique among those that run. */
  readonly name: string
  /** Arguments of Node: its options, the script, and the script's. */
  readonly args: readonly string[]
  /** All of its environment, but for PATH and NODE_ENV. */
  readonly env: Readonly<Record<string, string>>
  readonly cwd: string
}

export class ServerProcess {
  readonly name: string
  readonly #child: ChildProcess
  #url: string | undefined
  #output = ''
  #onLine: (line: string) => void = () => {}
  /** Milliseconds since 1970. */
  readonly startedAt = Date.now()

  constructor(workspace: Workspace, { name, args, env, cwd }: ProgramSpec) {
    this.name = name
    const { PATH = '' } = process.env
    this.#child = spawn(process.execPath, args, {
      cwd,
      env: { PATH, NODE_ENV: 'production', ...env },
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const pidFile = join(workspace.dir, `${name}.pid`)
    writeFileSync(pidFile, String(this.pid))
    this.#child.once('exit', () => rmSync(pidFile, { force: true }))
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      if (stream !== null) createInterface({ input: stream }).on('line', line => this.#read(line))
    }
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error(`${this.name} could not be started`)
    return this.#child.pid
  }

  /** The end of what it has printed. */
  get output(): string {
    return this.#output
  }

  /** Called with each line that it prints from now on. */
  onLine(listener: (line: string) => void): void {
    this.#onLine = listener
  }

  /** Resolves to its URL, once it says that it listens. @throws Error with its output if it ends before. */
  async listening(): Promise<string> {
    await until(`${this.name} listens`, START_MS_MAX, () => {
      this.assertRunning()
      return this.#url !== undefined
    })
    return this.#url as string
  }

  /** @throws Error with the end of its output */
  assertRunning(): void {
    if (!isRunning(this.#child)) throw new Error(`${this.name} has ended:\n${this.#output}`)
  }

  /** Sends SIGTERM, and resolves when it has ended and its output is read. @throws Error if that fails */
  async stop(): Promise<void> {
    if (!isRunning(this.#child)) throw new Error(`${this.name} had ended already:\n${this.#output}`)
    const closed = once(this.#child, 'close')
    this.#child.kill('SIGTERM')
    if (!(await hasExited(this.#child, STOP_MS_MAX))) {
      this.#child.kill('SIGKILL')
      throw new Error(`${this.name} did not stop within ${STOP_MS_MAX} ms:\n${this.#output}`)
    }
    await closed
    const { exitCode, signalCode } = this.#child
    if (exitCode !== 0 && signalCode !== 'SIGTERM')
      throw new Error(`${this.name} ended with ${exitCode ?? signalCode}:\n${this.#output}`)
  }

  /** Sends SIGKILL, and resolves when it has ended. */
  async kill(): Promise<void> {
    const closed = once(this.#child, 'close')
    this.#child.kill('SIGKILL')
    await closed
  }

  #read(line: string): void {
    this.#url ??= /listens on (http:\S+)/.exec(line)?.[1]
    this.#output = `${this.#output}${line}\n`.slice(-OUTPUT_CHARS_MAX)
    this.#onLine(line)
  }
}
