/**
 * One process of the built program, with its own data directory, log file, and links to its servers. A fault kills
 * it, pauses it, or starts it again on the same port.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { freePort, statusOf } from '../services/ports.ts'
import { Program as ProgramProcess } from '../services/program.ts'
import { until, within } from '../services/wait.ts'
import type { Workspace } from '../services/workspace.ts'
import { Disk } from './disk.ts'
import type { Link } from './link.ts'

const ARCHIVED_METRIC = 'frequency_archived_events_total'
const START_MS_MAX = 120_000
const ANSWER_MS_MAX = 5_000
const STOP_MS_MAX = 45_000
const KILL_MS_MAX = 10_000
const COMMAND_MS_MAX = 120_000

export interface ProgramOptions {
  /** The built JavaScript file. */
  readonly program: string
  /** Has the data, the log file and the pid file of the process. */
  readonly workspace: Workspace
  readonly name: string
  readonly role: 'ingest' | 'archive'
  readonly brokerLink: Link
  /** Only of an archiver. */
  readonly storeLink?: Link | undefined
  /** Whether the data directory is a separate file system, which a fault can fill. */
  readonly hasDisk: boolean
  /** The whole environment, except PATH, ROLE, PORT and DATA_DIR. */
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
  /** A sentence for each end of the process that was not asked for, or had a wrong exit code. */
  readonly complaints: string[] = []
  readonly #program: string
  readonly #workspace: Workspace
  readonly #env: NodeJS.ProcessEnv
  #process: ProgramProcess | undefined
  /** The last process that was asked to end. */
  #ending: ProgramProcess | undefined

  static async create(options: ProgramOptions): Promise<Program> {
    return new Program(options, await freePort())
  }

  constructor(options: ProgramOptions, port: number) {
    this.name = options.name
    this.role = options.role
    this.brokerLink = options.brokerLink
    this.storeLink = options.storeLink
    this.dataDir = join(options.workspace.dir, options.name)
    this.port = port
    this.#program = options.program
    this.#workspace = options.workspace
    this.#env = options.env
    mkdirSync(this.dataDir, { recursive: true })
    this.disk = options.hasDisk ? new Disk(this.dataDir) : undefined
  }

  /** @param env settings for this start only */
  start(env: NodeJS.ProcessEnv = {}): void {
    const started = new ProgramProcess(this.#program, {
      name: this.name,
      workspace: this.#workspace,
      cwd: this.#workspace.dir,
      logFile: this.#logFile,
      nodeArgs: ['--enable-source-maps'],
      env: { ...this.#env, ROLE: this.role, PORT: String(this.port), DATA_DIR: this.name, ...env },
    })
    this.#process = started
    void started.ended.then(({ code, signal }) => {
      if (this.#ending !== started)
        this.complaints.push(`${this.name} ended by itself: ${signal ?? `exit code ${code}`}`)
    })
  }

  /** Resolves when `/healthz` answers with 200, or the process has ended. */
  async ready(): Promise<void> {
    const health = `http://127.0.0.1:${this.port}/healthz`
    const isReady = async () => this.isOver || (await statusOf(health)) === 200
    await until(`${this.name} answers`, START_MS_MAX, isReady)
  }

  /** Whether the process does not run. */
  get isOver(): boolean {
    return !this.#process?.isRunning
  }

  async kill(): Promise<void> {
    this.#ending = this.#running
    await this.#running.kill('SIGKILL').endsWithin(KILL_MS_MAX)
  }

  /** Sends SIGTERM. Notes a complaint if the process does not end in time, or ends with a wrong exit code. */
  async stop(): Promise<void> {
    if (this.isOver) return
    this.#ending = this.#running
    const ending = await within(this.#running.kill('SIGTERM').ended, STOP_MS_MAX)
    if (ending === undefined) {
      this.complaints.push(`${this.name} had not ended ${STOP_MS_MAX} ms after SIGTERM`)
      await this.kill()
      return
    }
    // Code 1 says that the shutdown was cut short, as it is while the servers are away.
    const { code, signal } = ending
    if (signal === null && code !== 0 && code !== 1)
      this.complaints.push(`${this.name} ended with code ${code} after SIGTERM`)
  }

  pause(): void {
    this.#process?.kill('SIGSTOP')
  }

  resume(): void {
    this.#process?.kill('SIGCONT')
  }

  /** Empties the data directory, as if the process were moved to another machine. The process must not run. */
  loseData(): void {
    for (const name of readdirSync(this.dataDir)) rmSync(join(this.dataDir, name), { recursive: true })
  }

  /** All log lines since the first start. */
  get log(): string {
    return readFileSync(this.#logFile, 'utf8')
  }

  /** Resolves to the number of events archived since the last start. @throws Error if the process does not answer */
  async archived(): Promise<number> {
    const answer = await fetch(`http://127.0.0.1:${this.port}/metrics`, {
      signal: AbortSignal.timeout(ANSWER_MS_MAX),
    })
    const value = new RegExp(`^${ARCHIVED_METRIC} (\\d+)`, 'm').exec(await answer.text())?.[1]
    if (value === undefined) throw new Error(`${this.name} does not show ${ARCHIVED_METRIC}`)
    return Number(value)
  }

  /** Runs another command of the program with the same settings. */
  async command(...args: string[]): Promise<{ code: number | null; output: string }> {
    const command = new ProgramProcess(this.#program, {
      name: `${this.name}-${args[0]}`,
      workspace: this.#workspace,
      cwd: this.#workspace.dir,
      args,
      env: { ...this.#env, DATA_DIR: this.name },
    })
    const { code } = await command.endsWithin(COMMAND_MS_MAX)
    return { code, output: command.output }
  }

  async close(): Promise<void> {
    if (!this.isOver) await this.kill()
    await this.disk?.close()
  }

  get #running(): ProgramProcess {
    if (this.#process === undefined) throw new Error(`${this.name} was never started`)
    return this.#process
  }

  get #logFile(): string {
    return join(this.#workspace.dir, `${this.name}.log`)
  }
}
