/** The built program as a child process: what it prints, where it listens, how it ends. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { buildProgram as build } from '../../build.ts'
import { until } from '../services/wait.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
/** Arguments for `env`: tap gives every child process its hooks, by a variable; the program runs without them. */
const NODE = ['-u', 'NODE_OPTIONS', process.execPath]
const START_MS_MAX = 60_000
const END_MS_MAX = 60_000

export interface Ending {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export interface ProgramOptions {
  readonly args?: readonly string[]
  /** All of its environment, but for PATH. */
  readonly env?: NodeJS.ProcessEnv
  /** File descriptors that it may have. */
  readonly filesMax?: number
  /** A command, with its arguments, that the program is run under. */
  readonly under?: readonly string[]
  /** Its working directory: where it finds `.env`, and puts `data`. */
  readonly cwd: string
}

/**
 * Builds the program as `npm run build` does, but beside `dist`, so that tests which run at the same time
 * do not overwrite each other's.
 *
 * @returns the path of bin/frequency.js
 */
export async function buildProgram(t: Test): Promise<string> {
  mkdirSync(join(ROOT, '.tap'), { recursive: true })
  const directory = mkdtempSync(join(ROOT, '.tap', 'program-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  symlinkSync(join(ROOT, 'package.json'), join(directory, 'package.json'))
  const dist = join(directory, 'dist')
  await build(dist)
  return join(dist, 'bin', 'frequency.js')
}

export class Program {
  stdout = ''
  stderr = ''
  /** Resolves when it has ended and all of its output is here. */
  readonly ended: Promise<Ending>
  readonly #child: ChildProcess
  #hasEnded = false

  constructor(path: string, { args = ['serve'], env = {}, cwd, filesMax, under = [] }: ProgramOptions) {
    const { PATH } = process.env
    const command = [...under, 'env', ...NODE, path, ...args]
    const limit = filesMax === undefined ? '' : `ulimit -n ${filesMax} && `
    this.#child = spawn('sh', ['-c', `${limit}exec "$@"`, 'sh', ...command], {
      cwd,
      env: { PATH, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text
    })
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text
    })
    this.ended = once(this.#child, 'close').then(([code, signal]) => {
      this.#hasEnded = true
      return { code, signal }
    })
  }

  get output(): string {
    return this.stdout + this.stderr
  }

  get hasEnded(): boolean {
    return this.#hasEnded
  }

  /** As a reader like `head` does that has seen enough. */
  closeStdout(): void {
    this.#child.stdout?.destroy()
  }

  get pid(): number {
    return this.#child.pid as number
  }

  /** Resolves to its URL, once it says where it listens. @throws Error with its output if it ends before. */
  async listening(): Promise<string> {
    const greeting = /listens on (http:\S+)/
    await this.says(greeting)
    return greeting.exec(this.output)?.[1] as string
  }

  /** Resolves when what it has printed matches. @throws Error with its output if it ends, or takes too long. */
  async says(pattern: RegExp, timeoutMs = START_MS_MAX): Promise<void> {
    const said = () => this.#hasEnded || pattern.test(this.output)
    await until(`the program says ${pattern}`, timeoutMs, said).catch(() => {})
    if (!pattern.test(this.output)) throw new Error(`The program does not say ${pattern}:\n${this.output}`)
  }

  kill(signal: NodeJS.Signals): this {
    this.#child.kill(signal)
    return this
  }

  /** Sends SIGTERM and resolves when it has ended. @throws Error, and kills it, if that takes too long. */
  async stop(): Promise<Ending> {
    return await this.kill('SIGTERM').endsWithin(END_MS_MAX)
  }

  /** @throws Error, and kills it, if it has not ended in time. */
  async endsWithin(ms: number): Promise<Ending> {
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), ms)
    const ending = await this.ended
    clearTimeout(timer)
    if (ending.signal === 'SIGKILL') throw new Error(`It did not end within ${ms} ms:\n${this.output}`)
    return ending
  }
}
