/**
 * One process of the built program, with its own data directory, links to its servers, and log. It can be killed,
 * paused, and restarted on the same port.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { freePort } from '../services/ports.ts'
import { hasExited, until } from '../services/wait.ts'
import { Disk } from './disk.ts'
import type { Link } from './link.ts'

const ARCHIVED_METRIC = 'frequency_archived_events_total'
const START_MS_MAX = 120_000
const ANSWER_MS_MAX = 5_000
const STOP_MS_MAX = 45_000
const KILL_MS_MAX = 10_000

export interface ProgramOptions {
  /** The built JavaScript file. */
  readonly program: string
  /** Parent of its data directory, its log and its pid file. */
  readonly dir: string
  readonly name: string
  readonly role: 'ingest' | 'archive'
  readonly brokerLink: Link
  /** Only for an archiver. */
  readonly storeLink?: Link | undefined
  /** Whether its data are on a separate disk, which can be filled. */
  readonly hasDisk: boolean
  readonly env: NodeJS.ProcessEnv
}

export class Program {
  readonly name: string
  readonly role: 'ingest' | 'archive'
  readonly brokerLink: Link
  readonly storeLink: Link | undefined
  readonly dataDir: string
  readonly disk: Disk | undefined
  readonly port: number
  /** Unexpected ends of the process. */
  readonly complaints: string[] = []
  readonly #program: string
  readonly #dir: string
  readonly #env: NodeJS.ProcessEnv
  #child: ChildProcess | undefined
  #isEnding = false

  static async create(options: ProgramOptions): Promise<Program> {
    return new Program(options, await freePort())
  }

  constructor(options: ProgramOptions, port: number) {
    this.name = options.name
    this.role = options.role
    this.brokerLink = options.brokerLink
    this.storeLink = options.storeLink
    this.dataDir = join(options.dir, options.name)
    this.port = port
    this.#program = options.program
    this.#dir = options.dir
    this.#env = options.env
    mkdirSync(this.dataDir, { recursive: true })
    this.disk = options.hasDisk ? new Disk(this.dataDir) : undefined
  }

  /** @param env settings of this start */
  start(env: NodeJS.ProcessEnv = {}): void {
    const log = openSync(this.#logFile, 'a')
    const child = spawn(process.execPath, ['--enable-source-maps', this.#program, 'serve'], {
      cwd: this.#dir,
      detached: true,
      stdio: ['ignore', log, log],
      env: { ...this.#env, ROLE: this.role, PORT: String(this.port), DATA_DIR: this.name, ...env },
    })
    closeSync(log)
    writeFileSync(this.#pidFile, String(child.pid))
    this.#child = child
    this.#isEnding = false
    child.once('exit', (code, signal) => {
      rmSync(this.#pidFile, { force: true })
      if (!this.#isEnding)
        this.complaints.push(`${this.name} ended by itself: ${signal ?? `exit code ${code}`}`)
    })
  }

  /** Resolves when the process answers requests, or has ended. */
  async ready(): Promise<void> {
    await until(`${this.name} answers`, START_MS_MAX, async () => this.isOver || (await this.#answers()))
  }

  get isOver(): boolean {
    return this.#child === undefined || this.#child.exitCode !== null || this.#child.signalCode !== null
  }

  async kill(): Promise<void> {
    this.#isEnding = true
    this.#child?.kill('SIGKILL')
    if (!(await hasExited(this.#running, KILL_MS_MAX))) throw new Error(`${this.name} survived SIGKILL`)
  }

  /** Sends SIGTERM. Records a complaint if the process does not end in time with an expected exit code. */
  async stop(): Promise<void> {
    if (this.isOver) return
    this.#isEnding = true
    this.#child?.kill('SIGTERM')
    if (!(await hasExited(this.#running, STOP_MS_MAX))) {
      this.complaints.push(`${this.name} had not ended ${STOP_MS_MAX} ms after SIGTERM`)
      await this.kill()
    }
    // Exit code 1: the shutdown was cut short, which is expected while its servers are away.
    const { exitCode, signalCode } = this.#running
    if (signalCode === null && exitCode !== 0 && exitCode !== 1)
      this.complaints.push(`${this.name} ended with code ${exitCode} after SIGTERM`)
  }

  pause(): void {
    this.#child?.kill('SIGSTOP')
  }

  resume(): void {
    this.#child?.kill('SIGCONT')
  }

  /** Deletes its data, as if it were moved to another machine. The process must not run. */
  loseData(): void {
    for (const name of readdirSync(this.dataDir)) rmSync(join(this.dataDir, name), { recursive: true })
  }

  /** The log of all starts. */
  get log(): string {
    return readFileSync(this.#logFile, 'utf8')
  }

  /** Number of events archived since the last start. @throws Error if the process does not answer */
  async archived(): Promise<number> {
    const answer = await fetch(`http://127.0.0.1:${this.port}/metrics`, {
      signal: AbortSignal.timeout(ANSWER_MS_MAX),
    })
    const value = new RegExp(`^${ARCHIVED_METRIC} (\\d+)`, 'm').exec(await answer.text())?.[1]
    if (value === undefined) throw new Error(`${this.name} does not show ${ARCHIVED_METRIC}`)
    return Number(value)
  }

  /** Runs another command of the program with the settings of this process. */
  async command(...args: string[]): Promise<{ code: number; output: string }> {
    const child = spawn(process.execPath, [this.#program, ...args], {
      cwd: this.#dir,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...this.#env, DATA_DIR: this.name },
    })
    const closed = once(child, 'close') as Promise<[number]>
    const [out, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), closed])
    return { code, output: out + err }
  }

  async close(): Promise<void> {
    if (!this.isOver) await this.kill()
    await this.disk?.close()
  }

  get #running(): ChildProcess {
    if (this.#child === undefined) throw new Error(`${this.name} was never started`)
    return this.#child
  }

  get #pidFile(): string {
    return join(this.#dir, `${this.name}.pid`)
  }

  get #logFile(): string {
    return join(this.#dir, `${this.name}.log`)
  }

  async #answers(): Promise<boolean> {
    try {
      const answer = await fetch(`http://127.0.0.1:${this.port}/healthz`, {
        signal: AbortSignal.timeout(ANSWER_MS_MAX),
      })
      await answer.arrayBuffer()
      return answer.ok
    } catch {
      return false
    }
  }
}
